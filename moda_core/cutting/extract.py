"""The cut network gives the logits of the masked network from smaller layers.

Cutting slices weights to the channels that :func:`moda_core.cutting.held.held_channels` says are held.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from moda_core.choosing import Masks, check_class_ids, check_keep, merged_units
from moda_core.cutting.cutter import Cutter
from moda_core.cutting.held import Held, held_channels
from moda_core.graph import ChannelGraph, channel_graph
from moda_core.modes import evaluating
from moda_core.units import UnitLayers

LARGEST_DIFFERENCE = 1e-4  # between cut and masked logits in float32, relative to the largest logit


def cut_network(
    network: nn.Module, layers: UnitLayers, keep: Masks, class_ids: Sequence[int], example_input: Tensor
) -> fx.GraphModule:
    """Build a network of physically smaller layers that computes what :func:`mask_network` computes in eval mode.
    Weights are copied.

    Arguments are those of :func:`mask_network`; ``example_input`` is one batch, for the shapes.

    Raises:
        ValueError: as :func:`mask_network`, and an operation that cutting does not know, by node and name.
    """
    check_keep(merged_units(keep, class_ids).keep, layers)
    graph, state = channel_graph(network, layers, example_input)
    return cut_graph(graph, state, keep, class_ids)


def cut_graph(
    graph: ChannelGraph,
    state: Mapping[str, Tensor],
    keep: Masks,
    class_ids: Sequence[int],
    *,
    held: Held | None = None,
) -> fx.GraphModule:
    """Cut a channel graph whose ``state`` holds what ``held`` describes (constants not folded; None: everything)."""
    check_class_ids(class_ids, graph.output.channels)
    outputs_C = torch.zeros(graph.output.channels, dtype=torch.bool)
    outputs_C[list(class_ids)] = True
    units = merged_units(keep, class_ids)
    rows = held_channels(graph, [keep_N.cpu()[None] for keep_N in units.keep], outputs_C[None])
    return Cutter(graph, state, rows.row(0), held, scales=units.scales).build(class_ids, units.bias_T)


def largest_difference(masked: nn.Module, cut: nn.Module, images: Tensor) -> float:
    """Return the largest difference between the logits of ``images``, as a share of the largest ``masked`` one. Both
    networks run in eval mode.
    """
    with evaluating(masked), evaluating(cut):
        expected, found = masked(images), cut(images)
    if expected.shape != found.shape:
        raise ValueError(f"masked logits are {tuple(expected.shape)}, cut ones {tuple(found.shape)}")
    return relative_difference(expected, found)


def relative_difference(expected: Tensor, found: Tensor) -> float:
    """Return max |expected - found| / max |expected|."""
    scale = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float((expected - found).abs().max() / scale)
