"""A bias of each class for a point's modules: fitted and judged on validation once, then used as it is stored.

Validation images are cut into two fixed halves. A bias that is fitted on one half is judged on the other, and the other
way round, so that no image judges a bias that it helped to fit. Where that helps, the bias is fitted again on both.

Shapes: I images, P (image, subset) pairs, C classes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from moda_core import Decomposition, ReuseDraw, correct_pairs, fit_bias
from orchestrator.config import Choice


@dataclass(frozen=True)
class Calibrated:
    """What a bias is worth.

    Attributes:
        correct_P: which pairs are correct with the bias; where none is kept, without.
        bias_C: the bias that is kept, float64; None for none.
    """

    correct_P: Tensor
    bias_C: Tensor | None = None


class Calibration(Protocol):
    """Gives a choice's modules their bias, from their logits on a draw."""

    def __call__(self, choice: Choice, units: Decomposition, logits_PC: Tensor, draw: ReuseDraw) -> Calibrated: ...


@dataclass(frozen=True)
class CrossFitting:
    """Fits a bias on validation, and keeps it where the cross-fitted gain is larger than its standard error.

    A rule of a user's own that brings a bias keeps that one, and none is fitted.

    Attributes:
        in_second_half_I: which half each validation image is in, from :func:`second_half`.
    """

    in_second_half_I: Tensor

    def __call__(self, choice: Choice, units: Decomposition, logits_PC: Tensor, draw: ReuseDraw) -> Calibrated:
        plain_P = correct_pairs(logits_PC, draw)
        uncalibrated = Calibrated(plain_P)
        second_P = self.in_second_half_I[draw.pair_image_P]
        is_fixed = units.bias_C is not None or bool(plain_P.all())  # nothing to fit, or nothing to gain
        if is_fixed or second_P.all() or not second_P.any() or not logits_PC.isfinite().all():
            return uncalibrated
        bias_C = _fit(logits_PC, draw, torch.ones_like(second_P))
        for_second_C, for_first_C = (_fit(logits_PC, draw, part_P, bias_C) for part_P in (~second_P, second_P))
        crossed_P = correct_pairs(logits_PC, draw, torch.where(second_P[:, None], for_second_C, for_first_C))
        gain, error = draw.mean(crossed_P.double() - plain_P.double())
        return Calibrated(crossed_P, bias_C) if gain > error else uncalibrated


@dataclass(frozen=True)
class StoredBiases:
    """Uses the biases that were kept on validation.

    Attributes:
        biases: of choices that have one, by choice.
    """

    biases: Mapping[Choice, Tensor]

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "StoredBiases":
        """The biases in a trial's rows of the table `points`."""
        kept = (row for row in rows if row["split"] == "validation" and row["bias"] is not None)
        return cls({Choice.of_row(row): torch.tensor(row["bias"], dtype=torch.float64) for row in kept})

    def __call__(self, choice: Choice, units: Decomposition, logits_PC: Tensor, draw: ReuseDraw) -> Calibrated:
        bias_C = self.biases.get(choice)
        return Calibrated(correct_pairs(logits_PC, draw, bias_C), bias_C)


def with_stored_bias(units: Decomposition, bias: Sequence[float] | None) -> Decomposition:
    """What a choice keeps, with the bias that is stored with its point; unchanged where none is."""
    return units if bias is None else replace(units, bias_C=torch.tensor(bias, dtype=torch.float64))


def second_half(labels_I: Tensor, seed: int) -> Tensor:
    """Cut images into two halves, stratified by class and fixed by the seed: boolean (I,), True in the second one.

    Odd images of classes go to the halves in turn, so that these are of equal size but for one image.
    """
    generator = torch.Generator().manual_seed(seed)
    in_second_I = torch.zeros(len(labels_I), dtype=torch.bool)
    odd = 0
    for label in labels_I.cpu().unique():
        of_class = (labels_I.cpu() == label).nonzero().flatten()
        order = of_class[torch.randperm(len(of_class), generator=generator)]
        odd ^= len(order) % 2
        size = math.ceil(len(order) / 2) if odd else len(order) // 2
        in_second_I[order[:size]] = True
    return in_second_I


def _fit(logits_PC: Tensor, draw: ReuseDraw, part_P: Tensor, start_C: Tensor | None = None) -> Tensor:
    return fit_bias(logits_PC[part_P], draw.pair_subset_PC[part_P], draw.pair_label_P[part_P], start_C=start_C)
