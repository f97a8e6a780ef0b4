"""Sizes and overlaps of modules, by the exact definitions of docs/method.md.

Everything follows from the masks and the layer shapes; no network is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moda_core.graph import ChannelGraph, count_shared_parameters, held_channels
from moda_core.tracing import channel_graph
from moda_core.units import UnitLayers


@dataclass(frozen=True)
class ModuleMetrics:
    """Metrics of all one-class modules of a network.

    Attributes:
        module_size: mean over classes of parameters(module) / parameters(full model) (weight retention).
        module_overlap: mean over class pairs of the parameters both keep / parameters(full model); 0 for one class.
        overlap_jaccard: the same, over the parameters that either keeps.
        sizes_C: each class's parameters(module) / parameters(full model).
        parameters: trainable parameters of the full model.
    """

    module_size: float
    module_overlap: float
    overlap_jaccard: float
    sizes_C: Tensor
    parameters: int


def module_metrics(
    network: nn.Module, layers: UnitLayers, masks: Sequence[Tensor], example_input: Tensor
) -> ModuleMetrics:
    """Size and overlap of the one-class modules that ``masks`` (L boolean (C, N_l)) cut out of ``network``."""
    graph, _ = channel_graph(network, layers, example_input)
    return sizes_and_overlaps(graph, masks)


def sizes_and_overlaps(graph: ChannelGraph, masks: Sequence[Tensor]) -> ModuleMetrics:
    """As :func:`module_metrics`, from a channel graph made before."""
    classes = graph.output.channels
    shared_CC = count_shared_parameters(graph, held_channels(graph, masks, torch.eye(classes, dtype=torch.bool)))
    everything = [torch.ones(1, width, dtype=torch.bool) for width in graph.widths]
    whole = held_channels(graph, everything, torch.ones(1, classes, dtype=torch.bool))
    full = float(count_shared_parameters(graph, whole)[0, 0])
    size_C = shared_CC.diagonal()
    first, second = torch.triu_indices(classes, classes, offset=1)
    both = shared_CC[first, second]
    either = size_C[first] + size_C[second] - both
    return ModuleMetrics(
        module_size=float(size_C.mean() / full),
        module_overlap=float(both.mean() / full) if classes > 1 else 0.0,
        overlap_jaccard=float((both / either.clamp(min=1)).mean()) if classes > 1 else 0.0,
        sizes_C=size_C / full,
        parameters=int(full),
    )
