"""By how much a set of points would raise an archive's hypervolume, for many sets and many draws of both.

Shapes: S draws, C candidate sets, G points of a set, P points of an archive, F points on a front, M metrics.
All values are costs: less is better, and what is not better than the reference in every metric counts for nothing.
"""

from collections.abc import Sequence

import moocore
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def front(archive_PM: Floats, reference_M: Floats) -> Floats:
    """The (F, M) points within the reference that no other dominates, one of equal ones."""
    inside_PM = archive_PM[(archive_PM < reference_M).all(1)]
    front_FM: Floats = moocore.filter_dominated(inside_PM) if len(inside_PM) else inside_PM
    return front_FM


def expected_gains(fronts_FM: Sequence[Floats], sets_SCGM: Floats, reference_M: Floats) -> Floats:
    """(C,) hypervolume that each set adds to the archive, averaged over the draws.

    Args:
        fronts_FM: of each draw the archive's front.
        sets_SCGM: the sets.
        reference_M: where the hypervolume ends.
    """
    mean_C: Floats = np.mean(drawn_gains(fronts_FM, sets_SCGM, reference_M), axis=0)
    return mean_C


def drawn_gains(fronts_FM: Sequence[Floats], sets_SCGM: Floats, reference_M: Floats) -> Floats:
    """(S, C) hypervolume that each set adds to the archive in each draw. Arguments are those of
    :func:`expected_gains`."""
    gains = _two_metrics if len(reference_M) == 2 else _any_metrics
    inside_SCG1 = (sets_SCGM < reference_M).all(-1, keepdims=True)
    within_SCGM = np.where(inside_SCG1, sets_SCGM, reference_M)
    gains_SC: Floats = np.stack([gains(*drawn, reference_M) for drawn in zip(fronts_FM, within_SCGM, strict=True)])
    return gains_SC


def _two_metrics(front_FM: Floats, sets_CGM: Floats, reference_M: Floats) -> Floats:
    """The area between a set's staircase and the front's: over each step of the set, until the front is as low, the
    integral of the front's height less that of the set."""
    order_CG = np.argsort(sets_CGM[..., 0], axis=1)
    first_CG, second_CG = np.moveaxis(np.take_along_axis(sets_CGM, order_CG[..., None], 1), -1, 0)
    height_CG = np.minimum.accumulate(second_CG, axis=1) - reference_M[1]  # of the set, until its next point
    next_CG = np.append(first_CG[:, 1:], np.full((len(first_CG), 1), reference_M[0]), 1)
    front_FM = front_FM[np.argsort(front_FM[:, 0])]
    edges = np.concatenate([[front_FM[:, 0].min(initial=first_CG.min())], front_FM[:, 0], reference_M[:1]])
    heights = np.append(0.0, front_FM[:, 1] - reference_M[1])  # of the front, from each edge to the next
    integral = np.append(0.0, np.cumsum(heights * np.diff(edges)))  # up to each edge
    until_CG = np.minimum(next_CG, edges[np.searchsorted(-heights, -height_CG)])
    until_CG = np.maximum(until_CG, first_CG)
    between_CG = np.interp(until_CG, edges, integral) - np.interp(first_CG, edges, integral)
    gains_C: Floats = (between_CG - height_CG * (until_CG - first_CG)).sum(1)
    return gains_C


def _any_metrics(front_FM: Floats, sets_CGM: Floats, reference_M: Floats) -> Floats:
    best_CM = sets_CGM.min(1)
    beaten_C = (front_FM <= best_CM[:, None]).all(-1).any(1) | (best_CM >= reference_M).any(1)
    gains_C, volume = np.zeros(len(sets_CGM)), moocore.Hypervolume(reference_M)
    for index in np.flatnonzero(~beaten_C):
        # Only what lies between the set's best values and the reference can change.
        beside_FM = np.maximum(front_FM, best_CM[index])
        gains_C[index] = volume(np.concatenate([beside_FM, sets_CGM[index]])) - volume(beside_FM)
    return gains_C
