"""Which call sites of a network are unit layers, and one value per unit and sample (docs/method.md).

A unit layer is one *call* of a ReLU in the traced graph: a module called twice is two layers, a functional ReLU is a
layer like any other. A convolutional unit is a channel, its value the mean over height and width; a fully connected
unit is one value.

Shapes: B samples, N_l units of layer l.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

RELU_FUNCTIONS = (F.relu, F.relu_, torch.relu, torch.relu_)
RELU_METHODS = ("relu", "relu_")
DROPOUT_FUNCTIONS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)
WEIGHTED_FUNCTIONS = (F.linear, F.conv1d, F.conv2d, F.conv3d, torch.matmul, torch.bmm)


@dataclass(frozen=True)
class UnitLayer:
    """One unit layer: its name ("blocks.0.relu#2"), its node in the traced graph, and its number of units."""

    name: str
    node: str
    units: int


@dataclass(frozen=True)
class UnitLayers:
    """The unit layers of a network in order of execution, with the traced graph that they are call sites of."""

    graph: fx.Graph
    layers: tuple[UnitLayer, ...]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[UnitLayer]:
        return iter(self.layers)

    def __getitem__(self, index: int) -> UnitLayer:
        return self.layers[index]

    @property
    def widths(self) -> list[int]:
        """Number of units of each layer."""
        return [layer.units for layer in self.layers]


def unit_layers(network: nn.Module, example_input: Tensor) -> UnitLayers:
    """Trace ``network`` and find its unit layers. A ReLU with no weights after it makes logits and is none.

    Args:
        network: any network that ``torch.fx`` can trace symbolically.
        example_input: one batch, for the shapes; its values do not matter.

    Raises:
        ValueError: the network cannot be traced, has no ReLU, or calls dropout as a function (tracing would freeze it).
    """
    graph = trace_with_shapes(network, example_input)
    modules = dict(network.named_modules())
    layers: list[UnitLayer] = []
    calls: dict[str, int] = {}
    for node in graph.nodes:
        name = _relu_name(node, modules)
        if name is None or _leads_to_logits(node, modules):
            continue
        calls[name] = calls.get(name, 0) + 1
        shape = node.meta["tensor_meta"].shape
        if len(shape) not in (2, 4):
            raise ValueError(
                f"unit layer {name!r} gives a tensor of shape {tuple(shape)}; expected (B, N) or (B, N, H, W)"
            )
        layers.append(UnitLayer(name if calls[name] == 1 else f"{name}#{calls[name]}", node.name, shape[1]))
    if not layers:
        raise ValueError(f"{type(network).__name__} has no ReLU, so it has no unit layers to make modules of")
    return UnitLayers(graph, tuple(layers))


def watch_units(network: nn.Module, layers: UnitLayers) -> fx.GraphModule:
    """The same network (its parameters are shared) whose call gives ``(logits, units)``.

    ``units`` is a list of (B, N_l) in float32 or wider: one value per unit and sample.
    """
    watched: list[fx.Node] = []

    def watch(graph: fx.Graph, node: fx.Node, layer: int) -> fx.Node:
        watched.append(graph.call_function(unit_values, (node,)))
        return node

    graph = rewrite_units(layers, watch)
    output = next(node for node in graph.nodes if node.op == "output")
    output.args = ((output.args[0], watched),)
    return fx.GraphModule(network, graph)


def unit_values(activation: Tensor) -> Tensor:
    """One value per unit and sample of a ReLU's output: (B, N) copied, (B, N, H, W) as the mean over H and W.

    Summed and returned in float32 or wider, whatever the activation's type: losses and statistics stay there (on a CPU
    the mean of a bfloat16 activation is rounded to its precision once). A copy, since what follows may work in place.
    """
    if activation.ndim == 2:
        return activation.to(torch.promote_types(activation.dtype, torch.float32), copy=True)
    means: Tensor = _ChannelMean.apply(activation)  # type: ignore[no-untyped-call]
    return means


class _ChannelMean(torch.autograd.Function):
    """Mean over height and width whose gradient has the activation's own memory layout.

    The gradient of ``Tensor.mean`` is expanded with strides of zero, or in float32, and what adds it to the gradient
    from the next layer is then several times slower than it need be.
    """

    @staticmethod
    def forward(ctx: Any, activation: Tensor) -> Tensor:
        ctx.shape, ctx.dtype = activation.shape, activation.dtype
        last = activation.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        if activation.dtype == torch.bfloat16 and activation.device.type == "cpu" and last:
            # A product with ones sums in float32 at the speed of a matrix product; a reduction over bfloat16 crawls.
            flat = activation.permute(0, 2, 3, 1).flatten(1, 2)
            return flat.new_ones(len(flat), 1, flat.shape[1]).bmm(flat).squeeze(1).float() / flat.shape[1]
        return activation.mean((2, 3), dtype=torch.promote_types(activation.dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        pixels = ctx.shape[2] * ctx.shape[3]
        gradient: Tensor = (grad_outputs[0] / pixels).to(ctx.dtype)[:, :, None, None]
        return gradient.expand(ctx.shape).contiguous(memory_format=ctx.layout)


def rewrite_units(
    layers: UnitLayers, at_unit: Callable[[fx.Graph, fx.Node, int], fx.Node], *, extra_inputs: int = 0
) -> fx.Graph:
    """A copy of the traced graph in which what ``at_unit(graph, node, layer)`` returns takes a unit layer's place.

    ``extra_inputs`` placeholders named ``extra_0, extra_1 ...`` follow the network's own.
    """
    layer_of = {layer.node: index for index, layer in enumerate(layers)}
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in layers.graph.nodes:
        copies[node] = graph.node_copy(node, lambda original: copies[original])
        if node.op == "placeholder":
            for index in range(extra_inputs):
                graph.placeholder(f"extra_{index}")
        if node.name in layer_of:
            copies[node] = at_unit(graph, copies[node], layer_of[node.name])
    return graph


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; every module gets its own mode back afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def trace_with_shapes(network: nn.Module, example_input: Tensor) -> fx.Graph:
    """The network's symbolic graph with every node's shape in ``node.meta["tensor_meta"]``."""
    try:
        graph = fx.Tracer().trace(network)
    except (fx.proxy.TraceError, TypeError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{type(network).__name__} cannot be traced by torch.fx: {error}") from error
    placeholders = [node.name for node in graph.nodes if node.op == "placeholder"]
    if len(placeholders) != 1:
        raise ValueError(f"{type(network).__name__} takes {placeholders}; a network of one input is needed")
    for node in graph.nodes:
        if node.op == "call_function" and ("training" in node.kwargs or node.target in DROPOUT_FUNCTIONS):
            raise ValueError(f"node {node.name!r}: tracing freezes {node.target}; use a module such as nn.Dropout")
    with evaluating(network):
        ShapeProp(fx.GraphModule(network, graph)).propagate(example_input)
    return graph


def _leads_to_logits(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether the output can be reached without passing a convolution or a linear layer."""
    reached = list(node.users)
    seen = set(reached)
    while reached:
        one = reached.pop()
        if one.op == "output":
            return True
        weighted = one.target in WEIGHTED_FUNCTIONS
        if one.op == "call_module":
            weighted = isinstance(modules[str(one.target)], nn.Linear | nn.modules.conv._ConvNd)
        if not weighted:
            new = [user for user in one.users if user not in seen]
            seen.update(new)
            reached += new
    return False


def _relu_name(node: fx.Node, modules: dict[str, nn.Module]) -> str | None:
    """The name of a ReLU's call site without its count, None for any other node."""
    if node.op == "call_module" and isinstance(modules[str(node.target)], nn.ReLU):
        return str(node.target)
    functional = (node.op == "call_function" and node.target in RELU_FUNCTIONS) or (
        node.op == "call_method" and node.target in RELU_METHODS
    )
    if not functional:
        return None
    stack = list(node.meta.get("nn_module_stack", {}).values())
    owner = stack[-1][0] if stack else ""
    return f"{owner}.relu" if owner else "relu"
