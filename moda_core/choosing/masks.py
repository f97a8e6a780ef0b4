"""From counts to masks: which units each class keeps at a tau, the floor, and the union for several classes.

Shapes: C classes, N_l units of layer l.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from moda_core.choosing.class_ids import check_class_ids
from moda_core.choosing.frequency import Frequencies
from moda_core.choosing.rule_protocol import DEFAULT_FLOOR


def keep_masks(
    frequencies: Frequencies, tau: float, *, threshold: float = 0.0, floor: float = DEFAULT_FLOOR
) -> list[Tensor]:
    """Keep for each class the units that are active on at least ``tau`` of its samples (docs/method.md).

    A class mask smaller than ``max(1, floor * N_l)`` is replaced by the class's most frequent units, as many as the
    layer's largest class mask has; ties go to the lowest index. Because of it a mask may grow with tau:
    :func:`floored` tells where it acted.

    Args:
        frequencies: the counts.
        tau: in (0, 1].
        threshold: one of the counted thresholds.
        floor: the smallest share of a layer that a class may keep, in [0, 1).

    Returns:
        L boolean tensors of (C, N_l), indexed by class id.
    """
    rates = _checked_rates(frequencies, tau, threshold, floor)
    return [_with_floor(rate_CN, rate_CN >= tau, floor) for rate_CN in rates]


def floored(
    frequencies: Frequencies, tau: float, *, threshold: float = 0.0, floor: float = DEFAULT_FLOOR
) -> list[Tensor]:
    """Return where the floor acts: L boolean tensors of (C,)."""
    rates = _checked_rates(frequencies, tau, threshold, floor)
    return [(rate_CN >= tau).sum(1) < _smallest(rate_CN, floor) for rate_CN in rates]


def merge_masks(masks: Sequence[Tensor], class_ids: Sequence[int]) -> list[Tensor]:
    """Return the union of the class masks: L boolean tensors of (N_l,).

    Raises:
        ValueError: no class, a class twice, or an id out of range.
    """
    check_class_ids(class_ids, masks[0].shape[0])
    return [mask_CN[list(class_ids)].any(0) for mask_CN in masks]


def keep_some_unit(mask_CN: Tensor, values_CN: Tensor) -> Tensor:
    """Return masks of a layer in which a class that would keep nothing keeps its unit of the largest value."""
    is_empty_C1 = ~mask_CN.any(1, keepdim=True)
    largest_CN = torch.zeros_like(mask_CN).scatter(1, values_CN.argmax(1, keepdim=True), True)
    return mask_CN | (is_empty_C1 & largest_CN)


def _checked_rates(frequencies: Frequencies, tau: float, threshold: float, floor: float) -> list[Tensor]:
    if not 0 < tau <= 1:
        raise ValueError(f"tau={tau} must lie in (0, 1]")
    if not 0 <= floor < 1:
        raise ValueError(f"floor={floor} must lie in [0, 1)")
    return frequencies.rates(threshold)


def _smallest(rate_CN: Tensor, floor: float) -> int:
    return max(1, int(floor * rate_CN.shape[1]))


def _with_floor(rate_CN: Tensor, mask_CN: Tensor, floor: float) -> Tensor:
    smallest = _smallest(rate_CN, floor)
    sizes_C = mask_CN.sum(1)
    top = max(smallest, int(sizes_C.max()))
    best_CK = rate_CN.argsort(dim=1, descending=True, stable=True)[:, :top]
    top_CN = torch.zeros_like(mask_CN).scatter_(1, best_CK, True)
    return torch.where((sizes_C < smallest)[:, None], top_CN, mask_CN)
