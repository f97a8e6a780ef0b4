"""How unit masks run through a network: which channels each operation still has to hold.

A channel outside a unit layer's mask is zero for its consumers, so it need not be held; a channel that nobody reads
need not be computed. What a node holds is what is *live* (not known to be zero) and *needed* (read by somebody).

Shapes: K masks side by side (one a class, or just one), ch channels of a node, N_l units of layer l.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from moda_core.operations import MIXING, PER_CHANNEL, TRAINABLE, Attribute, Node, describe_module
from moda_core.units import RELU_FUNCTIONS, RELU_METHODS, UnitLayers, trace_with_shapes

ADD_FUNCTIONS = (operator.add, operator.iadd, torch.add)
ADD_METHODS = ("add", "add_")
IN_PLACE = (operator.iadd, F.relu_, torch.relu_)
LARGEST_CHANNELS = 2**24  # of all nodes together: what is allocated to follow masks through a graph


@dataclass(frozen=True)
class ChannelGraph:
    """A network as operations on channels. The first node is the input, the last one gives the logits.

    Attributes:
        nodes: in order of execution.
        widths: units of each unit layer.
    """

    nodes: tuple[Node, ...]
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.nodes or not self.widths:
            raise ValueError(f"a graph of {len(self.nodes)} nodes and {len(self.widths)} unit layers is no network")
        if sum(node.channels for node in self.nodes) > LARGEST_CHANNELS:
            raise ValueError(f"the nodes have more than {LARGEST_CHANNELS} channels together")
        seen: dict[str, Node] = {}
        for node in self.nodes:
            if not node.name.isidentifier() or node.name in seen:
                raise ValueError(f"node name {node.name!r} is no identifier or stands twice")
            if (node.op == "input") != (node is self.nodes[0]):
                raise ValueError(f"node {node.name!r}: the first node, and only it, is the input")
            unknown = [name for name in node.inputs if name not in seen]
            if unknown:
                raise ValueError(f"node {node.name!r} reads {unknown}, which no earlier node gives")
            _check_channels(node, [seen[name] for name in node.inputs], self.widths)
            seen[node.name] = node
        layers = sorted(node.unit_layer for node in self.nodes if node.unit_layer is not None)
        if layers != list(range(len(self.widths))):
            raise ValueError(f"{len(self.widths)} unit layers are declared, the nodes are layers {layers}")

    @property
    def output(self) -> Node:
        """The node that gives the logits."""
        return self.nodes[-1]


def _check_channels(node: Node, inputs: list[Node], widths: tuple[int, ...]) -> None:
    expected = node.channels
    if node.op in PER_CHANNEL and inputs:
        expected = inputs[0].channels
        if any(one.channels != expected for one in inputs):
            raise ValueError(
                f"node {node.name!r} adds {[one.channels for one in inputs]} channels; expected equal ones"
            )
    elif node.op == "flatten":
        expected = inputs[0].channels * int(node.attributes["repeat"])  # type: ignore[arg-type]
    if node.channels != expected:
        raise ValueError(f"node {node.name!r} has {node.channels} channels; its inputs make {expected}")
    if node.unit_layer is not None:
        if not 0 <= node.unit_layer < len(widths):
            raise ValueError(f"node {node.name!r}: there is no unit layer {node.unit_layer}")
        if widths[node.unit_layer] != node.channels:
            raise ValueError(
                f"node {node.name!r} has {node.channels} channels, its layer {widths[node.unit_layer]} units"
            )


def channel_graph(
    network: nn.Module, layers: UnitLayers, example_input: Tensor
) -> tuple[ChannelGraph, dict[str, Tensor]]:
    """The network's channel graph and its tensors, named ``node.tensor`` (the network's own: nothing is copied).

    Raises:
        ValueError: an operation that the allow-list does not know, by node and name.
    """
    graph = trace_with_shapes(network, example_input)
    layer_of = {layer.node: index for index, layer in enumerate(layers)}
    modules = dict(network.named_modules())
    nodes: list[Node] = []
    state: dict[str, Tensor] = {}
    logits = next(node.args[0] for node in graph.nodes if node.op == "output")
    if not isinstance(logits, fx.Node):
        raise ValueError(
            f"{type(network).__name__} returns {logits}; a network that returns its logits alone is needed"
        )
    called: dict[str, str] = {}
    for fx_node in graph.nodes:
        if fx_node.op == "output":
            break
        op, attributes = _describe(fx_node, modules)
        _refuse_in_place(fx_node, modules)
        channels = int(fx_node.meta["tensor_meta"].shape[1])
        inputs = tuple(one.name for one in fx_node.all_input_nodes)
        if op == "add" and len(inputs) == 1:
            inputs *= 2  # x + x
        if op == "flatten":
            attributes = {"repeat": channels // fx_node.all_input_nodes[0].meta["tensor_meta"].shape[1]}
        node = Node(fx_node.name, op, inputs, channels, attributes, layer_of.get(fx_node.name))
        nodes.append(node)
        if node.tensors() and called.setdefault(str(fx_node.target), node.name) != node.name:
            raise ValueError(
                f"node {node.name!r}: {fx_node.target!r} is called twice; cutting shared weights is not known"
            )
        for name in node.tensors():
            state[f"{node.name}.{name}"] = getattr(modules[str(fx_node.target)], name).detach()
        if fx_node is logits:
            break
    return ChannelGraph(tuple(nodes), tuple(layers.widths)), state


def _refuse_in_place(node: fx.Node, modules: dict[str, nn.Module]) -> None:
    """A cut network computes without side effects, so nobody else may read what a node overwrites."""
    in_place = bool(node.kwargs.get("inplace")) or node.target in IN_PLACE
    if node.op == "call_method":
        in_place = str(node.target).endswith("_")
    elif node.op == "call_module":
        in_place = bool(getattr(modules[str(node.target)], "inplace", False))
    if in_place and len(node.all_input_nodes[0].users) > 1:
        readers = [user.name for user in node.all_input_nodes[0].users if user is not node]
        raise ValueError(f"node {node.name!r} works in place on what {readers} read too; make it inplace=False")


def _describe(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[str, dict[str, Attribute]]:
    if node.op == "placeholder":
        return "input", {}
    found: tuple[str, dict[str, Attribute]] | None = None
    if node.op == "call_module":
        found = describe_module(modules[str(node.target)])
    elif node.target in RELU_FUNCTIONS or (node.op == "call_method" and node.target in RELU_METHODS):
        found = "relu", {}
    elif node.target in ADD_FUNCTIONS or (node.op == "call_method" and node.target in ADD_METHODS):
        shapes = [one.meta["tensor_meta"].shape if isinstance(one, fx.Node) else None for one in node.args]
        found = ("add", {}) if shapes == shapes[:1] * 2 and None not in shapes and not node.kwargs else None
    elif node.target is torch.flatten or (node.op == "call_method" and node.target == "flatten"):
        found = ("flatten", {}) if node.args[1:] == (1,) or node.kwargs == {"start_dim": 1} else None
    elif node.target is F.adaptive_avg_pool2d and node.args[1:] in ((1,), ((1, 1),)):
        found = "adaptive_avg_pool2d", {"output_size": [1, 1]}
    if found is None:
        what = modules[str(node.target)] if node.op == "call_module" else f"{node.target} with {node.args[1:]}"
        raise ValueError(
            f"node {node.name!r}: cutting does not know the operation {what}; the masked network still works"
        )
    return found


def held_channels(graph: ChannelGraph, keep: Sequence[Tensor], outputs_KC: Tensor) -> dict[str, Tensor]:
    """What every node has to hold under K masks at once: the images whole, a flattened channel with all its features.

    Args:
        graph: the network.
        keep: L boolean tensors of (K, N_l).
        outputs_KC: boolean, which logits each of the K networks gives.

    Returns:
        For each node a boolean (K, channels).
    """
    live = _live(graph, keep, outputs_KC)
    rows = outputs_KC.shape[0]
    needed = {node.name: outputs_KC.new_zeros(rows, node.channels) for node in graph.nodes}
    needed[graph.output.name] |= outputs_KC
    held: dict[str, Tensor] = {}
    for node in reversed(graph.nodes):
        held_K = live[node.name] & needed[node.name]
        if node.op == "input":
            held_K = live[node.name]
        elif node.op == "flatten":
            repeat = int(node.attributes["repeat"])  # type: ignore[arg-type]
            held_K = held_K.view(rows, -1, repeat).any(2).repeat_interleave(repeat, dim=1)
        held[node.name] = held_K
        for name in node.inputs:
            if node.op in MIXING:
                needed[name] |= held_K.any(1, keepdim=True)
            elif node.op == "flatten":
                needed[name] |= held_K.view(rows, -1, int(node.attributes["repeat"])).any(2)  # type: ignore[arg-type]
            else:
                needed[name] |= held_K
                if node.op == "batch_norm":  # of zeros alone it makes constants, and still needs something to read
                    alone_K = held_K.any(1, keepdim=True) & ~(held_K & live[name]).any(1, keepdim=True)
                    needed[name] |= alone_K & _first(live[name])
    return held


def _first(live_K: Tensor) -> Tensor:
    """The first live channel of each row alone."""
    return live_K & (live_K.cumsum(1) == 1)


def _live(graph: ChannelGraph, keep: Sequence[Tensor], outputs_KC: Tensor) -> dict[str, Tensor]:
    live: dict[str, Tensor] = {}
    for node in graph.nodes:
        if node.op in MIXING or node.op in ("input", "batch_norm"):  # batch norm turns a zero into a constant
            live_K = outputs_KC.new_ones(outputs_KC.shape[0], node.channels)
        elif node.op == "flatten":
            live_K = live[node.inputs[0]].repeat_interleave(int(node.attributes["repeat"]), dim=1)  # type: ignore[arg-type]
        else:
            live_K = torch.stack([live[name] for name in node.inputs]).any(0)
        live[node.name] = live_K if node.unit_layer is None else live_K & keep[node.unit_layer]
    return live


def count_shared_parameters(graph: ChannelGraph, held: dict[str, Tensor]) -> Tensor:
    """Trainable parameters that each pair of K networks both hold: (K, K), each one's own on the diagonal.

    In float64, exact below 2^53.
    """
    total = torch.zeros((), dtype=torch.float64)
    for node in graph.nodes:
        for name, axes in node.tensors().items():
            if name not in TRAINABLE:
                continue
            shared = _pairs(held[node.name])
            if axes == "oi":
                shared = shared * _pairs(held[node.inputs[0]]) * torch.Size(node.kernel()).numel()
            total = total + shared
    return total


def _pairs(held_K: Tensor) -> Tensor:
    held_KN = held_K.double()
    return held_KN @ held_KN.T
