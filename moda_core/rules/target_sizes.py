"""From target sizes to levels: where the modules that contributions choose are as large as they should be.

Shapes: T targets, C classes, N units of all layers together.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moda_core.choosing import Contributions, contribution_masks
from moda_core.cutting import held_channels
from moda_core.graph import ChannelGraph, channel_graph
from moda_core.measuring import count_all_parameters, count_parameters
from moda_core.modes import device_of
from moda_core.units import UnitLayers


def graph_of(network: nn.Module, sites: UnitLayers) -> tuple[ChannelGraph, dict[str, Tensor]]:
    """Return the channel graph of a network with its sites, and its state, from the shapes that the sites were traced
    with.

    Raises:
        NetworkError: a network that cannot be cut.
    """
    example = next(node for node in sites.graph.nodes if node.op == "placeholder").meta["value"]
    return channel_graph(network, sites, torch.zeros_like(example, device=device_of(network)))


def levels_of_targets(
    graph: ChannelGraph, ranked: Contributions | Sequence[Contributions], targets_T: Tensor
) -> Tensor:
    """Return the levels at which the mean size of one-class modules, as they are cut, comes nearest to each target.

    Near is meant by ratio. A unit without any contribution is never kept for a larger size, and the largest unit of
    each layer that may not be empty is always kept (:func:`moda_core.contribution_masks`), so that targets may lie
    above or below all sizes that there are; then it is the nearest end. No network is built.

    Args:
        graph: the channel graph.
        ranked: what units are ranked by, for all targets or for each: contributions, or what stands for them.
        targets_T: shares of the full model's parameters, float64.
    """
    ranked_T = [ranked] * len(targets_T) if isinstance(ranked, Contributions) else ranked
    values_T = [_positive_values(of_target.means_CN) for of_target in ranked_T]
    larger_T = torch.zeros(len(targets_T), dtype=torch.long)  # places of levels whose modules are larger, if any are
    smaller_T = torch.tensor([len(values) - 1 for values in values_T])

    def levels(place_T: Tensor) -> Tensor:
        return torch.stack([values[place] for values, place in zip(values_T, place_T.tolist(), strict=True)])

    while bool((smaller_T - larger_T > 1).any()):
        middle_T = (larger_T + smaller_T) // 2
        is_larger_T = mean_sizes(graph, ranked_T, levels(middle_T)) >= targets_T
        larger_T = torch.where(is_larger_T, middle_T, larger_T)
        smaller_T = torch.where(is_larger_T, smaller_T, middle_T)
    ratio_T, other_T = (
        (mean_sizes(graph, ranked_T, levels(place_T)) / targets_T).log().abs() for place_T in (larger_T, smaller_T)
    )
    return levels(torch.where(ratio_T < other_T, larger_T, smaller_T))


def mean_sizes(graph: ChannelGraph, ranked_T: Sequence[Contributions], levels_T: Tensor) -> Tensor:
    """Return the mean size of one-class modules at each level, as ``module_metrics(...).cut_size``: (T,) float64."""
    classes, count = len(ranked_T[0].means_CN), len(levels_T)
    chosen = [contribution_masks(ranked, level) for ranked, level in zip(ranked_T, levels_T.tolist(), strict=True)]
    keep = [torch.cat(of_layer) for of_layer in zip(*chosen, strict=True)]
    each_class = torch.eye(graph.output.channels, dtype=torch.bool)[:classes].repeat(count, 1)
    held = held_channels(graph, keep, each_class)
    return count_parameters(graph, held).view(count, classes).mean(1) / count_all_parameters(graph)


def _positive_values(means_CN: Tensor) -> Tensor:
    """The different levels above 0 at which masks change; one, where nothing contributes."""
    positive = means_CN[means_CN > 0]
    return positive.unique() if len(positive) else means_CN.new_ones(1)
