"""Calls that only move numbers about: views, transposes, chunks, slices, a channel shuffle.

None is read by name. The same calls are run on labels, one for every number, and where each number of the result came
from says which channels were selected, flattened or reshaped.

Shapes: C channels of the result, P pixels.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from moda_core.errors import NetworkError

MOVING: frozenset[Callable[..., Any] | str] = frozenset(
    {
        *(torch.flatten, torch.reshape, torch.transpose, torch.permute, torch.squeeze, torch.unsqueeze, torch.chunk),
        *(torch.split, torch.unbind, torch.narrow, torch.movedim, torch.swapaxes, torch.channel_shuffle),
        *(torch.repeat_interleave, torch.tile, torch.index_select, torch.select, torch.swapdims, torch.moveaxis),
        *(torch.tensor_split, torch.ravel, operator.getitem),
        *("flatten", "reshape", "view", "transpose", "permute", "squeeze", "unsqueeze", "chunk", "split", "unbind"),
        *("narrow", "movedim", "swapaxes", "contiguous", "expand", "expand_as", "unflatten", "view_as", "reshape_as"),
        *("repeat", "repeat_interleave", "tile", "index_select", "select", "swapdims", "moveaxis", "tensor_split"),
    }
)
MOVING_ATTRIBUTES = ("mT", "T")
MOVING_MODULES = (nn.Flatten, nn.Unflatten, nn.ChannelShuffle)


@dataclass(frozen=True)
class Movement:
    """What became of a tensor: channels ``index_C`` of it, flattened or not, in the shape (images, channels, *size).

    ``step``: of the rows and columns only every so many are left; None: all of them. ``positions``: which pixels are
    left, and in which order, the same for every channel; None: all of them in order.
    """

    index_C: Tensor
    flattened: bool
    size: tuple[int, ...]
    step: tuple[int, int] | None = None
    positions: Tensor | None = None


def is_movement(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Return whether a node only moves the numbers of a tensor to other places."""
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], MOVING_MODULES)
    called = node.op in ("call_function", "call_method") and node.target in MOVING
    called = called or (node.target is getattr and node.args[1] in MOVING_ATTRIBUTES)
    return called and holds_tensor(node.meta["value"])


def holds_tensor(value: Any) -> bool:
    """Return whether a node's value is a tensor or contains one."""
    if isinstance(value, tuple | list):
        return any(holds_tensor(part) for part in value)
    return isinstance(value, Tensor)


def run_movement(node: fx.Node, modules: dict[str, nn.Module], known: Callable[[fx.Node], Any]) -> Any:
    """Run the node's call on the values that ``known`` has for its inputs."""
    args, kwargs = map_arg(node.args, known), map_arg(node.kwargs, known)
    if node.op == "call_module":
        return modules[str(node.target)](*args)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def decode(name: str, labels: Tensor, channels: int, size: tuple[int, ...], *, broadcast: bool) -> Movement:
    """Read from labels how whole channels of a tensor were moved.

    Args:
        name: of the node, for the error.
        labels: (2, C, ...), of two images: 0, 1, 2 ... where the tensor had its first number, its second ...
        channels: of that tensor.
        size: what followed them.
        broadcast: whether the reader broadcasts, so that a number that was expanded may stay one.

    Raises:
        NetworkError: images changed places, or pixels of some channels and not of others.
    """
    pixels = math.prod(size)
    sample = channels * pixels
    apart = labels.ndim >= 2 and len(labels) == 2 and torch.equal(labels[1], labels[0] + sample)
    if not apart or labels.numel() == 0 or int(labels[0].max()) >= sample:
        raise _misplaced(name, "images of a batch")
    moved_size = tuple(labels.shape[2:])
    label_CP = labels[0].reshape(labels.shape[1], -1)
    if broadcast and pixels == 1 and bool((label_CP == label_CP[:, :1]).all()):
        moved_size = (1,) * len(moved_size)
        label_CP = label_CP[:, :1]
    step = _step(label_CP[0], size, moved_size)
    if step is not None:
        first_C, inside = label_CP[:, :1], label_CP[0] - label_CP[0, 0]
        if not bool((first_C % pixels != 0).any()) and bool((label_CP == first_C + inside).all()):
            return Movement(first_C.flatten() // pixels, False, moved_size, step)
    positions = _positions(label_CP, pixels)
    if positions is not None:
        return Movement(label_CP[:, 0] // pixels, False, moved_size, positions=positions)
    flattened = moved_size == () != size
    if flattened and label_CP.shape[0] % pixels == 0:
        label_CP = label_CP.view(-1, pixels)
    first_C = label_CP[:, :1]
    whole = label_CP.shape[1] == pixels and bool((label_CP == first_C + torch.arange(pixels)).all())
    if not whole or bool((first_C % pixels != 0).any()):
        raise _misplaced(name, "pixels")
    return Movement(first_C.flatten() // pixels, flattened, moved_size)


def _step(label_P: Tensor, size: tuple[int, ...], moved_size: tuple[int, ...]) -> tuple[int, int] | None:
    """Of which rows and columns the pixels are that are left of one channel, if they are evenly spaced."""
    if len(size) != 2 or len(moved_size) != 2 or size == moved_size:
        return None
    (height, width), (rows, columns) = size, moved_size
    corner = label_P.view(moved_size)
    down = int(corner[1, 0] - corner[0, 0]) // width if rows > 1 else height
    right = int(corner[0, 1] - corner[0, 0]) if columns > 1 else width
    if min(down, right) < 1:
        return None
    every = torch.arange(height * width).view(size)[::down, ::right]
    same = every.shape == corner.shape and torch.equal(every, corner - corner[0, 0])
    return (down, right) if same else None


def _positions(label_CP: Tensor, pixels: int) -> Tensor | None:
    """Which pixels of their channels there are, if that differs from all of them in order, but not between channels."""
    position_P = label_CP[0] % pixels
    if torch.equal(position_P, torch.arange(pixels)) or len(position_P.unique()) < len(position_P):
        return None
    same = torch.equal(label_CP, label_CP[:, :1] - label_CP[:, :1] % pixels + position_P)
    return position_P if same else None


def _misplaced(name: str, what: str) -> NetworkError:
    return NetworkError(
        f"node {name!r}: cutting knows operations that select, flatten or reshape whole channels; up to here the"
        f" {what} change places; the masked network still works"
    )
