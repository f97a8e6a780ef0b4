"""What GradSplitter trains for each class, and the separate networks that it publishes.

Shapes: B samples, C classes, L unit layers, N_l units of layer l.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from moda_core.choosing import row_masked_graph
from moda_core.cutting import held_channels
from moda_core.graph import channel_graph
from moda_core.measuring import count_all_parameters, count_parameters
from moda_core.modes import evaluating
from moda_core.units import UnitLayers

HIDDEN = 10  # units of a head


class _Kept(torch.autograd.Function):
    """1 where a score is above 0, else 0; the gradient goes straight through."""

    @staticmethod
    def forward(context: Any, scores: Tensor) -> Tensor:
        return (scores > 0).to(scores.dtype)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class SplitModules(nn.Module):
    """Scores of units and a head for each class; a class keeps the units whose score is above 0.

    Units of linear layers have no mask: their scores are infinite.
    """

    def __init__(self, classes: int, widths: list[int], is_masked: list[bool]) -> None:
        super().__init__()
        self.is_masked = is_masked
        self.scores = nn.ParameterList(
            nn.Parameter(torch.full((classes, width), 1.0 if masked else torch.inf), requires_grad=masked)
            for width, masked in zip(widths, is_masked, strict=True)
        )
        self.heads = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Linear(classes, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1), nn.Sigmoid())
            for _ in range(classes)
        )

    @classmethod
    def of_network(cls, network: nn.Module, layers: UnitLayers, example_input: Tensor) -> "SplitModules":
        """Build them for a network, with scores of 1 and heads as PyTorch initialises them."""
        with evaluating(network):
            classes = network(example_input).shape[1]
        values = {node.name: node.meta["value"] for node in layers.graph.nodes if node.op.startswith("call_")}
        return cls(classes, list(layers.widths), [values[layer.node].ndim > 2 for layer in layers])

    def masks(self) -> list[Tensor]:
        """The masks as factors, L tensors of (C, N_l); the gradient of a factor is that of its score."""
        return [_Kept.apply(scores_CN) for scores_CN in self.scores]  # type: ignore[no-untyped-call]

    def mean_mask(self) -> Tensor:
        """The mean over classes and the units that have masks."""
        masked = [mask_CN for mask_CN, is_masked in zip(self.masks(), self.is_masked, strict=True) if is_masked]
        return torch.cat(masked, dim=1).mean() if masked else torch.zeros(())

    def sigmoids(self, masked: nn.Module, images: Tensor) -> Tensor:
        """Return what the heads make of images, each of its own class's masked network: (B, C).

        Args:
            masked: the network with a factor for every row and unit (:func:`moda_core.choosing.row_masked_graph`).
            images: a batch.
        """
        masks = self.masks()
        shown = [
            head(masked(images, *(mask_CN[class_id].expand(len(images), -1) for mask_CN in masks)))
            for class_id, head in enumerate(self.heads)
        ]
        return torch.cat(shown, dim=1)


@dataclass(frozen=True)
class SeparateNetworks:
    """A network of its own for each class: :class:`moda_core.methods.Separate`.

    Attributes:
        sizes_C: parameters of each class's network and head / parameters of the full model.
    """

    masked: nn.Module
    parts: SplitModules
    sizes_C: Tensor

    @classmethod
    def of_parts(
        cls, network: nn.Module, layers: UnitLayers, parts: SplitModules, example_input: Tensor
    ) -> "SeparateNetworks":
        """Build them from trained parts; a network is cut to its mask, with all logits, which its head reads."""
        graph, _ = channel_graph(network, layers, example_input)
        keep = [(scores_CN > 0).cpu() for scores_CN in parts.scores]
        every = torch.ones(len(parts.heads), graph.output.channels, dtype=torch.bool)
        head = sum(parameter.numel() for parameter in parts.heads[0].parameters())
        cut_C = count_parameters(graph, held_channels(graph, keep, every))
        sizes_C = (cut_C + head) / count_all_parameters(graph)
        return cls(fx.GraphModule(network, row_masked_graph(layers)).eval(), parts, sizes_C)

    def predict(self, images: Tensor) -> Tensor:
        """Return the sigmoid of each class's network for a batch: (B, C)."""
        with evaluating(self.masked):
            return self.parts.sigmoids(self.masked, images)
