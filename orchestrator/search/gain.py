"""By how much a set of points would raise an archive's hypervolume, for many sets and many draws of both at once.

Shapes: S draws, C candidate sets, G points of a set, P points of an archive, F points on a front, M metrics.
All values are costs: less is better, and what is not better than the reference in every metric counts for nothing.
"""

import moocore
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def expected_gains(archive_SPM: Floats, sets_SCGM: Floats, reference_M: Floats) -> Floats:
    """(C,) hypervolume that each set adds to the archive, averaged over the draws."""
    if len(reference_M) == 2:
        return _two_metrics(archive_SPM, sets_SCGM, reference_M)
    gains_SC = [
        _any_metrics(archive_PM, sets_CGM, reference_M)
        for archive_PM, sets_CGM in zip(archive_SPM, sets_SCGM, strict=True)
    ]
    mean_C: Floats = np.mean(gains_SC, axis=0)
    return mean_C


def _two_metrics(archive_SPM: Floats, sets_SCGM: Floats, reference_M: Floats) -> Floats:
    fronts_SFM = _fronts(archive_SPM, reference_M)
    draws, candidates = sets_SCGM.shape[:2]
    joined = np.concatenate(
        [np.broadcast_to(fronts_SFM[:, None], (draws, candidates, *fronts_SFM.shape[1:])), sets_SCGM], 2
    )
    gains_SC = _areas(joined, reference_M) - _areas(fronts_SFM, reference_M)[:, None]
    mean_C: Floats = gains_SC.mean(0)
    return mean_C


def _staircase(costs: Floats, reference_M: Floats) -> tuple[Floats, Floats]:
    """The points (..., P, 2) within the reference by their first metric, and how much each lowers the second."""
    clipped = np.minimum(costs, reference_M)
    order = np.argsort(clipped[..., 0], axis=-1, kind="stable")
    ordered = np.take_along_axis(clipped, order[..., None], axis=-2)
    lowest = np.minimum.accumulate(ordered[..., 1], axis=-1)
    before = np.concatenate([np.full((*lowest.shape[:-1], 1), reference_M[1]), lowest[..., :-1]], -1)
    return ordered, np.maximum(before - ordered[..., 1], 0.0)


def _areas(costs: Floats, reference_M: Floats) -> Floats:
    ordered, lowered = _staircase(costs, reference_M)
    area: Floats = ((reference_M[0] - ordered[..., 0]) * lowered).sum(-1)
    return area


def _fronts(costs_SPM: Floats, reference_M: Floats) -> Floats:
    """The fronts of the draws, filled up with the reference point, which counts for nothing."""
    ordered, lowered = _staircase(costs_SPM, reference_M)
    kept_SP = (lowered > 0) & (ordered[..., 0] < reference_M[0])
    longest = max(1, int(kept_SP.sum(1).max(initial=0)))
    first_SF = np.argsort(~kept_SP, axis=1, kind="stable")[:, :longest]
    filled_SPM = np.where(kept_SP[..., None], ordered, reference_M)
    fronts_SFM: Floats = np.take_along_axis(filled_SPM, first_SF[..., None], axis=1)
    if fronts_SFM.shape[1] == 0:  # an archive without points
        return np.broadcast_to(reference_M, (len(costs_SPM), 1, 2)).copy()
    return fronts_SFM


def _any_metrics(archive_PM: Floats, sets_CGM: Floats, reference_M: Floats) -> Floats:
    front_FM = _within(archive_PM, reference_M)
    gains = np.zeros(len(sets_CGM))
    for index, set_GM in enumerate(sets_CGM):
        added_GM = _within(set_GM, reference_M)
        if len(added_GM):
            # Only what lies between the set's best values and the reference can change: few points of the front.
            beside_FM = moocore.filter_dominated(np.maximum(front_FM, added_GM.min(0))) if len(front_FM) else front_FM
            joined = np.concatenate([beside_FM, added_GM])
            gains[index] = _volume(joined, reference_M) - _volume(beside_FM, reference_M)
    return gains


def _within(costs_PM: Floats, reference_M: Floats) -> Floats:
    inside_PM = costs_PM[(costs_PM < reference_M).all(1)]
    front_PM: Floats = moocore.filter_dominated(inside_PM) if len(inside_PM) else inside_PM
    return front_PM


def _volume(costs_PM: Floats, reference_M: Floats) -> float:
    return float(moocore.hypervolume(costs_PM, ref=reference_M)) if len(costs_PM) else 0.0
