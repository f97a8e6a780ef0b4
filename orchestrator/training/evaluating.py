"""The reuse accuracy of every choice of a trained network, without and with a bias of each class, on one draw.

The logits of a choice's modules are computed once and serve both. Choices that keep the same units are measured once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from moda_core import ReuseDraw, correct_pairs, reuse_logits, summarize_reuse
from orchestrator.config import Choice
from orchestrator.training.calibration import Calibration
from orchestrator.training.data import ImageSet

if TYPE_CHECKING:  # which imports this file
    from orchestrator.training.decompose import Chosen


def evaluate_reuse(
    network: nn.Module,
    choices: Sequence[Choice],
    chosen: Sequence[Chosen],
    images: ImageSet,
    draw: ReuseDraw,
    calibration: Calibration,
) -> list[dict[str, Any]]:
    """The columns of reuse accuracy for each choice.

    Args:
        network: the trained network.
        choices: the choices.
        chosen: what each keeps of the network.
        images: of the split that is measured.
        draw: which of them are tested in which subsets.
        calibration: gives each choice its bias.
    """
    measured: dict[Hashable, dict[str, Any]] = {}
    keys = [_what_is_measured(choice, one) for choice, one in zip(choices, chosen, strict=True)]
    for choice, one, key in zip(choices, chosen, keys, strict=True):
        if key not in measured:
            logits_PC = reuse_logits(network, one.sites, one.units, images, draw)
            reuse = summarize_reuse(correct_pairs(logits_PC, draw), draw)
            calibrated = calibration(choice, one.units, logits_PC, draw)
            measured[key] = {
                "reuse_accuracy": reuse.mean,
                "reuse_accuracy_error": reuse.standard_error,
                "calibrated_reuse_accuracy": calibrated.reuse.mean,
                "calibrated_reuse_accuracy_error": calibrated.reuse.standard_error,
                "bias": None if calibrated.bias_C is None else calibrated.bias_C.tolist(),
            }
    return [measured[key] for key in keys]


def _what_is_measured(choice: Choice, chosen: Chosen) -> Hashable:
    """Equal for choices whose modules are the same: the built-in rules share their sites, so equal masks suffice."""
    if choice.prefix or not chosen.units.is_plain:
        return choice
    return tuple(mask_CN.cpu().numpy().tobytes() for mask_CN in chosen.units.keep)
