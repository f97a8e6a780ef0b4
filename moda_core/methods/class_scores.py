"""Scores of units for each class, and the masks that keep the units of the largest ones.

Shapes: B samples, C classes, L unit layers, N_l units of layer l, N of all layers.
"""

from typing import Any

import torch
from torch import Tensor, nn

from moda_core.choosing import keep_some_unit
from moda_core.graph import channel_graph
from moda_core.methods.layer_weights import unit_parameters
from moda_core.modes import evaluating
from moda_core.units import UnitLayers


class ClassScores(nn.Module):
    """Scores of units for each class, which begin at 1. They have a gradient only while they are trained themselves.

    Args:
        classes: C.
        costs: of each layer, the parameters that go with one unit.
        widths: N_l of each layer.
        may_be_empty: of each layer, whether a class may keep none of its units.
    """

    def __init__(self, classes: int, costs: list[float], widths: list[int], may_be_empty: list[bool]) -> None:
        super().__init__()
        self.may_be_empty = may_be_empty
        self.scores = nn.ParameterList(
            nn.Parameter(torch.ones(classes, width), requires_grad=False) for width in widths
        )
        costs_N = torch.cat([torch.full((width,), cost) for cost, width in zip(costs, widths, strict=True)])
        self.register_buffer("costs_N", costs_N / costs_N.sum(), persistent=False)
        self.costs_N: Tensor

    @classmethod
    def of_network(cls, network: nn.Module, layers: UnitLayers, example_input: Tensor) -> "ClassScores":
        """Build them for a network."""
        with evaluating(network):
            classes = network(example_input).shape[1]
        graph, _ = channel_graph(network, layers, example_input)
        may_be_empty = [layer.may_be_empty for layer in layers]
        return cls(classes, unit_parameters(graph), layers.widths, may_be_empty).to(example_input.device)

    def shares(self) -> list[Tensor]:
        """Return for each class the share of all units' parameters that the units up to each one hold, the largest
        score first: L tensors of (C, N_l) in (0, 1]. Of equal scores the first unit comes first.
        """
        scores_CN = torch.cat([scores_CN.detach() for scores_CN in self.scores], 1)
        order_CN = scores_CN.argsort(dim=1, descending=True, stable=True)
        sums_CN = self.costs_N[order_CN].cumsum(1)
        shares_CN = torch.empty_like(sums_CN).scatter_(1, order_CN, sums_CN)
        return list(shares_CN.split([scores.shape[1] for scores in self.scores], dim=1))

    def keep(self, share: float) -> list[Tensor]:
        """Return the units of the largest scores that hold at most this share of the parameters, L boolean tensors of
        (C, N_l); at least one unit of a layer that may not be empty.
        """
        masks = [share_CN <= share for share_CN in self.shares()]
        return [
            mask_CN if may_be_empty else keep_some_unit(mask_CN, scores_CN.detach())
            for mask_CN, scores_CN, may_be_empty in zip(masks, self.scores, self.may_be_empty, strict=True)
        ]

    def factors(self, share: float, members_BC: Tensor) -> list[Tensor]:
        """Return the masks of modules of some classes as factors, whose gradients go straight through to the scores of
        these classes: L tensors of (B, N_l).

        Args:
            share: as of :meth:`keep`.
            members_BC: booleans, the classes of each row's module.
        """
        masks = self.keep(share)
        return [
            _Union.apply(scores_CN, mask_CN, members_BC)  # type: ignore[no-untyped-call]
            for scores_CN, mask_CN in zip(self.scores, masks, strict=True)
        ]


class _Union(torch.autograd.Function):
    """1 where any of a row's classes keeps a unit, else 0; the gradient goes to the scores of all its classes."""

    @staticmethod
    def forward(context: Any, scores_CN: Tensor, mask_CN: Tensor, members_BC: Tensor) -> Tensor:
        context.save_for_backward(members_BC)
        return ((members_BC.to(scores_CN) @ mask_CN.to(scores_CN)) > 0).to(scores_CN)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (members_BC,) = context.saved_tensors
        return members_BC.to(gradients[0]).T @ gradients[0], None, None
