"""Sizes, overlaps, coupling and cohesion of modules, by the exact definitions of docs/method.md.

All but cohesion follow from the masks and the layer shapes; no network is built.

Shapes: C classes, N units of all layers together, S samples of one class.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moda_core.choosing import Frequencies, Masks, active_units, as_decomposition
from moda_core.cutting import held_channels, masked_channels
from moda_core.graph import ChannelGraph, channel_graph
from moda_core.measuring.sizes import (
    count_all_parameters,
    count_flops,
    count_kernels,
    count_linear_weights,
    count_shared_parameters,
)
from moda_core.modes import evaluating
from moda_core.units import UnitLayers, watch_units


@dataclass(frozen=True)
class ModuleMetrics:
    """Metrics of all one-class modules of a network.

    Attributes:
        module_size: mean over classes of parameters(module) / parameters(full model) (weight retention), counted from
            the masks alone as the published code does (docs/method.md, "Sizes").
        module_overlap: mean over class pairs of the parameters both keep / parameters(full model), counted likewise; 0
            for one class.
        cut_size: as ``module_size``, of the network that is really cut out: what is constant there is not stored.
        cut_overlap: as ``module_overlap``, of the networks that are really cut out.
        overlap_jaccard: the same, over the parameters that either keeps.
        kernel_retention: mean over classes of kept convolution kernels (output channels) / all; the first convolution
            is left out on both sides; 1 if there is no other.
        linear_retention: mean over classes of kept weights of linear layers / all, biases left out; 1 without any.
        flops: mean over classes of floating point operations of one image, module / full model: those of convolutions
            and linear layers.
        coupling: mean over class pairs of the Jaccard index of their masks; 0 for one class.
        sizes_C: each class's ``cut_size``.
        parameters: parameters of the full model: of every layer that its forward calls.
    """

    module_size: float
    module_overlap: float
    cut_size: float
    cut_overlap: float
    overlap_jaccard: float
    kernel_retention: float
    linear_retention: float
    flops: float
    coupling: float
    sizes_C: Tensor
    parameters: int


def module_metrics(network: nn.Module, layers: UnitLayers, masks: Masks, example_input: Tensor) -> ModuleMetrics:
    """Measure size and overlap of the one-class modules that ``masks`` (L boolean (C, N_l)) cut out of ``network``.

    Scales and bias of a decomposition change no size.
    """
    graph, _ = channel_graph(network, layers, example_input)
    return sizes_and_overlaps(graph, masks)


def sizes_and_overlaps(graph: ChannelGraph, masks: Masks) -> ModuleMetrics:
    """Measure as :func:`module_metrics` does, from a channel graph that was made before."""
    keep = as_decomposition(masks).keep
    classes = graph.output.channels
    each_class = torch.eye(classes, dtype=torch.bool)
    held = held_channels(graph, keep, each_class)
    everything = [torch.ones(1, width, dtype=torch.bool) for width in graph.widths]
    whole = held_channels(graph, everything, torch.ones(1, classes, dtype=torch.bool))
    full = count_all_parameters(graph)
    shared_CC = count_shared_parameters(graph, held)
    overlap_CC, jaccard_CC = shared_CC / full, _jaccard(shared_CC)
    counted_CC = count_shared_parameters(graph, masked_channels(graph, keep, each_class)) / full
    mask_CN = torch.cat(list(keep), dim=1).double()
    return ModuleMetrics(
        module_size=float(counted_CC.diagonal().mean()),
        module_overlap=_mean_of_pairs(counted_CC),
        cut_size=float(overlap_CC.diagonal().mean()),
        cut_overlap=_mean_of_pairs(overlap_CC),
        overlap_jaccard=_mean_of_pairs(jaccard_CC),
        kernel_retention=float((count_kernels(graph, held) / count_kernels(graph, whole).clamp(min=1)).mean()),
        linear_retention=float((count_linear_weights(graph, held) / count_linear_weights(graph, whole)).mean()),
        flops=float((count_flops(graph, held) / count_flops(graph, whole)).mean()),
        coupling=_mean_of_pairs(_jaccard(mask_CN @ mask_CN.T)),
        sizes_C=overlap_CC.diagonal(),
        parameters=full,
    )


def cohesion(
    network: nn.Module,
    layers: UnitLayers,
    masks: Masks,
    batches: Iterable[tuple[Tensor, Tensor]],
    frequencies: Frequencies,
    *,
    threshold: float = 0.0,
) -> float:
    """Measure how similar the samples of a class are in the units that they activate (MwT's definition).

    Mean over classes of the mean Jaccard index over pairs of the class's samples, of the units active on a sample that
    the class keeps. It needs every sample's active units: one byte a sample and unit, and a matrix product a class.

    Args:
        network: the trained network, in eval mode.
        layers: its unit layers.
        masks: L boolean tensors of (C, N_l), or a decomposition.
        batches: (images, labels); every class at least two images.
        frequencies: the counts that the masks come from, for the means that ``threshold`` is relative to.
        threshold: a unit is active above threshold x its mean.
    """
    watched = watch_units(network, layers)
    active, labels = [], []
    with evaluating(network):
        for images, label_B in batches:
            units_BN = torch.cat(watched(images)[1], dim=1)
            active.append(active_units(units_BN, frequencies.means_N.to(units_BN.device), threshold))
            labels.append(label_B)
    if not active:
        raise ValueError("there are no batches; cohesion compares at least two images of each class")
    active_SN, label_S = torch.cat(active), torch.cat(labels)
    mask_CN = torch.cat(list(as_decomposition(masks).keep), dim=1).to(active_SN.device)
    per_class = []
    for class_id, mask_N in enumerate(mask_CN):
        own_SN = active_SN[label_S == class_id][:, mask_N].float()  # 0/1 sums below 2^24 are exact
        if len(own_SN) < 2:
            raise ValueError(f"class {class_id} has {len(own_SN)} images; cohesion compares at least two")
        per_class.append(_mean_of_pairs(_jaccard(own_SN @ own_SN.T, empty=1.0)))
    return sum(per_class) / len(per_class)


def _jaccard(shared: Tensor, *, empty: float = 0.0) -> Tensor:
    """From the sizes of all intersections, own sizes on the diagonal; ``empty`` for two empty sets."""
    size = shared.diagonal()
    either = size[:, None] + size[None] - shared
    return torch.where(either > 0, shared / either.clamp(min=1), empty)


def _mean_of_pairs(values: Tensor) -> float:
    """Mean over the pairs of different rows of a symmetric matrix; 0 if there is one row."""
    rows = len(values)
    return float((values.double().sum() - values.diagonal().double().sum()) / (rows * (rows - 1))) if rows > 1 else 0.0
