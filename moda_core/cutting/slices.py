"""The tensors of a network of which only some channels are held: their shapes, and slices of them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from moda_core.cutting.held import Held
from moda_core.graph import ChannelGraph, Node


def slice_state(
    graph: ChannelGraph, state: Mapping[str, Tensor], want: Held, have: Held | None = None
) -> dict[str, Tensor]:
    """Slice the tensors of a ``state`` that holds what ``have`` describes (None: everything) to what ``want`` holds
    over all calls of a layer.
    """
    return {
        f"{name}.{tensor}": tensor_of(graph, state, graph.by_name[name], tensor, want, have).contiguous()
        for name in graph.calls
        for tensor in graph.by_name[name].tensors()
    }


def tensor_of(
    graph: ChannelGraph, state: Mapping[str, Tensor], node: Node, name: str, want: Held, have: Held | None
) -> Tensor:
    """A tensor of ``node`` as ``want`` holds it over all calls, from a state that holds what ``have`` does."""
    tensor, axes = state[f"{node.name}.{name}"], node.tensors()[name]
    (held, reads), (have_held, have_reads) = held_by(graph, node, want), held_by(graph, node, have)
    if axes == "p":
        chosen = kernels_of(node, held, reads)
        stored = chosen[kernels_of(node, have_held, have_reads)] if have is not None else chosen
        return tensor[stored.to(tensor.device)]
    tensor = tensor[_positions(held, have_held).to(tensor.device)]
    return tensor[:, _positions(reads, have_reads).to(tensor.device)] if axes == "oi" else tensor


def stored_shape(graph: ChannelGraph, node: Node, name: str, have: Held) -> tuple[int, ...]:
    """Return the shape that a tensor of ``node`` has in a state that holds what ``have`` describes."""
    held, reads = held_by(graph, node, have)
    match node.tensors()[name]:
        case "oi":
            return int(held.sum()), int(reads.sum()), *node.kernel()
        case "p":
            per_group = held.view(node.groups, -1).sum(1) * reads.view(node.groups, -1).sum(1)
            return int(per_group.sum()), *node.kernel()
        case "os":
            return int(held.sum()), *node.size
        case _:
            return (int(held.sum()),)


def held_by(graph: ChannelGraph, node: Node, held: Held | None) -> tuple[Tensor, Tensor]:
    """Output channels and read input channels of a node over all its calls; all of them if ``held`` is None."""
    if held is not None:
        return held.over_calls(graph, node)
    inputs = graph.by_name[node.inputs[0]].channels if node.inputs else 0
    return torch.ones(node.channels, dtype=torch.bool), torch.ones(inputs, dtype=torch.bool)


def kernels_of(node: Node, held: Tensor, reads: Tensor) -> Tensor:
    """Of a grouped convolution: which (output, input of its group) are held."""
    read_GI = reads.view(node.groups, -1)
    return held[:, None] & read_GI.repeat_interleave(node.channels // node.groups, dim=0)


def _positions(want: Tensor, have: Tensor) -> Tensor:
    """Where the wanted channels stand among those there are."""
    assert not (want & ~have).any()
    return want[have].nonzero().flatten()
