"""What a sweep has found: trials, points, the front of those that count, and the points that have names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from orchestrator.config import Config, Fingerprints
from orchestrator.errors import ConfigError
from orchestrator.results.points import POINT_NAME, Point, TrialState
from orchestrator.results.repeats import mean_points
from orchestrator.search import Constraint, pareto

ROLES = ("best", "knee")
TOLERANCE = 0.005  # of the first objective: what best gives for a better second one, half a point of an accuracy
REUSE = ("calibrated_reuse_accuracy", "reuse_accuracy")


@dataclass(frozen=True)
class Sweep:
    """A sweep as its tables record it; ``fingerprints`` are those of its data, method, weights and own code."""

    sweep_id: str
    config: Config
    trials: list[TrialState]
    points: list[Point]
    fingerprints: Fingerprints = field(default_factory=dict)

    @cached_property
    def candidates(self) -> list[Point]:
        """The points from which the front is chosen; with ``search.repeats`` these are means over the seeds."""
        search = self.config.search
        return self.points if search.repeats == 1 else mean_points(self.points, search.repeats, list(search.objectives))

    def set_of(self, trial: TrialState) -> int:
        """Return the number of a trial's set of coefficients; every set is trained ``search.repeats`` times."""
        return trial.number // self.config.search.repeats

    def values(self, points: Sequence[Point]) -> list[list[float]]:
        """Return the objectives of points, in order.

        Raises:
            ConfigError: a point that was measured before there was such a metric.
        """
        return [[_metric(point, name) for name in self.config.search.objectives] for point in points]

    @cached_property
    def feasible(self) -> list[Point]:
        """The points that meet every constraint."""
        asked = [Constraint.parse(text) for text in self.config.search.constraints]
        return [point for point in self.candidates if all(one.met(_metric(point, one.metric)) for one in asked)]

    @property
    def broken(self) -> str:
        """A text that says how many points violate each constraint; empty without constraints."""
        found = []
        for text in self.config.search.constraints:
            asked = Constraint.parse(text)
            count = sum(not asked.met(_metric(point, asked.metric)) for point in self.candidates)
            found.append(f"{count} of {len(self.candidates)} points violate {text}")
        return ", ".join(found)

    @property
    def why_no_front(self) -> str:
        """A message that says why the front is empty, and what to do."""
        if not self.candidates:
            repeats = self.config.search.repeats
            wanted = "a trial" if repeats == 1 else f"all {repeats} trainings of a set of coefficients"
            return f"sweep {self.sweep_id!r} has no points yet; let {wanted} finish first"
        best = []
        for text in self.config.search.constraints:
            asked = Constraint.parse(text)
            values = [_metric(point, asked.metric) for point in self.candidates]
            best.append(f"{asked.metric} reaches {max(values) if asked.at_least else min(values):.4g}")
        return (
            f"sweep {self.sweep_id!r}: no point meets search.constraints: {self.broken} ({', '.join(best)});"
            " loosen them or train more trials"
        )

    @property
    def coefficient_names(self) -> list[str]:
        """The names of the coefficients of all trials; a baseline need not set every dimension of the space."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.coefficients))

    @property
    def directions(self) -> list[str]:
        """The directions of the objectives."""
        return list(self.config.search.objectives.values())

    @property
    def reuse_metric(self) -> str:
        """The reuse accuracy that is shown: the calibrated one, unless only the other is an objective."""
        named = [name for name in REUSE if name in self.config.search.objectives]
        return (named or REUSE)[0]

    def count(self, status: str) -> int:
        """Return how many trials have this status."""
        return sum(trial.status == status for trial in self.trials)

    @property
    def finished_text(self) -> str:
        """A text that says how many trials finished: ``5 of 12 trials finished, 7 stopped early``."""
        stopped = f", {self.count('stopped')} stopped early" if self.count("stopped") else ""
        return f"{self.count('finished')} of {len(self.trials)} trials finished{stopped}"

    @cached_property
    def front(self) -> list[Point]:
        """The feasible points that no other point dominates on validation, sorted by the last objective. Of equal
        points the first one stays.
        """
        points = self.feasible
        if not points:
            return []
        mask = pareto.on_front(self.values(points), self.directions)
        chosen: dict[tuple[float, ...], Point] = {}
        for index in np.flatnonzero(mask):
            chosen.setdefault(tuple(self.values([points[index]])[0]), points[index])
        last = list(self.config.search.objectives)[-1]
        return sorted(chosen.values(), key=lambda point: point.metrics[last])

    @property
    def hypervolume(self) -> float:
        """The hypervolume of the feasible validation points, up to the configured reference point."""
        reference = [self.config.search.reference[name] for name in self.config.search.objectives]
        return pareto.hypervolume(self.values(self.feasible), self.directions, reference)

    @cached_property
    def roles(self) -> dict[str, list[str]]:
        """The labels of the points of the front that are best and knee, each with its roles. One point may be both."""
        return by_label(self.find) if self.front else {}

    def mark(self, point: Point) -> str:
        """Return how a point is marked in lists: ``best``, ``knee``, ``best, knee`` or an empty text."""
        return ", ".join(self.roles.get(point.label, ()))

    def find(self, name: str) -> Point:
        """Return the point called ``best``, ``knee``, ``<trial>/<tau>/<threshold>`` or ``<trial>/<level>``.

        Raises:
            ConfigError: no such point.
        """
        front = self.front
        if not self.candidates or (not front and name in ROLES):
            raise ConfigError(self.why_no_front)
        if name == "best":
            first = next(iter(self.config.search.objectives))
            errors = [point.error(first) for point in front]
            return front[pareto.best(self.values(front), self.directions, errors, tolerance=TOLERANCE)]
        if name == "knee":
            return front[pareto.knee(self.values(front), self.directions)]
        found = [point for point in (*self.candidates, *self.points) if point.label == name]
        if not found:
            known = (front or self.points)[0].label
            raise ConfigError(f"{name}: no such point; use best, knee, or {POINT_NAME} such as {known}")
        return found[0]


def by_label(find: Callable[[str], Point]) -> dict[str, list[str]]:
    """Return the labels of the points that are best and knee, each with its roles."""
    found: dict[str, list[str]] = {}
    for role in ROLES:
        found.setdefault(find(role).label, []).append(role)
    return found


def _metric(point: Point, name: str) -> float:
    if name not in point.metrics:
        raise ConfigError(f"point {point.label} was measured before the metric {name} existed; choose another metric")
    return point.metrics[name]
