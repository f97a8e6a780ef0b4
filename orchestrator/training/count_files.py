"""A trial's counts on disk, as safetensors: any choice can be made from them later."""

import json
from collections.abc import Mapping

import safetensors.torch
import torch
from torch import Tensor

# Of the first two rules: the counts that stand in the file's metadata, as lists.
LISTED: Mapping[str, Mapping[str, torch.dtype]] = {
    "activity": {"thresholds": torch.float64, "widths": torch.int64},
    "contribution": {"widths": torch.int64},
}


def dump_counts(rule: str, counts: Mapping[str, Tensor]) -> bytes:
    """What a rule counted, as bytes.

    Args:
        rule: its name or import path.
        counts: from :meth:`moda_core.Rule.count`.
    """
    lists = {name: counts[name].tolist() for name in LISTED.get(rule, ())}
    tensors = {name: tensor.contiguous() for name, tensor in counts.items() if name not in lists}
    return safetensors.torch.save(tensors, {"shape": json.dumps(lists)} if lists else None)


def read_counts(rule: str, data: bytes) -> dict[str, Tensor]:
    """What :func:`dump_counts` was given."""
    counts = safetensors.torch.load(data)
    if kinds := LISTED.get(rule):
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        lists = json.loads(header["__metadata__"]["shape"])
        counts |= {name: torch.tensor(lists[name], dtype=kind) for name, kind in kinds.items()}
    return counts
