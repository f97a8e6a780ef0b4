"""The bytes of a set's weights file, checked before tensors are made of them.

safetensors: eight bytes that say how long the header is, the header as JSON (name -> type, shape, offsets), the
numbers. Stricter than the format: exactly the tensors that are expected, in the types that a set has, one after
another without gaps, no metadata, and no number that is not finite.
"""

import math
from collections.abc import Collection
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from moda_core.errors import ModuleSetError, listed, shortened
from moda_core.sets.layout import WEIGHTS
from moda_core.sets.manifest import strict_json

LARGEST_HEADER = 8 * 2**20
ITEM_BYTES = {"BOOL": 1, "F16": 2, "BF16": 2, "F32": 4, "F64": 8}


def read_tensors(data: bytes, expected: Collection[str]) -> dict[str, Tensor]:
    """The tensors of a weights file.

    Args:
        data: the file.
        expected: the names of its tensors.

    Raises:
        ModuleSetError: another format, other tensors, or numbers that are none.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 8 <= start <= min(len(data), 8 + LARGEST_HEADER):
        raise ModuleSetError(f"{WEIGHTS} is not a safetensors file: its header does not fit it")
    try:
        header = strict_json(data[8:start])
    except ValueError as error:
        raise ModuleSetError(f"{WEIGHTS} is not a safetensors file: {shortened(str(error), 200)}") from error
    if not isinstance(header, dict):
        raise ModuleSetError(f"{WEIGHTS} is not a safetensors file: its header is not an object")
    if unknown := sorted(set(header) - set(expected)):
        raise ModuleSetError(f"{WEIGHTS} holds what its graph has no use for: {listed(unknown)}")
    if missing := sorted(set(expected) - set(header)):
        raise ModuleSetError(f"{WEIGHTS} lacks {listed(missing)}")
    _check_layout(header, len(data) - start)
    tensors = safetensors.torch.load(data)
    for name, tensor in tensors.items():
        if tensor.dtype == torch.bool:
            if bool((tensor.view(torch.uint8) > 1).any()):
                raise ModuleSetError(f"{WEIGHTS}: {name} holds bytes that are neither true nor false")
        elif not bool(tensor.isfinite().all()):
            raise ModuleSetError(f"{WEIGHTS}: {name} holds NaN or infinity")
    return tensors


def _check_layout(header: dict[str, Any], room: int) -> None:
    """Refuse entries that do not fill the file one after another."""
    end = 0
    for name, entry in sorted(header.items(), key=_first_offset):
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ModuleSetError(f"{WEIGHTS}: the entry of {name!r} is not type, shape and offsets")
        shape, offsets, kind = entry["shape"], entry["data_offsets"], entry["dtype"]
        if not isinstance(kind, str) or kind not in ITEM_BYTES:
            raise ModuleSetError(f"{WEIGHTS}: {name!r} is of type {kind!r:.60}; a set has {', '.join(ITEM_BYTES)}")
        if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
            raise ModuleSetError(f"{WEIGHTS}: the entry of {name!r} holds an invalid size")
        size = math.prod(shape) * ITEM_BYTES[kind]
        if offsets != [end, end + size]:
            raise ModuleSetError(f"{WEIGHTS}: {name!r} does not lie right after the tensor before it")
        end += size
    if end != room:
        raise ModuleSetError(f"{WEIGHTS} holds {room} bytes of numbers, its tensors take {end}")


def _first_offset(item: tuple[str, Any]) -> tuple[int, int]:
    """Where an entry begins and ends; what is none comes first, to be refused."""
    offsets: Any = item[1].get("data_offsets") if isinstance(item[1], dict) else None
    return (offsets[0], offsets[1]) if _are_sizes(offsets) and len(offsets) == 2 else (-1, -1)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)
