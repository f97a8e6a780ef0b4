"""In which dimension of every value of a traced graph the channels lie.

A convolution puts them in dimension 1, a linear layer in the last one. What only moves numbers about is run on the
channels' numbers, which shows where they went.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from moda_core.movement import holds_tensor, is_movement, run_movement

FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)
FIRST_FUNCTIONS = (F.conv1d, F.conv2d, F.conv3d, F.batch_norm, F.group_norm, F.avg_pool2d, F.max_pool2d)
LAST = (nn.Linear, nn.MultiheadAttention)
REDUCTIONS = ("mean", "sum", "amax", "amin")


def channel_dimensions(graph: fx.Graph, modules: dict[str, nn.Module]) -> dict[fx.Node, int | None]:
    """Of every node that holds a tensor the dimension of its channels, None where they lie in several or in none."""
    dimensions: dict[fx.Node, int | None] = {}
    for node in graph.nodes:
        value = node.meta["value"]
        holds = node.op != "output" and holds_tensor(value)
        dimensions[node] = _dimension(node, value, modules, dimensions) if holds else None
    return dimensions


def _dimension(
    node: fx.Node, value: Any, modules: dict[str, nn.Module], dimensions: dict[fx.Node, int | None]
) -> int | None:
    rank = value.ndim if isinstance(value, Tensor) else None
    module = modules[str(node.target)] if node.op == "call_module" else None
    if node.op == "placeholder":
        return 2 if rank == 3 else 1
    if isinstance(module, FIRST) or node.target in FIRST_FUNCTIONS or rank == 2:
        return 1
    if isinstance(module, LAST) or node.target is F.linear:
        return rank - 1 if rank is not None else value[0].ndim - 1
    sources = [source for source in node.all_input_nodes if dimensions.get(source) is not None]
    if not sources:
        return None
    if sources[0] is node.all_input_nodes[0] and (is_movement(node, modules) or _reduces(node)):
        return _followed(node, sources[0], modules, dimensions)
    for source in sources:
        if rank is None or source.meta["value"].ndim == rank:
            return dimensions[source]
    return None


def _reduces(node: fx.Node) -> bool:
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    return name in REDUCTIONS


def _followed(
    node: fx.Node, source: fx.Node, modules: dict[str, nn.Module], dimensions: dict[fx.Node, int | None]
) -> int | None:
    """Where the channels of ``source`` lie after a call that moves numbers or puts some together."""
    shaped, dimension = source.meta["value"], dimensions[source]
    assert dimension is not None
    if not isinstance(shaped, Tensor):  # one of several parts
        return dimension

    def known(one: fx.Node) -> Any:
        if one is not source:
            return one.meta.get("constant", one.meta["value"])
        channel = torch.arange(shaped.shape[dimension], dtype=torch.float64)
        return channel.view([-1 if axis == dimension else 1 for axis in range(shaped.ndim)]).expand(shaped.shape)

    moved = run_movement(node, modules, known)
    part = moved[0] if isinstance(moved, tuple | list) else moved
    if shaped.shape[dimension] == 1:  # one channel has no other to differ from
        single = [axis for axis, side in enumerate(part.shape) if side == 1]
        return dimension if dimension in single else next(iter(single), None)
    varying = [axis for axis in range(part.ndim) if bool((part != part.narrow(axis, 0, 1)).any())]
    return varying[0] if len(varying) == 1 else None
