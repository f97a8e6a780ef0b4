"""Points of a sweep that trains every set of coefficients several times: means over the seeds at each free choice."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from orchestrator.results.points import Point, deviation


def mean_points(points: Sequence[Point], repeats: int, objectives: Sequence[str]) -> list[Point]:
    """Return one point for each set of coefficients and choice that all ``repeats`` trainings of the set have.

    Its metrics are means over the trainings (on test where all were measured), its trial is the one nearest to the mean
    in the objectives, each in standard deviations; of equally near ones the first.

    Args:
        points: of single trainings; training n belongs to set n // repeats.
        repeats: trainings of a set.
        objectives: names of metrics.
    """
    groups: dict[tuple[object, ...], list[Point]] = {}
    for point in points:
        groups.setdefault((point.trial.number // repeats, point.choice, point.stage), []).append(point)
    return [_mean_point(group, objectives) for group in groups.values() if len(group) == repeats]


def _mean_point(group: Sequence[Point], objectives: Sequence[str]) -> Point:
    means = _means([point.metrics for point in group])
    tests = [point.test for point in group if point.test is not None]

    def distance(point: Point) -> float:
        spreads = {name: deviation([other.metrics[name] for other in group]) or 1.0 for name in objectives}
        away = [(point.metrics[name] - means[name]) / spreads[name] for name in objectives]
        return round(math.hypot(*away), 9)  # two seeds are equally near, but for rounding

    nearest = min(sorted(group, key=lambda point: point.trial.number), key=distance)
    test = _means(tests) if len(tests) == len(group) else None
    return dataclasses.replace(nearest, metrics=means, test=test, over=tuple(group))


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of the metrics that every row has."""
    names = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in names}
