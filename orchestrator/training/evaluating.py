"""The reuse accuracy of every choice of a trained network, without and with a bias of each class.

The logits of a choice's modules are computed once and serve both. Choices that keep the same units are measured once.
All choices are tested on the first pairs of a draw, and those that may be on the trial's front on all of its pairs.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from hashlib import sha256
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
from orchestrator.training.class_means import reuse_by_class
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
    keys = [_what_is_measured(choice, decomposed) for choice, decomposed in zip(choices, chosen, strict=True)]
    places = {key: place for place, key in reversed(list(enumerate(keys)))}  # the first choice with these units

    def logits(key: Hashable, draw: ReuseDraw) -> Tensor:
        decomposed = chosen[places[key]]
        return reuse_logits(network, decomposed.sites, decomposed.units, images, draw)

    first, whole = draws[0], draws[-1]
    looks = {key: (first, logits(key, first)) for key in places}
    if first is not whole:
        correct = [correct_pairs(logits_PC, first) for _, logits_PC in looks.values()]
        near = near_front(correct, [cut_sizes[places[key]] for key in looks], first)
        rest = whole.rest(len(first.pair_label_P))
        for key in [key for key, is_near in zip(looks, near, strict=True) if is_near]:
            looks[key] = whole, torch.cat([looks[key][1], logits(key, rest)])
    columns = {}
    for key, (draw, logits_PC) in looks.items():
        place = places[key]
        calibrated = calibration(choices[place], chosen[place].units, logits_PC, draw)
        columns[key] = _columns(logits_PC, calibrated, draw)
    return [columns[key] for key in keys]


def near_front(correct: Sequence[Tensor], sizes: Sequence[float], draw: ReuseDraw) -> list[bool]:
    """Whether each choice may be on the front of accuracy against size: it is the best of those that are no larger, or
    less than two standard errors worse than that one.

    Args:
        correct: for each choice, which pairs of the draw are correct; the errors are those of paired differences.
        sizes: of each choice's modules.
        draw: the pairs.
    """
    values = [draw.mean(correct_P)[0] for correct_P in correct]
    near = []
    for correct_P, size in zip(correct, sizes, strict=True):
        rivals = [place for place, other in enumerate(sizes) if other <= size]
        best = max(rivals, key=lambda place: (values[place], -sizes[place]))
        behind, error = draw.mean(correct[best].double() - correct_P.double())
        near.append(correct[best] is correct_P or behind < NEAR * error)
    return near


def _columns(logits_PC: Tensor, calibrated: Calibrated, draw: ReuseDraw) -> dict[str, Any]:
    """Columns of the table ``points``."""
    plain, reuse = (
        summarize_reuse(correct_P, draw) for correct_P in (correct_pairs(logits_PC, draw), calibrated.correct_P)
    )
    of_classes = reuse_by_class(calibrated.correct_P, draw)
    return {
        "reuse_accuracy": plain.mean,
        "reuse_accuracy_error": plain.standard_error,
        "calibrated_reuse_accuracy": reuse.mean,
        "calibrated_reuse_accuracy_error": reuse.standard_error,
        "balanced_reuse_accuracy": of_classes.balanced,
        "balanced_reuse_accuracy_error": of_classes.balanced_error,
        "worst_class_reuse_accuracy": of_classes.worst,
        "worst_class_reuse_accuracy_error": of_classes.worst_error,
        "bias": None if calibrated.bias_C is None else calibrated.bias_C.tolist(),
        "reuse_subsets": len(draw.pair_subset_P.unique()),
        "reuse_images": draw.images,
    }


def _what_is_measured(choice: Choice, chosen: Chosen) -> Hashable:
    """Equal for choices of built-in rules whose modules are the same: they have the same sites, masks and scales."""
    units = chosen.units
    if choice.is_own or units.bias_C is not None:
        return choice
    tensors = list(units.keep)
    if units.scales is not None:
        tensors += [*units.scales.sums, units.scales.counts_C]
    hashed = sha256()
    for tensor in tensors:
        hashed.update(tensor.cpu().contiguous().numpy().tobytes())
    return tuple(site.node for site in chosen.sites), hashed.digest()
