"""How unit masks run through a network: which channels each operation still has to hold.

Under a mask a channel is *zero* (a dropped unit), *constant* (what batch norm makes of a dropped unit: the same number
for every image and pixel) or *varying*. Zeros and constants need not be computed: who reads them is given the number,
or has it folded into its bias. What a node holds is what varies and is read by somebody.

Shapes: K masks side by side (one a class, or just one), ch channels of a node, G groups, N_l units of layer l.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moda_core.errors import GraphError
from moda_core.graph import ATTENDING, INDEXED, MIXING, NORMALISING, ChannelGraph, Node

LAYER_NORMS = ("layer_norm", "channel_norm")
# Passes over a graph with layers that are called again: one or two more than calls in a row are needed. What all of
# them together look at is limited too, to what takes a second or two.
LARGEST_PASSES = 100
LARGEST_VISITED_NODES = 20_000
LARGEST_VISITED_CHANNELS = 2**27


@dataclass(frozen=True)
class Held:
    """The channels that a network holds of every node, for K masks (K, ch) or for one of them (ch,).

    Attributes:
        channels: node name -> which of its output channels.
        reads: name of a mixing node -> which input channels its weights are held for.
        constant: node name -> which output channels are a constant other than zero, whether read or not.
    """

    channels: Mapping[str, Tensor]
    reads: Mapping[str, Tensor]
    constant: Mapping[str, Tensor]

    def over_calls(self, graph: ChannelGraph, node: Node) -> tuple[Tensor, Tensor]:
        """Output channels of a node with tensors of its own, and input channels it reads, over all that use them."""
        calls = graph.calls[node.name]
        outputs = torch.stack([self.channels[call.name] for call in calls]).any(0)
        if node.op not in MIXING:
            return outputs, outputs
        return outputs, torch.stack([self.reads[call.name] for call in calls]).any(0)

    def row(self, index: int) -> "Held":
        """What is held under one of the K masks."""
        parts = (self.channels, self.reads, self.constant)
        return Held(*({name: rows[index] for name, rows in part.items()} for part in parts))


def held_channels(graph: ChannelGraph, keep: Sequence[Tensor], outputs_KC: Tensor, *, fold: bool = True) -> Held:
    """Return the channels that every node must hold under K masks at once: images whole, a flattened channel with all
    its features.

    Args:
        graph: the network.
        keep: L boolean tensors of (K, N_l).
        outputs_KC: boolean, which logits each of the K networks gives.
        fold: False to hold the constant channels too: what any network with fewer units is cut from.
    """
    live, varying = _states(graph, keep, outputs_KC)
    return _settled(graph, live, varying if fold else live, outputs_KC, by_masks=False)


def masked_channels(graph: ChannelGraph, keep: Sequence[Tensor], outputs_KC: Tensor) -> Held:
    """Return the channels that masks alone leave of every node, as MODA's published code counts them.

    A layer's weights are cut to its own mask and its input's, whatever is constant or zero there. A depthwise
    convolution keeps the channels of its own mask; the layer before it keeps those of both masks, or the first one of
    the depthwise convolution's where they share none.

    Arguments are those of :func:`held_channels`.
    """
    marked = _marked(graph, keep, outputs_KC)
    return _settled(graph, marked, marked, outputs_KC, by_masks=True)


def _settled(
    graph: ChannelGraph,
    live: Mapping[str, Tensor],
    varying: Mapping[str, Tensor],
    outputs_KC: Tensor,
    *,
    by_masks: bool,
) -> Held:
    """What is held where layers that are called again hold the same in every call."""
    again = {name: calls for name, calls in graph.calls.items() if len(calls) > 1}
    shared: dict[str, tuple[Tensor, Tensor]] = {}
    channels = sum(node.channels for node in graph.nodes)
    passes = min(LARGEST_PASSES, LARGEST_VISITED_NODES // len(graph.nodes), LARGEST_VISITED_CHANNELS // channels)
    for _ in range(max(passes, 2)):
        held = _backward(graph, live, varying, outputs_KC, shared, again, by_masks)
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
    raise GraphError(f"what the layers that are called again hold does not settle in {passes} passes; use fewer calls")


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
        if node.op in ("input", "embedding") or (node.op in LAYER_NORMS and node.attributes["affine"]):
            live_K = varying_K = every_K
        elif node.op in ATTENDING:  # its weights of a head add up to 1
            live_K, varying_K = live[node.inputs[2]], varying[node.inputs[2]]
        elif node.op in MIXING or node.op in NORMALISING:
            live_K = of_group(node, live[node.inputs[0]])
            padded = node.padded or node.op in NORMALISING
            varying_K = live_K if padded else of_group(node, varying[node.inputs[0]])
            if "bias" in node.tensors():
                live_K = every_K
        else:
            live_K = _gathered(graph, node, live, every_K)
            varying_K = _gathered(graph, node, varying, every_K)
            if node.attributes.get("factor") == 0:  # a padding by channels
                varying_K = torch.zeros_like(every_K)
            if node.op == "mul":
                live_K = live[node.inputs[0]] & live[node.inputs[1]]
                varying_K = varying_K & live_K
            if node.padded or node.op == "concat_tokens":  # parts of a channel may be other constants
                varying_K = live_K
            if node.makes_constants:
                live_K = every_K
            elif node.attributes.get("factor") == 0:
                live_K = torch.zeros_like(every_K)
        if node.unit_layer is not None:
            keep_K = node.spread(keep[node.unit_layer])
            live_K, varying_K = live_K & keep_K, varying_K & keep_K
        live[node.name], varying[node.name] = live_K, varying_K
    return live, varying


def _marked(graph: ChannelGraph, keep: Sequence[Tensor], outputs_KC: Tensor) -> dict[str, Tensor]:
    """Of every node, the channels that no mask drops: layers that mix channels have all of theirs."""
    marked: dict[str, Tensor] = {}
    for node in graph.nodes:
        marked_K = outputs_KC.new_ones(outputs_KC.shape[0], node.channels)
        if node.attributes.get("factor") == 0:  # a padding by channels
            marked_K = torch.zeros_like(marked_K)
        elif node.op == "mul":
            marked_K = marked[node.inputs[0]] & marked[node.inputs[1]]
        elif node.op in ATTENDING:
            marked_K = marked[node.inputs[2]]
        elif node.inputs and node.op not in MIXING and node.op not in NORMALISING:
            marked_K = _gathered(graph, node, marked, marked_K)
        if node.unit_layer is not None:
            marked_K = marked_K & node.spread(keep[node.unit_layer])
        marked[node.name] = marked_K
    return marked


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
    """(K, output channels) of a node with groups: whether any channel of its group is marked."""
    return _any_of_group(node, marked_K).repeat_interleave(node.channels // node.groups, dim=1)


def _any_of_group(node: Node, marked_K: Tensor) -> Tensor:
    return marked_K.view(len(marked_K), node.groups, -1).any(2)


def _backward(
    graph: ChannelGraph,
    live: Mapping[str, Tensor],
    varying: Mapping[str, Tensor],
    outputs_KC: Tensor,
    shared: Mapping[str, tuple[Tensor, Tensor]],
    again: Mapping[str, list[Node]],
    by_masks: bool,
) -> Held:
    """From the logits back: what somebody reads. A layer that is called again holds the same in each call."""
    varying = dict(varying)
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
        elif node.op in NORMALISING or node.op in ATTENDING:
            held_K = of_group(node, held_K)
        channels[node.name] = held_K
        if node.op in MIXING:
            source = node.inputs[0]
            # A layer that is called again has one bias for all calls, so nothing is folded into it.
            read_K = live[source] if node.padded or root in again else varying[source]
            width = graph.by_name[source].channels // node.groups
            wanted_K = _any_of_group(node, held_K).repeat_interleave(width, dim=1)
            if by_masks and width == 1 < node.groups:  # depthwise: its weights are cut to its own mask alone
                _leave_one(graph, graph.by_name[source], wanted_K, varying)
                read_K = wanted_K
            read_K = read_K & wanted_K
            if root in shared:
                read_K = read_K | (shared[root][1] & held_K.any(1, keepdim=True))
            reads[node.name] = read_K
            needed[source] |= read_K
        else:
            _need(graph, node, held_K, needed, live)
    return Held(channels, reads, {name: live[name] & ~varying[name] for name in live})


def _leave_one(graph: ChannelGraph, source: Node, wanted_K: Tensor, marked: dict[str, Tensor]) -> None:
    """Mark the first wanted channel of a node, and of those it comes from, where it has none of the wanted ones."""
    is_empty_K = ~(marked[source.name] & wanted_K).any(1, keepdim=True)
    first_K = wanted_K & (wanted_K.cumsum(1) == 1) & is_empty_K
    while source.op not in (*MIXING, *NORMALISING, *INDEXED, "input") and len(source.inputs) == 1:
        marked[source.name] = marked[source.name] | first_K
        source = graph.by_name[source.inputs[0]]


def _need(
    graph: ChannelGraph, node: Node, held_K: Tensor, needed: dict[str, Tensor], live: Mapping[str, Tensor]
) -> None:
    if node.op in ATTENDING:
        heads_K = _any_of_group(node, held_K)
        query, key, *others = node.inputs
        factors = [live[key], live[query], *[None] * len(others)]  # queries and keys are only multiplied by each other
        for name, factor_K in zip(node.inputs, factors, strict=True):
            width = graph.by_name[name].channels // node.groups
            of_heads_K = heads_K.repeat_interleave(width, dim=1)
            needed[name] |= of_heads_K if factor_K is None else of_heads_K & factor_K
        return
    if node.op not in INDEXED:
        for name in node.inputs:
            needed[name] |= held_K
        return
    sources = node.gathers([graph.by_name[name].channels for name in node.inputs])
    for name, source in zip(node.inputs, sources, strict=True):
        own = source >= 0
        counts = torch.zeros(needed[name].shape, dtype=torch.int32).index_add_(1, source[own], held_K[:, own].int())
        needed[name] |= counts > 0
