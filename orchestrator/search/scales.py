"""The scales of objectives: where a metric's value lies when points are compared by how far apart they are.

Dominance looks at the order of values alone, and constraints at the values themselves. Hypervolumes, the knee and
searchers look at distances, which people judge by ratio for sizes and operations ("24 times fewer weights"): on the
logarithmic scale equal ratios are equal distances. The unit of a metric cancels there: multiplying its values and its
reference by one factor changes no distance.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LINEAR, LOGARITHMIC = "linear", "log"
SCALES = (LINEAR, LOGARITHMIC)
LEAST_MISSING = 0.02  # what is missing to 1 counts from there on, so that nothing missing is finite
FLOOR = 1e-6  # on the logarithmic scale smaller values lie where this one does, so that 0 is finite


def scaled(values: npt.ArrayLike, scales: Sequence[str]) -> Floats:
    """Return where values lie on the scales of their metrics: the value itself, or its decimal logarithm.

    On the logarithmic scale every value below :data:`FLOOR` lies where the floor does. The order of values never turns;
    infinite values and NaN stay what they are.

    Args:
        values: (..., M) values of M metrics, in the metrics' own units.
        scales: ``linear`` or ``log`` for each of the M metrics.

    Raises:
        ValueError: an unknown scale, or another number of metrics than scales.
    """
    if unknown := [scale for scale in scales if scale not in SCALES]:
        raise ValueError(f"scales {unknown} are not known; known: {', '.join(SCALES)}")
    places = np.array(values, dtype=np.float64)
    if places.size == 0:
        return places
    if places.shape[-1] != len(scales):
        raise ValueError(f"values of shape {places.shape} do not have {len(scales)} metrics per point")
    for index, scale in enumerate(scales):
        if scale == LOGARITHMIC:
            places[..., index] = np.log10(np.maximum(places[..., index], FLOOR))
    return places


def unscaled(places: npt.ArrayLike, scales: Sequence[str]) -> Floats:
    """Return the values, in the metrics' own units, that lie at (..., M) places on their scales."""
    values = np.array(places, dtype=np.float64)
    for index, scale in enumerate(scales):
        if scale == LOGARITHMIC:
            values[..., index] = 10.0 ** values[..., index]
    return values


def scaled_reference(
    reference_M: Sequence[float | None], scales: Sequence[str], directions: Sequence[str], places_PM: npt.ArrayLike
) -> Floats:
    """Return a reference point on the scales of its metrics. Where it states no value it is the worst place of the
    points; without points 0, which nothing is compared with.

    Args:
        reference_M: the worst values that still count, in the metrics' own units; None where there is none.
        scales: of the metrics.
        directions: ``max`` or ``min`` for each metric.
        places_PM: the points that it is for, on the scales.
    """
    places = np.asarray(places_PM, dtype=np.float64).reshape(-1, len(directions))
    worst_M = np.zeros(len(directions))
    if len(places):
        worst_M = np.where([direction == "max" for direction in directions], places.min(0), places.max(0))
    stated_M = [np.nan if value is None else value for value in reference_M]
    placed_M = scaled(stated_M, scales)
    return np.where(np.isnan(placed_M), worst_M, placed_M)


def modelled(places_V: Floats, is_share_V: npt.NDArray[np.bool_]) -> Floats:
    """Return (..., V) values as models are fitted to them: shares of what is right by the logarithm of what is missing
    to 1.

    From 0.98 to 0.99 right half of the errors go, from 0.58 to 0.59 hardly any; and where training ruins a network, how
    much it does matters little. Models that see shares so predict trainings better that they have not seen
    (docs/results.md, "Searchers on emulated trainings").
    """
    missing_V = np.maximum(1.0 - places_V, 0.0) + LEAST_MISSING
    return np.where(is_share_V, -np.log(missing_V), places_V)


def not_modelled(modelled_V: Floats, is_share_V: npt.NDArray[np.bool_]) -> Floats:
    """Return the values that :func:`modelled` takes."""
    return np.where(is_share_V, 1.0 + LEAST_MISSING - np.exp(-modelled_V), modelled_V).clip(
        max=np.where(is_share_V, 1.0, np.inf)
    )
