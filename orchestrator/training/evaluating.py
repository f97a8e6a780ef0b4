"""The reuse accuracy of every choice of a trained network, without and with a bias of each class.

The logits of a choice's modules are computed once and serve both. Choices that keep the same units are measured once.
All choices are tested on the first pairs of a draw, and those that may be on the trial's front on all of its pairs.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from moda_core import (
    ReuseDraw,
    correct_pairs,
    draw_budget,
    draw_pairs,
    draw_subsets,
    reuse_logits,
    spread_sizes,
    summarize_reuse,
)
from orchestrator.config import Choice, EvaluationConfig
from orchestrator.training.calibration import Calibrated, Calibration
from orchestrator.training.data import ImageSet

if TYPE_CHECKING:  # which imports this file
    from orchestrator.training.decompose import Chosen

FIRST_LOOK = 4  # every choice is tested on one pair in so many
NEAR = 2.0  # standard errors of the difference: how far behind the front a choice is tested on all pairs


def draw_pairs_of(labels: Tensor, num_classes: int, config: EvaluationConfig, split: str) -> list[ReuseDraw]:
    """The draws on which choices are tested: the first look, then all pairs; on test, and for sweeps from before there
    was a budget of pairs, all at once.
    """
    prefix = "test_" if split == "test" else ""
    pairs: int | None = getattr(config, f"{prefix}pairs")
    if pairs is None:
        subsets = draw_subsets(num_classes, getattr(config, f"{prefix}subsets_per_size"), seed=config.seed)
        images_per_size: int = getattr(config, f"{prefix}images_per_size")
        return [draw_pairs(labels, subsets, num_classes=num_classes, images_per_size=images_per_size, seed=config.seed)]
    draw = draw_budget(labels, pairs, num_classes=num_classes, seed=config.seed)
    sizes = len(spread_sizes(num_classes))
    first = sizes * max(1, pairs // FIRST_LOOK // sizes)
    return [draw] if split == "test" or first >= len(draw.pair_label_P) else [draw.first(first), draw]


@dataclass(frozen=True)
class Look:
    """A choice's modules on a draw.

    Attributes:
        draw: the draw.
        logits_PC: of the composed modules.
        calibrated: with the bias of each class.
    """

    draw: ReuseDraw
    logits_PC: Tensor
    calibrated: Calibrated

    @property
    def columns(self) -> dict[str, Any]:
        """As columns of the table ``points``."""
        reuse = summarize_reuse(correct_pairs(self.logits_PC, self.draw), self.draw)
        calibrated, bias_C = summarize_reuse(self.calibrated.correct_P, self.draw), self.calibrated.bias_C
        return {
            "reuse_accuracy": reuse.mean,
            "reuse_accuracy_error": reuse.standard_error,
            "calibrated_reuse_accuracy": calibrated.mean,
            "calibrated_reuse_accuracy_error": calibrated.standard_error,
            "bias": None if bias_C is None else bias_C.tolist(),
            "reuse_subsets": len(self.draw.pair_subset_P.unique()),
            "reuse_images": self.draw.images,
        }


def evaluate_reuse(
    network: nn.Module,
    choices: Sequence[Choice],
    chosen: Sequence[Chosen],
    cut_sizes: Sequence[float],
    images: ImageSet,
    draws: Sequence[ReuseDraw],
    calibration: Calibration,
) -> list[dict[str, Any]]:
    """The columns of reuse accuracy for each choice.

    Args:
        network: the trained network.
        choices: the choices.
        chosen: what each keeps of the network.
        cut_sizes: of its modules.
        images: of the split that is measured.
        draws: from :func:`draw_pairs_of`.
        calibration: gives each choice its bias.
    """
    keys = [_what_is_measured(choice, one) for choice, one in zip(choices, chosen, strict=True)]
    places = {key: place for place, key in reversed(list(enumerate(keys)))}  # the first choice with these units

    def look(place: int, draw: ReuseDraw, earlier: Look | None = None) -> Look:
        one, before = chosen[place], 0 if earlier is None else len(earlier.logits_PC)
        logits_PC = reuse_logits(network, one.sites, one.units, images, draw.rest(before))
        if earlier is not None:
            logits_PC = torch.cat([earlier.logits_PC, logits_PC])
        return Look(draw, logits_PC, calibration(choices[place], one.units, logits_PC, draw))

    looks = {key: look(place, draws[0]) for key, place in places.items()}
    for draw in draws[1:]:
        correct = [one.calibrated.correct_P for one in looks.values()]
        near = near_front(correct, [cut_sizes[places[key]] for key in looks], draws[0])
        for key in [key for key, is_near in zip(looks, near, strict=True) if is_near]:
            looks[key] = look(places[key], draw, looks[key])
    columns = {key: one.columns for key, one in looks.items()}
    return [columns[key] for key in keys]


def near_front(correct: Sequence[Tensor], sizes: Sequence[float], draw: ReuseDraw) -> list[bool]:
    """Whether each choice may be on the front of accuracy against size: it is at most two standard errors worse than
    the best one that is no larger.

    Args:
        correct: for each choice, which pairs of the draw are correct; the errors are those of paired differences.
        sizes: of each choice's modules.
        draw: the pairs.
    """
    values = [draw.mean(correct_P)[0] for correct_P in correct]
    near = []
    for correct_P, size in zip(correct, sizes, strict=True):
        rivals = [place for place, other in enumerate(sizes) if other <= size]
        best_P = correct[max(rivals, key=values.__getitem__)]
        behind, error = draw.mean(best_P.double() - correct_P.double())
        near.append(behind <= NEAR * error)
    return near


def _what_is_measured(choice: Choice, chosen: Chosen) -> Hashable:
    """Equal for choices whose modules are the same: the built-in rules share their sites, so equal masks suffice."""
    if choice.prefix or not chosen.units.is_plain:
        return choice
    return tuple(mask_CN.cpu().numpy().tobytes() for mask_CN in chosen.units.keep)
