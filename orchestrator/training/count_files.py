"""A trial's counts on disk, as safetensors: any choice can be made from them later."""

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
from torch import Tensor

from moda_core import Contributions, Frequencies


def dump_frequencies(frequencies: Frequencies) -> bytes:
    """Frequencies as bytes."""
    tensors = {"counts": frequencies.counts_TCN, "sizes": frequencies.class_sizes_C, "means": frequencies.means_N}
    return _dump(tensors, {"thresholds": frequencies.thresholds, "widths": frequencies.widths})


def read_frequencies(data: bytes) -> Frequencies:
    """What :func:`dump_frequencies` gave."""
    tensors, shape = _read(data)
    return Frequencies(
        tuple(shape["thresholds"]), tensors["counts"], tensors["sizes"], tensors["means"], tuple(shape["widths"])
    )


def dump_contributions(contributions: Contributions) -> bytes:
    """Contributions as bytes."""
    return _dump({"means": contributions.means_CN}, {"widths": contributions.widths})


def read_contributions(data: bytes) -> Contributions:
    """What :func:`dump_contributions` gave."""
    tensors, shape = _read(data)
    return Contributions(tensors["means"], tuple(shape["widths"]))


def dump_counts(counts: Mapping[str, Tensor]) -> bytes:
    """What a user's own rule counted, as bytes."""
    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in counts.items()})


def read_counts(data: bytes) -> dict[str, Tensor]:
    """What :func:`dump_counts` was given."""
    return safetensors.torch.load(data)


def _dump(tensors: Mapping[str, Tensor], shape: Mapping[str, Any]) -> bytes:
    contiguous = {name: one.contiguous() for name, one in tensors.items()}
    return safetensors.torch.save(contiguous, {"shape": json.dumps(shape)})


def _read(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return safetensors.torch.load(data), json.loads(header["__metadata__"]["shape"])
