"""How many parameters, operations and kernels networks hold, from what :mod:`moda_core.cutting.held` says of them.

Shapes: K networks side by side, G groups.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from moda_core.choosing import Masks, as_decomposition
from moda_core.cutting import Held, held_channels
from moda_core.graph import ATTENDING, MIXING, TRAINABLE, ChannelGraph, Node


def count_shared_parameters(graph: ChannelGraph, held: Held) -> Tensor:
    """Trainable parameters that each pair of K networks both hold: (K, K), each one's own on the diagonal.

    In float64, exact below 2^53.
    """
    return _count(graph, held, _weight_pairs, _pairs)


def count_parameters(graph: ChannelGraph, held: Held) -> Tensor:
    """Trainable parameters that each of K networks holds: (K,), the diagonal of :func:`count_shared_parameters`."""
    return _count(graph, held, _kernels, lambda held_K: held_K.double().sum(1))


def composed_sizes(graph: ChannelGraph, masks: Masks, subsets: Sequence[Sequence[int]]) -> Tensor:
    """Return the sizes of the modules of class subsets, as they are cut: parameters of each / full model, (S,)."""
    units = [as_decomposition(masks).merge(subset).keep for subset in subsets]
    outputs_SC = torch.zeros(len(subsets), graph.output.channels, dtype=torch.bool)
    for row, subset in enumerate(subsets):
        outputs_SC[row, list(subset)] = True
    held = held_channels(graph, [torch.stack(of_site).cpu() for of_site in zip(*units, strict=True)], outputs_SC)
    return count_parameters(graph, held) / count_all_parameters(graph)


def _count(
    graph: ChannelGraph,
    held: Held,
    kernels: Callable[[Node, Tensor, Tensor], Tensor],
    channels: Callable[[Tensor], Tensor],
) -> Tensor:
    """The numbers in all trainable tensors, by how many kernels and how many channels of a node are counted."""
    total = torch.zeros((), dtype=torch.float64)
    for name in graph.calls:
        node = graph.by_name[name]
        held_K, read_K = held.over_calls(graph, node)
        for tensor, axes in node.tensors().items():
            if tensor not in TRAINABLE:
                continue
            if axes in ("oi", "p"):
                total = total + kernels(node, held_K, read_K) * math.prod(node.kernel())
            else:
                total = total + channels(held_K) * (math.prod(node.size) if axes == "os" else 1)
    return total


def count_all_parameters(graph: ChannelGraph) -> int:
    """Parameters of all layers of the graph, whole."""
    total = 0
    for name in graph.calls:
        node = graph.by_name[name]
        for tensor, axes in node.tensors().items():
            if tensor in TRAINABLE:
                reads = graph.by_name[node.inputs[0]].channels // node.groups if axes in ("oi", "p") else 1
                pixels = math.prod(node.size) if axes == "os" else 1
                kernel = math.prod(node.kernel()) if axes in ("oi", "p") else 1
                total += node.channels * reads * kernel * pixels
    return total


def count_flops(graph: ChannelGraph, held: Held) -> Tensor:
    """Floating point operations of convolutions, linear layers and attention, for one image: (K,), a multiply-add is
    two.
    """
    total = torch.zeros((), dtype=torch.float64)
    for node in graph.nodes:
        if node.op in MIXING:
            weights_K = _kernels(node, held.channels[node.name], held.reads[node.name]) * math.prod(node.kernel())
            total = total + 2 * weights_K * math.prod(node.size)
        elif node.op in ATTENDING:
            query, key, value = (graph.by_name[name] for name in node.inputs[:3])
            share_K = held.channels[node.name].double().mean(1)  # of the heads, which are held whole
            channels_K = share_K * (query.channels + value.channels)
            total = total + 2 * channels_K * math.prod(query.size) * node.keys_of_token(math.prod(key.size))
    return total


def count_kernels(graph: ChannelGraph, held: Held) -> Tensor:
    """Output channels of all convolutions but the first: (K,)."""
    convolutions = [node for node in graph.nodes if node.op == "conv2d" and node.shares is None]
    every = [held.over_calls(graph, node)[0] for node in convolutions[1:]]
    rows = len(held.channels[graph.output.name])
    return torch.stack([keep.sum(1).double() for keep in every]).sum(0) if every else torch.ones(rows).double()


def count_linear_weights(graph: ChannelGraph, held: Held) -> Tensor:
    """Weights of all linear layers, without biases: (K,); 1 where there is no linear layer."""
    layers = [node for node in graph.nodes if node.op == "linear" and node.shares is None]
    weights = [_kernels(node, *held.over_calls(graph, node)) for node in layers]
    rows = len(held.channels[graph.output.name])
    return torch.stack(weights).sum(0) if weights else torch.ones(rows).double()


def _kernels(node: Node, held_K: Tensor, read_K: Tensor) -> Tensor:
    """Kernels that each network holds: in each group, its outputs times its inputs."""
    held_KG, read_KG = (part.view(len(part), node.groups, -1).double().sum(2) for part in (held_K, read_K))
    return (held_KG * read_KG).sum(1)


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
