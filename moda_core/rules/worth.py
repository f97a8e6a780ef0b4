"""What a unit is worth to a class: its contribution, more if it contributes to few classes, less if it costs much.

    worth = contribution x sqrt(contribution / mean contribution over classes) / sqrt(cost)

The cost is what one more unit of the layer adds to the class's module as it is; of a Transformer's head many times that
of a hidden unit. Since it depends on the module, masks and costs are found in turns. At equal size modules by worth are
right more often than those by contribution on every network that was tried (docs/findings.md).

Shapes: T targets, C classes, L layers, N units of all layers together, N_l units of layer l.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from moda_core.choosing import Contributions, contribution_masks
from moda_core.cutting import held_channels
from moda_core.graph import ChannelGraph
from moda_core.measuring import count_parameters
from moda_core.rules.target_sizes import levels_of_targets

ROUNDS = 3  # of masks and costs in turns; more changed nothing


def by_worth(contributions: Contributions, cost_CL: Tensor) -> Contributions:
    """Return what units are worth in place of their contributions.

    Args:
        contributions: from :func:`moda_core.count_contributions`.
        cost_CL: parameters that a unit of a layer costs a class, at least 1.
    """
    means_CN = contributions.means_CN
    specificity_CN = means_CN / means_CN.mean(0).clamp(min=torch.finfo(means_CN.dtype).tiny)
    cost_CN = cost_CL.double().repeat_interleave(torch.tensor(contributions.widths), dim=1)
    return replace(contributions, means_CN=means_CN * (specificity_CN / cost_CN).sqrt())


def levels_and_costs(graph: ChannelGraph, contributions: Contributions, targets_T: Tensor) -> tuple[Tensor, Tensor]:
    """Return the level of each target in worth, and the costs by which worth is meant there.

    Args:
        graph: the channel graph.
        contributions: counted on the network.
        targets_T: shares of the full model's parameters, float64.

    Returns:
        (T,) float64, and (T, C, L) int64.
    """
    classes, layers = len(contributions.means_CN), len(contributions.widths)
    cost_TCL = torch.ones(len(targets_T), classes, layers, dtype=torch.long)
    for _ in range(ROUNDS):
        ranked_T = [by_worth(contributions, cost_CL) for cost_CL in cost_TCL]
        levels_T = levels_of_targets(graph, ranked_T, targets_T)
        masks_T = [contribution_masks(ranked, level) for ranked, level in zip(ranked_T, levels_T.tolist(), strict=True)]
        cost_TCL = torch.stack([unit_costs(graph, masks) for masks in masks_T])
    ranked_T = [by_worth(contributions, cost_CL) for cost_CL in cost_TCL]
    return levels_of_targets(graph, ranked_T, targets_T), cost_TCL


def unit_costs(graph: ChannelGraph, masks: Sequence[Tensor]) -> Tensor:
    """Return how many parameters one more unit of each layer adds to each class's module, or that its first one has
    where the module has all of them; at least 1. (C, L) int64.

    Args:
        graph: the channel graph.
        masks: L boolean tensors of (C, N_l).
    """
    classes, layers = len(masks[0]), len(masks)
    keep = [mask_CN.repeat_interleave(layers, 0) for mask_CN in masks]  # row: class x layers + layer
    each = torch.arange(classes)
    for layer, mask_CN in enumerate(masks):
        changed_C = (~mask_CN).long().argmax(1)
        keep[layer][each * layers + layer, changed_C] = ~mask_CN[each, changed_C]
    each_class = torch.eye(graph.output.channels, dtype=torch.bool)[:classes]
    before_C = count_parameters(graph, held_channels(graph, masks, each_class))
    after_R = count_parameters(graph, held_channels(graph, keep, each_class.repeat_interleave(layers, 0)))
    return (after_R.view(classes, layers) - before_C[:, None]).abs().clamp(min=1)
