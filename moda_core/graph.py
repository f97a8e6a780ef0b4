"""How unit masks run through a network: which channels each operation still has to hold.

Under a mask a channel is *zero* (a dropped unit), *constant* (what batch norm makes of a dropped unit: the same number
for every image and pixel) or *varying*. Zeros and constants need not be computed: who reads them is given the number,
or has it folded into its bias. What a node holds is what varies and is read by somebody.

Shapes: K masks side by side (one a class, or just one), ch channels of a node, G groups, N_l units of layer l.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from moda_core.operations import BROADCASTING, MIXING, NORMALISING, TRAINABLE, Node

LARGEST_CHANNELS = 2**24  # of all nodes together: what is allocated to follow masks through a graph
LARGEST_IMAGE = 2**28  # channels x pixels of a node
RESIZING = frozenset({"input", "conv2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "reshape", "flatten"})
INDEXED = frozenset({"select", "flatten", "concat"})  # gathering nodes that do not read channel k for channel k


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
            _check_channels(node, [seen[name] for name in node.inputs])
            _check_size(node, [seen[name] for name in node.inputs])
            _check_unit_layer(node, self.widths)
            if node.shares is not None:
                _check_shared(node, seen)
            seen[node.name] = node
        layers = sorted(node.unit_layer for node in self.nodes if node.unit_layer is not None)
        if layers != list(range(len(self.widths))):
            raise ValueError(f"{len(self.widths)} unit layers are declared, the nodes are layers {layers}")

    @property
    def output(self) -> Node:
        """The node that gives the logits."""
        return self.nodes[-1]

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """The nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def calls(self) -> dict[str, list[Node]]:
        """The nodes that use a node's tensors, itself first, by its name."""
        calls: dict[str, list[Node]] = {node.name: [node] for node in self.nodes if node.shares is None}
        for node in self.nodes:
            if node.shares is not None:
                calls[node.shares].append(node)
        return calls


def _check_channels(node: Node, inputs: list[Node]) -> None:
    have = [one.channels for one in inputs]
    expected = node.channels
    if node.op == "conv2d":
        if have[0] % node.groups:
            raise ValueError(f"node {node.name!r}: {have[0]} input channels do not split into {node.groups} groups")
    elif node.op == "concat":
        expected = sum(have)
    elif node.op == "flatten":
        expected = have[0] * math.prod(inputs[0].size)
    elif node.op == "select":
        index: list[int] = node.attributes["index"]  # type: ignore[assignment]
        expected = len(index)
        if max(index) >= have[0]:
            raise ValueError(f"node {node.name!r} selects channel {max(index)} of {have[0]}")
    elif node.op not in ("input", "linear"):
        expected = have[0]
        if any(one != expected for one in have):
            raise ValueError(f"node {node.name!r}: {node.op} of {have} channels; expected equal ones")
    if node.channels != expected:
        raise ValueError(f"node {node.name!r} has {node.channels} channels; its inputs make {expected}")


def _check_size(node: Node, inputs: list[Node]) -> None:
    sizes = [one.size for one in inputs]
    right = node.channels * math.prod(node.size) <= LARGEST_IMAGE
    if node.op == "linear":
        right = right and (*sizes, node.size) == ((), ())
    elif node.op == "flatten":
        right = right and node.size == ()
    elif node.op == "reshape":
        right = right and math.prod(node.size) == math.prod(sizes[0])
    elif node.op in BROADCASTING:
        right = right and len({len(size) for size in sizes}) == 1
        right = right and node.size == tuple(max(sides) for sides in zip(*sizes, strict=True))
        right = right and all(have in (1, side) for size in sizes for have, side in zip(size, node.size, strict=True))
    elif node.op not in RESIZING:
        right = right and all(size == node.size for size in sizes)
    if not right:
        raise ValueError(f"node {node.name!r}: {node.op} of sizes {sizes} does not make {node.channels} x {node.size}")


def _check_unit_layer(node: Node, widths: tuple[int, ...]) -> None:
    if node.unit_layer is None:
        return
    if not 0 <= node.unit_layer < len(widths):
        raise ValueError(f"node {node.name!r}: there is no unit layer {node.unit_layer}")
    if widths[node.unit_layer] != node.channels:
        raise ValueError(f"node {node.name!r} has {node.channels} channels, its layer {widths[node.unit_layer]} units")


def _check_shared(node: Node, seen: Mapping[str, Node]) -> None:
    first = seen.get(str(node.shares))
    if first is None or first.shares is not None or not first.tensors():
        raise ValueError(f"node {node.name!r} shares the tensors of {node.shares!r}, which has none of its own")
    same = (first.op, first.channels, dict(first.attributes)) == (node.op, node.channels, dict(node.attributes))
    same = same and seen[first.inputs[0]].channels == seen[node.inputs[0]].channels
    if not same or (node.op == "layer_norm" and first.size != node.size):
        raise ValueError(f"node {node.name!r} shares the tensors of {node.shares!r}, which is another operation")


@dataclass(frozen=True)
class Held:
    """What a network holds of every node, for K masks (K, ch) or for one of them (ch,).

    Attributes:
        channels: node name -> which of its output channels.
        reads: name of a mixing node -> which input channels its weights are held for.
        constant: node name -> which output channels are a constant other than zero, whether read or not.
    """

    channels: Mapping[str, Tensor]
    reads: Mapping[str, Tensor]
    constant: Mapping[str, Tensor]

    def row(self, index: int) -> "Held":
        """What is held under one of the K masks."""
        parts = (self.channels, self.reads, self.constant)
        return Held(*({name: rows[index] for name, rows in part.items()} for part in parts))


def held_channels(graph: ChannelGraph, keep: Sequence[Tensor], outputs_KC: Tensor, *, fold: bool = True) -> Held:
    """What every node has to hold under K masks at once: the images whole, a flattened channel with all its features.

    Args:
        graph: the network.
        keep: L boolean tensors of (K, N_l).
        outputs_KC: boolean, which logits each of the K networks gives.
        fold: False to hold the constant channels too: what any network with fewer units is cut from.
    """
    live, varying = _states(graph, keep, outputs_KC)
    if not fold:
        varying = live
    again = {name: calls for name, calls in graph.calls.items() if len(calls) > 1}
    shared: dict[str, tuple[Tensor, Tensor]] = {}
    while True:
        held = _backward(graph, live, varying, outputs_KC, shared, again)
        grown = {
            name: (
                torch.stack([held.channels[node.name] for node in calls]).any(0),
                torch.stack([held.reads.get(node.name, outputs_KC) for node in calls]).any(0),
            )
            for name, calls in again.items()
        }
        if all(name in shared and _equal(grown[name], shared[name]) for name in grown):
            return held
        shared = grown


def _equal(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _states(
    graph: ChannelGraph, keep: Sequence[Tensor], outputs_KC: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of every node, the channels that are not known to be zero, and of these the ones that are not constant."""
    live: dict[str, Tensor] = {}
    varying: dict[str, Tensor] = {}
    for node in graph.nodes:
        every_K = outputs_KC.new_ones(outputs_KC.shape[0], node.channels)
        if node.op == "input" or (node.op == "layer_norm" and node.attributes["affine"]):
            live_K = varying_K = every_K
        elif node.op in MIXING or node.op in NORMALISING:
            live_K = of_group(node, live[node.inputs[0]])
            padded = node.padded or node.op in NORMALISING
            varying_K = live_K if padded else of_group(node, varying[node.inputs[0]])
            if "bias" in node.tensors():
                live_K = every_K
        else:
            live_K = _gathered(graph, node, live, every_K)
            varying_K = _gathered(graph, node, varying, every_K)
            if node.op == "mul":
                live_K = live[node.inputs[0]] & live[node.inputs[1]]
                varying_K = varying_K & live_K
            if node.padded:
                varying_K = live_K
            if node.makes_constants:
                live_K = every_K
        if node.unit_layer is not None:
            live_K, varying_K = live_K & keep[node.unit_layer], varying_K & keep[node.unit_layer]
        live[node.name], varying[node.name] = live_K, varying_K
    return live, varying


def _gathered(graph: ChannelGraph, node: Node, states: Mapping[str, Tensor], every_K: Tensor) -> Tensor:
    """Which output channels of a gathering node read a channel that is marked in any of its inputs."""
    if node.op not in INDEXED:
        return torch.stack([states[name] for name in node.inputs]).any(0)
    marked_K = torch.zeros_like(every_K)
    sources = node.gathers([graph.by_name[name].channels for name in node.inputs])
    for name, source in zip(node.inputs, sources, strict=True):
        marked_K |= states[name][:, source.clamp(min=0)] & (source >= 0)
    return marked_K


def of_group(node: Node, marked_K: Tensor) -> Tensor:
    """(K, output channels) of a mixing or normalising node: whether any input channel of its group is marked."""
    return _any_of_group(node, marked_K).repeat_interleave(node.channels // _groups(node), dim=1)


def _groups(node: Node) -> int:
    return node.groups if node.op != "layer_norm" else 1


def _any_of_group(node: Node, marked_K: Tensor) -> Tensor:
    return marked_K.view(len(marked_K), _groups(node), -1).any(2)


def _backward(
    graph: ChannelGraph,
    live: Mapping[str, Tensor],
    varying: Mapping[str, Tensor],
    outputs_KC: Tensor,
    shared: Mapping[str, tuple[Tensor, Tensor]],
    again: Mapping[str, list[Node]],
) -> Held:
    """From the logits back: what somebody reads. A layer that is called again holds the same in each call."""
    needed = {node.name: outputs_KC.new_zeros(len(outputs_KC), node.channels) for node in graph.nodes}
    needed[graph.output.name] |= outputs_KC
    channels: dict[str, Tensor] = {}
    reads: dict[str, Tensor] = {}
    for node in reversed(graph.nodes):
        root = node.shares or node.name
        held_K = varying[node.name] & needed[node.name]
        if node.op == "input":
            held_K = varying[node.name]
        if root in shared:
            held_K = held_K | (shared[root][0] & held_K.any(1, keepdim=True))
        if node.op == "flatten":
            features = node.channels // graph.by_name[node.inputs[0]].channels
            held_K = held_K.view(len(held_K), -1, features).any(2).repeat_interleave(features, dim=1)
        elif node.op in NORMALISING:
            held_K = of_group(node, held_K)
        channels[node.name] = held_K
        if node.op in MIXING:
            source = node.inputs[0]
            # A layer that is called again has one bias for all calls, so nothing is folded into it.
            read_K = live[source] if node.padded or root in again else varying[source]
            width = graph.by_name[source].channels // node.groups
            read_K = read_K & _any_of_group(node, held_K).repeat_interleave(width, dim=1)
            if root in shared:
                read_K = read_K | (shared[root][1] & held_K.any(1, keepdim=True))
            reads[node.name] = read_K
            needed[source] |= read_K
        else:
            _need(graph, node, held_K, needed)
    return Held(channels, reads, {name: live[name] & ~varying[name] for name in live})


def _need(graph: ChannelGraph, node: Node, held_K: Tensor, needed: dict[str, Tensor]) -> None:
    if node.op not in INDEXED:
        for name in node.inputs:
            needed[name] |= held_K
        return
    sources = node.gathers([graph.by_name[name].channels for name in node.inputs])
    for name, source in zip(node.inputs, sources, strict=True):
        own = source >= 0
        counts = torch.zeros(needed[name].shape, dtype=torch.int32).index_add_(1, source[own], held_K[:, own].int())
        needed[name] |= counts > 0


def count_shared_parameters(graph: ChannelGraph, held: Held) -> Tensor:
    """Trainable parameters that each pair of K networks both hold: (K, K), each one's own on the diagonal.

    In float64, exact below 2^53.
    """
    total = torch.zeros((), dtype=torch.float64)
    for name, calls in graph.calls.items():
        node = graph.by_name[name]
        for tensor, axes in node.tensors().items():
            if tensor not in TRAINABLE:
                continue
            held_K = torch.stack([held.channels[call.name] for call in calls]).any(0)
            if axes in ("oi", "p"):
                read_K = torch.stack([held.reads[call.name] for call in calls]).any(0)
                shared = _weight_pairs(node, held_K, read_K) * math.prod(node.kernel())
            else:
                shared = _pairs(held_K) * (math.prod(node.size) if axes == "os" else 1)
            total = total + shared
    return total


def count_flops(graph: ChannelGraph, held: Held) -> Tensor:
    """Floating point operations of the convolutions and linear layers, for one image: (K,), a multiply-add is two."""
    total = torch.zeros((), dtype=torch.float64)
    for node in graph.nodes:
        if node.op in MIXING:
            held_KG = held.channels[node.name].view(-1, node.groups, node.channels // node.groups).sum(2)
            reads = held.reads[node.name]
            read_KG = reads.view(len(reads), node.groups, -1).sum(2)
            weights_K = (held_KG.double() * read_KG.double()).sum(1) * math.prod(node.kernel())
            total = total + 2 * weights_K * math.prod(node.size)
    return total


def count_kernels(graph: ChannelGraph, held: Held) -> Tensor:
    """Output channels of all convolutions but the first: (K,)."""
    convolutions = [node.name for node in graph.nodes if node.op == "conv2d" and node.shares is None]
    every = [torch.stack([held.channels[call.name] for call in graph.calls[name]]).any(0) for name in convolutions[1:]]
    rows = len(held.channels[graph.output.name])
    return torch.stack([one.sum(1).double() for one in every]).sum(0) if every else torch.ones(rows).double()


def _weight_pairs(node: Node, held_K: Tensor, read_K: Tensor) -> Tensor:
    """Kernels that two networks both hold: in each group, shared outputs times shared inputs."""
    if node.groups == 1:
        return _pairs(held_K) * _pairs(read_K)
    inputs = read_K.shape[1] // node.groups
    if inputs == 1:  # depthwise: an output has one kernel, there when its input is read
        return _pairs(held_K & read_K.repeat_interleave(node.channels // node.groups, dim=1))
    held_GK, read_GK = (part.view(len(part), node.groups, -1).transpose(0, 1).double() for part in (held_K, read_K))
    return ((held_GK @ held_GK.mT) * (read_GK @ read_GK.mT)).sum(0)


def _pairs(held_K: Tensor) -> Tensor:
    held_KN = held_K.double()
    return held_KN @ held_KN.T
