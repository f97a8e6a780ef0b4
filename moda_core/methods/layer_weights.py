"""How much each unit layer weighs in the compactness term: alike, or by the parameters that its units hold.

Shapes: L layers, N_l units of layer l.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from moda_core.cutting import held_channels
from moda_core.graph import ChannelGraph, channel_graph
from moda_core.measuring import count_all_parameters, count_parameters
from moda_core.units import UnitLayers


class Weighted(nn.Module):
    """A watched network that also returns how much the compactness counts: the weights of its layers, or None for 1
    each, and a number from 0 to 1 for all of them.

    Args:
        watched: the network.
        weights: of its layers.
        warmup: over what share of the training that number grows from 0 to 1.
    """

    warmth: Tensor

    def __init__(self, watched: nn.Module, weights: Sequence[float] | None, warmup: float) -> None:
        super().__init__()
        self.watched, self.weights, self.warmup = watched, weights, warmup
        self.register_buffer("warmth", torch.ones(()), persistent=False)

    def warm(self, progress: float) -> None:
        """Set the number for a step, by the share of the training that is done with it."""
        if self.warmup:
            self.warmth.fill_(min(1.0, progress / self.warmup))

    def forward(self, images: Tensor) -> tuple[Any, ...]:
        return (*self.watched(images), self.weights, self.warmth)


def layer_weights(network: nn.Module, layers: UnitLayers, example_input: Tensor, kind: str) -> list[float]:
    """Return the weight of each layer, of mean 1: N_l x the parameters that go with one unit of it.

    Args:
        network: the network.
        layers: its unit layers.
        example_input: one batch, for the shapes.
        kind: ``size``, or ``sqrt_size`` for the square root.

    Raises:
        NetworkError: a network that cannot be cut.
    """
    graph, _ = channel_graph(network, layers, example_input)
    sizes = [width * lost for width, lost in zip(layers.widths, unit_parameters(graph), strict=True)]
    weights = [math.sqrt(size) for size in sizes] if kind == "sqrt_size" else sizes
    mean = sum(weights) / len(weights)
    return [weight / mean for weight in weights]


def unit_parameters(graph: ChannelGraph) -> list[float]:
    """Return how many parameters the whole network loses with one unit, the first, of each layer; 1 at least."""
    count = len(graph.widths)
    keep = [torch.ones(count, width, dtype=torch.bool) for width in graph.widths]
    for layer, masks_LN in enumerate(keep):
        masks_LN[layer, 0] = False
    outputs = torch.ones(count, graph.output.channels, dtype=torch.bool)
    kept_L = count_parameters(graph, held_channels(graph, keep, outputs))
    lost: list[float] = (count_all_parameters(graph) - kept_L).clamp(min=1).tolist()
    return lost
