"""Which call sites of a network are unit layers, and one value per unit and sample (docs/method.md).

A unit layer is one *call* in the traced graph, of an activation, of attention or of whatever a rule chooses: a module
called twice is two layers, a functional ReLU is a layer like any other. A convolutional unit is a channel, its value
the mean over height and width; a fully connected unit is one value, in a Transformer the mean over the tokens. Where
the call may give numbers below zero the mean is of absolute values. A unit of attention is a head, its value the mean
over the tokens of the norm of its output.

Shapes: B samples, N_l units of layer l.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from moda_core.errors import NetworkError
from moda_core.units.activations import ACTIVATIONS, PLAIN_CALL, Activation
from moda_core.units.attention import HEADS, head_values, is_attention
from moda_core.units.by_hand import kind_of
from moda_core.units.dimensions import channel_dimensions
from moda_core.units.in_place import refuse_in_place
from moda_core.units.tracing import prove_trace, trace_with_shapes

WEIGHTED_FUNCTIONS = (F.linear, F.conv1d, F.conv2d, F.conv3d, torch.matmul, torch.bmm)


@dataclass(frozen=True)
class UnitLayer:
    """One unit layer, also called a site.

    Attributes:
        name: of the call site ("blocks.0.relu#2").
        node: its node in the traced graph.
        units: their number.
        kind: the activation, a key of ``ACTIVATIONS``; "heads" of attention, "call" of any other site.
        dimension: where the units lie in its output: 1 after a convolution and of heads, -1 (the last) after a linear
            layer over tokens or where the channels were moved there.
        may_be_empty: whether modules may keep none of its units: heads, and units over tokens, which the logits can do
            without because the tokens also pass beside them.
    """

    name: str
    node: str
    units: int
    kind: str = "relu"
    dimension: int = 1
    may_be_empty: bool = False

    @property
    def activation(self) -> Activation:
        """The known properties of its activation; a site that is not one may have any sign and no exact zeros."""
        return ACTIVATIONS.get(self.kind, PLAIN_CALL)


@dataclass(frozen=True)
class UnitLayers:
    """The unit layers of a network in order of execution, with the traced graph that holds them."""

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
        """The number of units of each layer."""
        return [layer.units for layer in self.layers]

    @property
    def may_be_empty(self) -> tuple[bool, ...]:
        """Of each layer, whether modules may keep none of its units; () if there is no such layer."""
        every = tuple(layer.may_be_empty for layer in self.layers)
        return every if any(every) else ()


def unit_layers(network: nn.Module, example_input: Tensor) -> UnitLayers:
    """Trace ``network`` and find its unit layers: activations, and the heads of attention. One without weights after it
    makes logits and is none.

    Args:
        network: any network that ``torch.fx`` can trace symbolically.
        example_input: one batch, for the shapes; its values do not matter.

    Raises:
        NetworkError: the network cannot be traced, computes something else than its trace for one, two or three images,
            has no activation that is known, or calls dropout as a function (tracing would freeze it).
    """
    graph = trace_with_shapes(network, example_input)
    modules = dict(network.named_modules())
    found = _layers_at(graph, modules, lambda node: _kind(node, modules) is not None)
    if not found:
        raise NetworkError(
            f"{type(network).__name__} has no unit layers to make modules of: it calls none of"
            f" {', '.join(sorted(ACTIVATIONS))} before a layer with weights"
        )
    prove_trace(network, graph, example_input)
    return UnitLayers(graph, found)


def unit_sites(
    network: nn.Module, example_input: Tensor, is_site: Callable[[fx.Node, nn.Module | None], bool]
) -> UnitLayers:
    """Trace ``network`` and take the calls that a rule selects as its unit layers, whether they are activations or not.

    Args:
        network: any network that ``torch.fx`` can trace symbolically.
        example_input: one batch, for the shapes; its values do not matter.
        is_site: asked for each call (a node of the traced graph, and the module that it calls, None for a function or a
            method); says whether the channels of its output are units. As in :func:`unit_layers`, a call with no
            weights after it makes logits and is not a site, whatever ``is_site`` says.

    Raises:
        NetworkError: as :func:`unit_layers`; no wanted call; a call whose output is not a tensor with channels; a call
            that works in place on what others read.
    """
    graph = trace_with_shapes(network, example_input)
    modules = dict(network.named_modules())

    def is_wanted(node: fx.Node) -> bool:
        called = node.op.startswith("call_")
        return called and is_site(node, modules[str(node.target)] if node.op == "call_module" else None)

    found = _layers_at(graph, modules, is_wanted)
    if not found:
        raise NetworkError(
            f"{type(network).__name__} has no site that the rule wants before a layer with weights; choose other calls"
        )
    for node in graph.nodes:  # a mask's result is a copy, so nothing else may write to what it is a copy of
        refuse_in_place(node)
    prove_trace(network, graph, example_input)
    return UnitLayers(graph, found)


def _layers_at(
    graph: fx.Graph, modules: dict[str, nn.Module], is_wanted: Callable[[fx.Node], bool]
) -> tuple[UnitLayer, ...]:
    """The wanted calls that lead to logits through weights."""
    dimensions = channel_dimensions(graph, modules)
    layers: list[UnitLayer] = []
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if not is_wanted(node) or _leads_to_logits(node, modules):
            continue
        kind = _kind(node, modules)
        name = _call_site(node, kind or str(getattr(node.target, "__name__", node.target)))
        calls[name] = calls.get(name, 0) + 1
        name = name if calls[name] == 1 else f"{name}#{calls[name]}"
        dimension = 1 if kind == HEADS else _unit_dimension(node, name, dimensions.get(node))
        units = node.meta["value"].shape[dimension]
        may_be_empty = (kind == HEADS or dimension == -1) and _is_bypassed(graph, node)
        layers.append(UnitLayer(name, node.name, units, kind or "call", dimension, may_be_empty))
    return tuple(layers)


def _kind(node: fx.Node, modules: dict[str, nn.Module]) -> str | None:
    """The kind of unit layer that a node is where nobody chooses sites, None for none."""
    return HEADS if is_attention(node) else kind_of(node, modules)


def watch_units(network: nn.Module, layers: UnitLayers) -> fx.GraphModule:
    """Return the same network, with shared parameters, whose call returns ``(logits, units)``.

    ``units`` is a list of (B, N_l) in float32 or wider: one value per unit and sample.
    """
    watched: list[fx.Node] = []

    def watch(graph: fx.Graph, node: fx.Node, layer: int) -> fx.Node:
        site = layers[layer]
        if site.kind == HEADS:
            watched.append(graph.call_function(head_values, (node,)))
        else:
            watched.append(graph.call_function(unit_values, (node, site.dimension, site.activation.signed)))
        return node

    graph = rewrite_units(layers, watch)
    output = next(node for node in graph.nodes if node.op == "output")
    output.args = ((output.args[0], watched),)
    return fx.GraphModule(network, graph)


def unit_values(activation: Tensor, dimension: int = 1, signed: bool = False) -> Tensor:
    """Return one value per unit and sample: (B, N) unchanged, anything larger as the mean over all dimensions but two.

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
    if activation.ndim == 2:
        copied = activation.to(wide, copy=True)
        return copied.abs() if signed else copied
    magnitude = activation.abs() if signed else activation
    others = [axis for axis in range(1, activation.ndim) if axis != dimension % activation.ndim]
    return magnitude.mean(others, dtype=wide)


def along(factor_BN: Tensor, activation: Tensor, dimension: int) -> Tensor:
    """Bring a factor for every (row and) unit into the shape and type that multiplies an activation."""
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
    """Copy the traced graph with every unit layer replaced by what ``at_unit(graph, node, layer)`` returns.

    ``extra_inputs`` placeholders named ``extra_0, extra_1 ...`` follow the network's own.

    Raises:
        NetworkError: a unit layer that works in place on what somebody else reads.
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
            refuse_in_place(node)
            copies[node] = at_unit(graph, copies[node], layer_of[node.name])
    return graph


def _call_site(node: fx.Node, called: str) -> str:
    """The name of a call site without its count; ``called`` is the activation, the function or the method."""
    if node.op == "call_module":
        return str(node.target)
    stack = list(node.meta.get("nn_module_stack", {}).values())
    owner = stack[-1][0] if stack else ""
    return f"{owner}.{called}" if owner else called


def _unit_dimension(node: fx.Node, name: str, dimension: int | None) -> int:
    """The dimension of a layer's units, -1 for the last one but of flat features."""
    if not isinstance(node.meta["value"], Tensor):
        raise NetworkError(f"{name!r} does not give a single tensor, so it has no units; choose a call that gives one")
    shape = tuple(node.meta["value"].shape)
    if dimension is None or dimension == 0:
        raise NetworkError(
            f"the units of {name!r} do not lie in a single dimension of its {shape}: channels were put together or"
            " taken apart; call the activation before that"
        )
    return -1 if len(shape) > 2 and dimension == len(shape) - 1 else dimension


def _is_bypassed(graph: fx.Graph, site: fx.Node) -> bool:
    """Whether the output can be reached from the images without passing a site."""
    reached = {node for node in graph.nodes if node.op == "placeholder"}
    for node in graph.nodes:
        if node is not site and any(source in reached for source in node.all_input_nodes):
            reached.add(node)
    return any(node.op == "output" for node in reached)


def _leads_to_logits(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether the output can be reached without passing a convolution or a linear layer."""
    reached = list(node.users)
    seen = set(reached)
    while reached:
        node = reached.pop()
        if node.op == "output":
            return True
        weighted = node.target in WEIGHTED_FUNCTIONS
        if node.op == "call_module":
            weighted = isinstance(modules[str(node.target)], nn.Linear | nn.modules.conv._ConvNd)
        if not weighted:
            new = [user for user in node.users if user not in seen]
            seen.update(new)
            reached += new
    return False
