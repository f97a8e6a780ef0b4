"""Dominance, hypervolume, and the points that people ask for by name. Pure functions of arrays.

Shapes: P points, M metrics. Directions are "max" or "min", one a metric. Infinite values are allowed and compare as
such; NaN is refused.
"""

from collections.abc import Sequence

import moocore
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def on_front(values_PM: npt.ArrayLike, directions: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which points no other point dominates; of equal points every one counts."""
    costs_PM = as_costs(values_PM, directions)
    if len(costs_PM) == 0:
        return np.zeros(0, dtype=bool)
    mask: npt.NDArray[np.bool_] = moocore.is_nondominated(costs_PM, keep_weakly=True)
    return mask


def hypervolume(values_PM: npt.ArrayLike, directions: Sequence[str], reference_M: Sequence[float]) -> float:
    """The volume that the points dominate, up to the reference point (a value a metric, in its own units)."""
    costs_PM = as_costs(values_PM, directions)
    reference = as_costs([list(reference_M)], directions)[0]
    costs_PM = costs_PM[(costs_PM < reference).all(1)]
    return float(moocore.hypervolume(costs_PM, ref=reference)) if len(costs_PM) else 0.0


def knee(values_PM: npt.ArrayLike, directions: Sequence[str]) -> int:
    """The point of the front farthest from the chord (for M metrics, the plane) through the front's extremes.

    Metrics are scaled to the front's own range first. Ties go to the lowest index; of no points there is no knee.
    """
    costs_PM = as_costs(values_PM, directions)
    front = np.flatnonzero(on_front(values_PM, directions))
    if len(front) == 0:
        raise ValueError("there are no points, so there is no knee")
    costs = costs_PM[front]
    low, high = costs.min(0), costs.max(0)
    scaled = (costs - low) / np.where(high > low, high - low, 1.0)
    return int(front[np.argmin(scaled.sum(1))])  # the plane through the unit points is sum = 1


def best(values_PM: npt.ArrayLike, directions: Sequence[str], errors_P: npt.ArrayLike) -> int:
    """The one-standard-error choice: of the front's points whose first metric is within one standard error of its best,
    the one that is best in the second metric.

    Args:
        values_PM: the points.
        directions: of the metrics.
        errors_P: standard error of each point's first metric.
    """
    costs_PM = as_costs(values_PM, directions)
    errors = np.asarray(errors_P, dtype=np.float64)
    front = np.flatnonzero(on_front(values_PM, directions))
    if len(front) == 0:
        raise ValueError("there are no points, so there is no best one")
    top = front[np.argmin(costs_PM[front, 0])]
    near = front[costs_PM[front, 0] <= costs_PM[top, 0] + errors[top]]
    return int(near[np.lexsort((costs_PM[near, 0], costs_PM[near, 1]))[0]])


def as_costs(values_PM: npt.ArrayLike, directions: Sequence[str]) -> Floats:
    """The values with every metric turned so that less is better.

    Raises:
        ValueError: NaN, an unknown direction, or another number of metrics than directions.
    """
    values = np.asarray(values_PM, dtype=np.float64)
    if wrong := [one for one in directions if one not in ("max", "min")]:
        raise ValueError(f"directions {wrong} are not known; known: max, min")
    if values.size == 0:
        return np.empty((0, len(directions)))
    if values.ndim != 2 or values.shape[1] != len(directions):
        raise ValueError(f"values of shape {values.shape} do not have {len(directions)} metrics a point")
    if np.isnan(values).any():
        raise ValueError(f"points {np.flatnonzero(np.isnan(values).any(1)).tolist()} hold NaN; leave them out")
    costs: Floats = np.where([one == "max" for one in directions], -values, values)
    return costs
