"""Which call sites of a network are unit layers, and one value per unit and sample (docs/method.md).

A unit layer is one *call* of an activation in the traced graph: a module called twice is two layers, a functional ReLU
is a layer like any other. A convolutional unit is a channel, its value the mean over height and width; a fully
connected unit is one value, in a Transformer the mean over the tokens. Where the activation goes below zero the mean is
of absolute values.

Shapes: B samples, N_l units of layer l.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from moda_core.activations import ACTIVATIONS, KIND_OF_FUNCTION, KIND_OF_METHOD, KIND_OF_MODULE, Activation
from moda_core.tracing import trace_with_shapes

WEIGHTED_FUNCTIONS = (F.linear, F.conv1d, F.conv2d, F.conv3d, torch.matmul, torch.bmm)


@dataclass(frozen=True)
class UnitLayer:
    """One unit layer.

    Attributes:
        name: of the call site ("blocks.0.relu#2").
        node: its node in the traced graph.
        units: their number.
        kind: the activation, a key of ``ACTIVATIONS``.
        dimension: where the units lie in its output: 1 after a convolution, -1 after a linear layer over tokens.
    """

    name: str
    node: str
    units: int
    kind: str = "relu"
    dimension: int = 1

    @property
    def activation(self) -> Activation:
        """What is known of its activation."""
        return ACTIVATIONS[self.kind]


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
    """Trace ``network`` and find its unit layers. An activation with no weights after it makes logits and is none.

    Args:
        network: any network that ``torch.fx`` can trace symbolically.
        example_input: one batch, for the shapes; its values do not matter.

    Raises:
        ValueError: the network cannot be traced, has no activation that is known, or calls dropout as a function
            (tracing would freeze it).
    """
    graph = trace_with_shapes(network, example_input)
    modules = dict(network.named_modules())
    layers: list[UnitLayer] = []
    calls: dict[str, int] = {}
    for node in graph.nodes:
        kind = activation_kind(node, modules)
        if kind is None or _leads_to_logits(node, modules):
            continue
        name = _call_site(node, kind)
        calls[name] = calls.get(name, 0) + 1
        shape = node.meta["value"].shape
        dimension = _unit_dimension(node, modules)
        name = name if calls[name] == 1 else f"{name}#{calls[name]}"
        layers.append(UnitLayer(name, node.name, shape[dimension], kind, dimension))
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no unit layers to make modules of: it calls none of"
            f" {', '.join(sorted(ACTIVATIONS))} before a layer with weights"
        )
    return UnitLayers(graph, tuple(layers))


def watch_units(network: nn.Module, layers: UnitLayers) -> fx.GraphModule:
    """The same network (its parameters are shared) whose call gives ``(logits, units)``.

    ``units`` is a list of (B, N_l) in float32 or wider: one value per unit and sample.
    """
    watched: list[fx.Node] = []

    def watch(graph: fx.Graph, node: fx.Node, layer: int) -> fx.Node:
        one = layers[layer]
        watched.append(graph.call_function(unit_values, (node, one.dimension, one.activation.signed)))
        return node

    graph = rewrite_units(layers, watch)
    output = next(node for node in graph.nodes if node.op == "output")
    output.args = ((output.args[0], watched),)
    return fx.GraphModule(network, graph)


def unit_values(activation: Tensor, dimension: int = 1, signed: bool = False) -> Tensor:
    """One value per unit and sample: (B, N) itself, anything larger as the mean over all dimensions but two.

    Summed and returned in float32 or wider, whatever the activation's type: losses and statistics stay there (on a CPU
    the mean of a bfloat16 activation is rounded to its precision once). A copy, since what follows may work in place.

    Args:
        activation: an activation's output, the batch first.
        dimension: of the units.
        signed: whether it goes below zero; absolute values are taken then.
    """
    wide = torch.promote_types(activation.dtype, torch.float32)
    if activation.ndim == 4 and dimension == 1:
        means: Tensor = _ChannelMean.apply(activation, signed)  # type: ignore[no-untyped-call]
        return means
    magnitude = activation.abs() if signed else activation
    if activation.ndim == 2:
        return magnitude.to(wide, copy=True)
    others = [axis for axis in range(1, activation.ndim) if axis != dimension % activation.ndim]
    return magnitude.mean(others, dtype=wide)


def along(factor_BN: Tensor, activation: Tensor, dimension: int) -> Tensor:
    """A factor for every (row and) unit in the shape and type that multiplies an activation."""
    shape = [factor_BN.shape[0]] + [1] * (activation.ndim - 1)
    shape[dimension] = factor_BN.shape[1]
    return factor_BN.view(shape).to(activation.dtype)


class _ChannelMean(torch.autograd.Function):
    """Mean (absolute) value over height and width whose gradient has the activation's own memory layout.

    The gradient of ``Tensor.mean`` is expanded with strides of zero, or in float32, and what adds it to the gradient
    from the next layer is then several times slower than it need be.
    """

    @staticmethod
    def forward(ctx: Any, activation: Tensor, signed: bool) -> Tensor:
        ctx.shape, ctx.dtype = activation.shape, activation.dtype
        last = activation.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        if signed:
            ctx.save_for_backward(activation)
            activation = activation.abs()
        if activation.dtype == torch.bfloat16 and activation.device.type == "cpu" and last:
            # A product with ones sums in float32 at the speed of a matrix product; a reduction over bfloat16 crawls.
            flat = activation.permute(0, 2, 3, 1).flatten(1, 2)
            return flat.new_ones(len(flat), 1, flat.shape[1]).bmm(flat).squeeze(1).float() / flat.shape[1]
        return activation.mean((2, 3), dtype=torch.promote_types(activation.dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        pixels = ctx.shape[2] * ctx.shape[3]
        gradient: Tensor = (grad_outputs[0] / pixels).to(ctx.dtype)[:, :, None, None]
        if ctx.saved_tensors:
            return gradient * ctx.saved_tensors[0].sign(), None
        return gradient.expand(ctx.shape).contiguous(memory_format=ctx.layout), None


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


def activation_kind(node: fx.Node, modules: dict[str, nn.Module]) -> str | None:
    """Which of ``ACTIVATIONS`` a node calls, None for any other node."""
    if node.op == "call_module":
        return KIND_OF_MODULE.get(type(modules[str(node.target)]))
    if node.op == "call_function":
        return KIND_OF_FUNCTION.get(node.target)  # type: ignore[arg-type]
    return KIND_OF_METHOD.get(str(node.target)) if node.op == "call_method" else None


def _call_site(node: fx.Node, kind: str) -> str:
    """The name of an activation's call site without its count."""
    if node.op == "call_module":
        return str(node.target)
    stack = list(node.meta.get("nn_module_stack", {}).values())
    owner = stack[-1][0] if stack else ""
    return f"{owner}.{kind}" if owner else kind


def _unit_dimension(node: fx.Node, modules: dict[str, nn.Module]) -> int:
    """1 or -1: where the nearest layer with weights before an activation puts its outputs."""
    dimensions = node.meta["value"].ndim
    before: fx.Node | None = node
    while dimensions > 2 and before is not None and before.all_input_nodes:
        before = before.all_input_nodes[0]
        module = modules[str(before.target)] if before.op == "call_module" else None
        if isinstance(module, nn.Linear) or before.target is F.linear:
            return -1
        if isinstance(module, nn.modules.conv._ConvNd | nn.modules.batchnorm._BatchNorm):
            return 1
    return -1 if dimensions == 3 else 1


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
