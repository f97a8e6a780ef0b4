"""Means, sums and largest values over height and width, however they are written, as pools."""

import math
from typing import Any

import torch
from torch import Tensor, fx

from moda_core.graph.operations import Attribute, Node
from moda_core.graph.reader import Reader, in_order

REDUCTIONS: dict[Any, str] = {
    **dict.fromkeys((torch.mean, "mean"), "mean"),
    **dict.fromkeys((torch.sum, "sum"), "sum"),
    **dict.fromkeys((torch.amax, "amax", torch.max, "max"), "amax"),
}


def reduce(reader: Reader, node: fx.Node) -> bool:
    """Add a reduction over pixels; False if it is over anything else."""
    source = node.args[0] if node.args else node.kwargs.get("input")
    if not isinstance(source, fx.Node) or node.kwargs.get("dtype") is not None:
        return False
    axes = _axes(node, source)
    if not axes or 0 in axes or not reader.follows(node) or source in reader.constants:
        return False
    origin, labels = reader.labels(source)
    if not isinstance(labels, Tensor):
        return False
    whole = _whole_channels(labels, axes, math.prod(reader.nodes[origin].size))
    if whole is None and labels.ndim > 2:  # of what is left after a call that moved pixels
        dimension = reader.dimension(source)
        origin = reader.input(source, node.name, dimension=dimension)
        labels = in_order(labels.shape, dimension)
        whole = _whole_channels(labels, axes, math.prod(reader.nodes[origin].size))
    if whole is not None:
        pooled = _pool(reader, node, reader.nodes[origin], (1, 1))
    elif axes in ([2], [3]) and labels.ndim == 4:
        image = reader.nodes[origin]
        height, width = image.size
        pooled = _pool(reader, node, image, (1, width) if axes == [2] else (height, 1))
        whole = torch.arange(2 * pooled.channels * math.prod(pooled.size)).view(2, pooled.channels, *pooled.size)
        whole = whole.squeeze(axes[0])
    else:
        return False
    value = node.meta["value"]
    if isinstance(value, Tensor):
        reader.moved[node] = pooled.name, whole.reshape(value.shape)
    else:  # largest values, and where they are, which nobody may read
        reader.moved[node] = pooled.name, (whole.reshape(value[0].shape), torch.empty(0))
    return True


def _axes(node: fx.Node, source: fx.Node) -> list[int]:
    axes: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis"))
    axes = [axes] if isinstance(axes, int) else axes
    if not isinstance(axes, list | tuple) or not all(isinstance(axis, int) for axis in axes):
        return []
    return sorted(axis % source.meta["value"].ndim for axis in axes)


def _whole_channels(labels: Tensor, axes: list[int], pixels: int) -> Tensor | None:
    """The number of the channel that each result is of, if each is of all pixels of one channel."""
    kept = [axis for axis in range(labels.ndim) if axis not in axes]
    reduced = labels.permute(*kept, *axes).flatten(len(kept)).sort(-1).values
    first = reduced[..., :1]
    whole = reduced.shape[-1] == pixels and torch.equal(reduced, first + torch.arange(pixels))
    return (first // pixels).squeeze(-1) if whole and not bool((first % pixels).any()) else None


def _pool(reader: Reader, node: fx.Node, image: Node, size: tuple[int, int]) -> Node:
    """The reduction of an image to a size, each side of it kept or 1."""
    if len(image.size) != 2:
        image = reader.put(f"{node.name}_column", "reshape", image, image.channels, (math.prod(image.size), 1))
    kind, name = REDUCTIONS[node.target], f"{node.name}_pool"
    if kind == "amax":
        window = [have // wanted for have, wanted in zip(image.size, size, strict=True)]
        attributes: dict[str, Attribute] = {"kernel_size": window, "stride": window, "padding": [0, 0]}
        return reader.put(name, "max_pool2d", image, image.channels, size, ceil_mode=False, **attributes)
    pooled = reader.put(name, "adaptive_avg_pool2d", image, image.channels, size, output_size=list(size))
    if kind == "mean":
        return pooled
    count = float(math.prod(image.size) // math.prod(size))
    return reader.put(f"{node.name}_count", "scale_shift", pooled, image.channels, size, factor=count, offset=0.0)
