"""The L1 norms of the filters that make units, from the weights alone.

Shapes: N_l units of layer l, ch channels of a node.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from moda_core.graph import ATTENDING, INDEXED, MIXING, ChannelGraph


def filter_norms(graph: ChannelGraph, state: Mapping[str, Tensor]) -> list[Tensor]:
    """Return for each unit the L1 norm of its filter, divided by the mean of its layer: L float64 tensors of (N_l,).

    A unit's filter is the row of the convolution or linear layer whose output it is, without the bias; that of a head
    are its rows of queries, keys and values. Where residual branches are added the norms of all filters that reach it
    without passing another such layer are added too. Units that no filter reaches have norm 1.

    Args:
        graph: the channel graph.
        state: its whole tensors.
    """
    norms: dict[str, Tensor] = {}
    of_layers = [torch.ones(width, dtype=torch.float64) for width in graph.widths]
    for node in graph.nodes:
        norm_N = torch.zeros(node.channels, dtype=torch.float64)
        if node.op in MIXING:
            weight = state[f"{node.shares or node.name}.weight"].detach()
            norm_N = weight.double().abs().flatten(1).sum(1).cpu()
        elif node.op in INDEXED:
            sources = node.gathers([graph.by_name[name].channels for name in node.inputs])
            for name, source in zip(node.inputs, sources, strict=True):
                norm_N = torch.where(source >= 0, norms[name][source.clamp(min=0)], norm_N)
        elif node.op in ATTENDING:
            for name in node.inputs[:3]:
                of_heads = norms[name].view(node.groups, -1).sum(1)
                norm_N = norm_N + node.spread(of_heads / (node.channels // node.groups))
        else:
            for name in node.inputs:
                norm_N = norm_N + norms[name]
        norms[node.name] = norm_N
        if node.unit_layer is not None and bool(norm_N.any()):
            of_units = norm_N.view(graph.widths[node.unit_layer], -1).sum(1)
            of_layers[node.unit_layer] = of_units / of_units.mean()
    return of_layers
