"""In which dimension of every value of a traced graph the channels lie.

A convolution puts them in dimension 1, a linear layer in the last one. What only moves numbers about is run on the
channels' numbers, which shows where they went.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from moda_core.units.movement import holds_tensor, is_movement, run_movement

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
REDUCTIONS = ("mean", "sum", "amax", "amin", "max", "min")


def channel_dimensions(graph: fx.Graph, modules: dict[str, nn.Module]) -> dict[fx.Node, int | None]:
    """Of every node that holds a tensor the dimension of its channels, None where they lie in several or in none."""
    follower = _Follower(modules)
    for node in graph.nodes:
        if node.op != "output" and holds_tensor(node.meta["value"]):
            follower.follow(node)
    return follower.dimensions


class _Follower:
    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self.modules = modules
        self.dimensions: dict[fx.Node, int | None] = {}
        self.moved: dict[fx.Node, Any] = {}  # the number of the channel that each number of a moved tensor is of

    def follow(self, node: fx.Node) -> None:
        source = next(iter(node.all_input_nodes), None)
        moves = is_movement(node, self.modules) or _reduces(node)
        if moves and source is not None and (source in self.moved or self.dimensions.get(source) is not None):
            self.moved[node] = run_movement(node, self.modules, lambda other: self._known(other, source))
            self.dimensions[node] = self._of_moved(node, source)
        else:
            self.dimensions[node] = self._of_call(node)

    def _of_call(self, node: fx.Node) -> int | None:
        value = node.meta["value"]
        rank = value.ndim if isinstance(value, Tensor) else value[0].ndim
        module = self.modules[str(node.target)] if node.op == "call_module" else None
        if node.op == "placeholder":
            return 2 if rank == 3 else 1
        if isinstance(module, FIRST) or node.target in FIRST_FUNCTIONS or rank == 2:
            return 1
        if isinstance(module, LAST) or node.target is F.linear:
            return rank - 1
        sources = [source for source in node.all_input_nodes if self.dimensions.get(source) is not None]
        same = [source for source in sources if not isinstance(value, Tensor) or source.meta["value"].ndim == rank]
        return self.dimensions[same[0]] if same else None

    def _known(self, node: fx.Node, source: fx.Node) -> Any:
        if node is not source:
            return node.meta.get("constant", node.meta["value"])
        if source in self.moved:
            return self.moved[source]
        dimension, value = self.dimensions[source], source.meta["value"]
        if not isinstance(value, Tensor):  # parts of a layer with several results
            return [_numbered(part, dimension) for part in value]
        return _numbered(value, dimension)

    def _of_moved(self, node: fx.Node, source: fx.Node) -> int | None:
        part = self.moved[node]
        if not isinstance(part, Tensor):
            return None
        if part.ndim == 2:
            return 1
        varying = [axis for axis in range(part.ndim) if bool((part != part.narrow(axis, 0, 1)).any())]
        if varying:
            return varying[0] if len(varying) == 1 else None
        single = [axis for axis, side in enumerate(part.shape) if side == 1]  # one channel has no other to differ from
        return self.dimensions.get(source) if self.dimensions.get(source) in single else next(iter(single), None)


def _numbered(value: Any, dimension: int | None) -> Any:
    """The number of its channel in the place of every number."""
    if not isinstance(value, Tensor) or dimension is None or dimension >= value.ndim:
        return value
    channel = torch.arange(value.shape[dimension], dtype=torch.float64)
    return channel.view([-1 if axis == dimension else 1 for axis in range(value.ndim)]).expand(value.shape).contiguous()


def _reduces(node: fx.Node) -> bool:
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    return name in REDUCTIONS and len(node.all_input_nodes) == 1  # torch.max of two tensors reduces nothing
