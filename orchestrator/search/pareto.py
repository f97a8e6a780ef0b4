"""Dominance, hypervolume, and the points that people ask for by name. Pure functions of arrays.

Shapes: P points, M metrics. Directions are "max" or "min", one a metric. NaN is refused.

Infinite values compare as such; values beyond a quarter of float64's range count as infinite. A point that is
infinitely bad in one metric can be on the front by another, but no reference point lies behind it, so that it has no
volume. A point inside the reference that is infinitely good in one metric has an infinite volume. moocore is never
given an infinite value: with three or more metrics it crashes on them.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

LARGEST = np.finfo(np.float64).max / 4  # a difference of two such values is still finite


def on_front(values_PM: npt.ArrayLike, directions: Sequence[str]) -> Mask:
    """Return which points no other point dominates; of equal points every one counts."""
    return _front(as_costs(values_PM, directions))


def ranks(values_PM: npt.ArrayLike, directions: Sequence[str]) -> npt.NDArray[np.int64]:
    """Sort points by non-domination (Deb et al. 2002): 0 on the front, 1 on the front of the remaining points, and so
    on.
    """
    costs_PM = as_costs(values_PM, directions)
    if len(costs_PM) == 0:
        return np.zeros(0, dtype=np.int64)
    import moocore

    found: npt.NDArray[np.int64] = moocore.pareto_rank(_comparable(costs_PM)).astype(np.int64)
    return found


def hypervolume(values_PM: npt.ArrayLike, directions: Sequence[str], reference_M: Sequence[float]) -> float:
    """Return the volume that the points dominate, up to the reference point (one value per metric, in its own units).

    0 without a point that is better than the reference in every metric; infinite with one that is infinitely good.

    Raises:
        ValueError: as :func:`as_costs`, or a reference that is not finite.
    """
    costs_PM, limit_M = as_costs(values_PM, directions), as_limit(reference_M, directions)
    costs_PM = costs_PM[(costs_PM < limit_M).all(1)]
    if not np.isfinite(costs_PM).all():
        return float("inf")
    if len(costs_PM) == 0:
        return 0.0
    import moocore

    return float(moocore.hypervolume(costs_PM, ref=limit_M))


def contributions(values_PM: npt.ArrayLike, directions: Sequence[str], reference_M: Sequence[float]) -> Floats:
    """Return the hypervolume that would be lost without each point.

    0 for dominated points, for those not better than the reference in every metric, and for equal points, each of which
    stands for the other. A dominated point counts where it would come to the front: it lessens what is lost without the
    one point that dominates it. Infinite for a point of the front that is infinitely good. Takes O(P log P) for two
    metrics; for more the hypervolume is computed once for each point of the first two fronts.

    Raises:
        ValueError: as :func:`hypervolume`.
    """
    costs_PM, limit_M = as_costs(values_PM, directions), as_limit(reference_M, directions)
    found_P = np.zeros(len(costs_PM))
    inside = np.flatnonzero((costs_PM < limit_M).all(1))
    front = _front(costs_PM[inside])
    behind = np.flatnonzero(~front)[_front(costs_PM[inside[~front]])]
    near = inside[np.concatenate([np.flatnonzero(front), behind])]  # the others never come to the front
    if len(near) == 0:
        return found_P
    bounded_PM = bounded(costs_PM[near], limit_M)
    if len(limit_M) == 1:  # moocore wants two metrics
        bounded_PM, limit_M = np.pad(bounded_PM, ((0, 0), (0, 1))), np.append(limit_M, 1.0)
    import moocore

    lost_P = moocore.hv_contributions(bounded_PM, ref=limit_M, ignore_dominated=len(behind) == 0)
    lost_P = np.maximum(lost_P, 0.0)  # differences of volumes round
    alone_P = _alone(costs_PM[near]) & (np.arange(len(near)) < front.sum())
    found_P[near] = np.where(alone_P, np.where(np.isinf(costs_PM[near]).any(1), np.inf, lost_P), 0.0)
    return found_P


def knee(values_PM: npt.ArrayLike, directions: Sequence[str]) -> int:
    """Return the point of the front farthest from the chord (for M metrics, the plane) through the front's extremes.

    Metrics are scaled to the front's own range first. Points with an infinite value have no place in it: they are
    chosen only where there are no others. Ties go to the lowest index; of no points there is no knee.
    """
    costs_PM = as_costs(values_PM, directions)
    front = np.flatnonzero(on_front(values_PM, directions))
    if len(front) == 0:
        raise ValueError("there are no points, so there is no knee")
    finite = front[np.isfinite(costs_PM[front]).all(1)]
    if len(finite) == 0:
        return int(front[0])
    costs = costs_PM[finite]
    low, high = costs.min(0), costs.max(0)
    scaled = (costs - low) / np.where(high > low, high - low, 1.0)
    return int(finite[np.argmin(scaled.sum(1))])  # the plane through the unit points is sum = 1


def best(
    values_PM: npt.ArrayLike, directions: Sequence[str], errors_P: npt.ArrayLike, *, tolerance: float = 0.0
) -> int:
    """Return the one-standard-error choice: of the front's points whose first metric is within one standard error of
    its best, or within the tolerance where that is more, the one that is best in the second metric.

    Args:
        values_PM: the points.
        directions: of the metrics.
        errors_P: standard error of each point's first metric; infinite where it is not known at all.
        tolerance: of the first metric, in its own unit.
    """
    costs_PM = as_costs(values_PM, directions)
    errors = np.asarray(errors_P, dtype=np.float64)
    if not (errors >= 0).all():
        raise ValueError(f"standard errors of points {np.flatnonzero(~(errors >= 0)).tolist()} are not at least 0")
    front = np.flatnonzero(on_front(values_PM, directions))
    if len(front) == 0:
        raise ValueError("there are no points, so there is no best one")
    top = front[np.argmin(costs_PM[front, 0])]
    limit = np.inf if np.isinf(errors[top]) else costs_PM[top, 0] + max(errors[top], tolerance)
    near = front[costs_PM[front, 0] <= limit]
    return int(near[np.lexsort((costs_PM[near, 0], costs_PM[near, 1]))[0]])


def as_costs(values_PM: npt.ArrayLike, directions: Sequence[str]) -> Floats:
    """Return the values with the sign of every metric chosen so that less is better.

    Raises:
        ValueError: NaN, an unknown direction, or another number of metrics than directions.
    """
    values = np.asarray(values_PM, dtype=np.float64)
    if wrong := [direction for direction in directions if direction not in ("max", "min")]:
        raise ValueError(f"directions {wrong} are not known; known: max, min")
    if values.size == 0:
        return np.empty((0, len(directions)))
    if values.ndim != 2 or values.shape[1] != len(directions):
        raise ValueError(f"values of shape {values.shape} do not have {len(directions)} metrics per point")
    if np.isnan(values).any():
        raise ValueError(f"points {np.flatnonzero(np.isnan(values).any(1)).tolist()} hold NaN; leave them out")
    costs: Floats = np.where([direction == "max" for direction in directions], -values, values)
    costs[np.abs(costs) > LARGEST] *= np.inf
    costs += 0.0  # no negative zeros
    return costs


def as_limit(reference_M: Sequence[float], directions: Sequence[str]) -> Floats:
    """Return the reference point as costs.

    Raises:
        ValueError: a value that is not finite, or another number of values than directions.
    """
    if len(reference_M) != len(directions):
        raise ValueError(f"reference {list(reference_M)} must have a value for each of {len(directions)} metrics")
    if not (np.abs(np.asarray(reference_M, dtype=np.float64)) <= LARGEST).all():
        raise ValueError(f"reference {list(reference_M)} must be finite; name the worst value that still counts")
    limit_M: Floats = as_costs([list(reference_M)], directions)[0]
    return limit_M


def bounded(costs_PM: Floats, limit_M: Floats) -> Floats:
    """Costs below the limit with finite stand-ins, better than every other value, for those that are minus infinity.

    Dominance stays, and so does the volume that any finite point adds to others.
    """
    low_M = np.min(costs_PM, axis=0, where=np.isfinite(costs_PM), initial=np.inf)
    low_M = np.where(np.isfinite(low_M), low_M, limit_M - 1.0)
    stand_in_M = np.minimum(low_M - (limit_M - low_M), np.nextafter(low_M, -np.inf))
    stood_in_PM: Floats = np.where(np.isinf(costs_PM), stand_in_M, costs_PM)
    return stood_in_PM


def _front(costs_PM: Floats) -> Mask:
    if len(costs_PM) == 0:
        return np.zeros(0, dtype=bool)
    import moocore

    mask: Mask = moocore.is_nondominated(_comparable(costs_PM), keep_weakly=True)
    return mask


def _comparable(costs_PM: Floats) -> Floats:
    """Finite values in the same order: each metric's dense ranks where a value is infinite."""
    if np.isfinite(costs_PM).all():
        return costs_PM
    return np.stack([np.unique(column, return_inverse=True)[1] for column in costs_PM.T], axis=1).astype(np.float64)


def _alone(costs_PM: Floats) -> Mask:
    """Which points have no equal."""
    _, places_P, counts = np.unique(costs_PM, axis=0, return_inverse=True, return_counts=True)
    mask: Mask = counts[places_P] == 1
    return mask
