"""What a sweep has found: trials, points, the front of those that count, and the points that have names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from orchestrator.config import METHOD, Config, Fingerprints, meant
from orchestrator.declarations import MARGIN, STAGES
from orchestrator.errors import ConfigError
from orchestrator.results.points import POINT_NAME, Point, TrialState
from orchestrator.results.reference_point import BaselineReference, derive_reference
from orchestrator.results.repeats import mean_points
from orchestrator.search import Constraint, Status, pareto, scaled

ROLES = ("best", "knee")
TOLERANCE = 0.005  # of the first objective: what best gives for a better second one, half a point of an accuracy
REUSE = ("calibrated_reuse_accuracy", "reuse_accuracy")
NO_HYPERVOLUME = "—"


@dataclass(frozen=True)
class Sweep:
    """A sweep as its tables record it.

    Attributes:
        staged: points whose modules were refitted or tuned after cutting, beside the others.
        fingerprints: of its data, method, weights and own code.
        frozen: the reference values that it has recorded, once a standard training had finished.
    """

    sweep_id: str
    config: Config
    trials: list[TrialState]
    points: list[Point]
    fingerprints: Fingerprints = field(default_factory=dict)
    frozen: BaselineReference | None = None
    staged: list[Point] = field(default_factory=list)

    def with_stages(self, stages: Sequence[str]) -> "Sweep":
        """Return the sweep with the points of some stages among its points: on the front, if nothing dominates them.

        Their reuse accuracy is over a few subsets of 2, 5 and all classes, that of other points over all sizes.

        Raises:
            ConfigError: an unknown stage.
        """
        for stage in stages:
            if stage not in STAGES:
                raise ConfigError(f"--stages {stage}: not known; known: {', '.join(STAGES)}")
        asked = [point for point in self.staged if point.stage in stages]
        return replace(self, points=[*self.points, *asked])

    @cached_property
    def candidates(self) -> list[Point]:
        """The points from which the front is chosen; with ``search.repeats`` these are means over the seeds."""
        search = self.config.search
        return self.points if search.repeats == 1 else mean_points(self.points, search.repeats, list(search.objectives))

    def set_of(self, trial: TrialState) -> int:
        """Return the number of a trial's set of coefficients; every set is trained ``search.repeats`` times."""
        return trial.number // self.config.search.repeats

    def values(self, points: Sequence[Point]) -> list[list[float]]:
        """Return the objectives of points, in order and in the metrics' own units.

        Raises:
            ConfigError: a point that was measured before there was such a metric.
        """
        return [[_metric(point, name) for name in self.config.search.objectives] for point in points]

    def scaled_values(self, points: Sequence[Point]) -> list[list[float]]:
        """Return the objectives of points, in order and on their scales: where distances are compared.

        Raises:
            ConfigError: as :meth:`values`.
        """
        places: list[list[float]] = scaled(self.values(points), self.config.search.scales).tolist()
        return places

    @cached_property
    def feasible(self) -> list[Point]:
        """The points that meet every constraint; none where there are no validation images to judge them by."""
        if not self.config.data.has_validation:
            return []
        asked = [Constraint.parse(text) for text in self.config.search.constraints]
        return [
            point
            for point in self.candidates
            if all(constraint.met(_metric(point, constraint.metric)) for constraint in asked)
        ]

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
        if not self.config.data.has_validation and self.points:
            return (
                f"sweep {self.sweep_id!r} has no validation images (data.validation_fraction=0), so nothing is chosen:"
                f" name a point, such as {self.points[0].label}, or train with data.validation_fraction=0.2"
            )
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
        return self.config.search.directions

    @property
    def reuse_metric(self) -> str:
        """The reuse accuracy that is shown: the calibrated one, unless only the other is an objective."""
        named = [name for name in REUSE if name in self.config.search.objectives]
        return (named or REUSE)[0]

    def count(self, status: Status) -> int:
        """Return how many trials have this status."""
        return sum(trial.status == status for trial in self.trials)

    @property
    def is_over(self) -> bool:
        """Whether all trials that were asked for are over, and the front is measured on test."""
        return self.is_settled and not self.count(Status.FAILED)

    @property
    def is_settled(self) -> bool:
        """Whether the command that runs the sweep has come to its end: likewise, but trials may have failed, which the
        next one trains again.
        """
        ended = [trial for trial in self.trials if trial.is_over or trial.status == Status.FAILED]
        is_trained = len(ended) == len(self.trials) >= self.config.sweep.trials
        return is_trained and all(point.test is not None for point in self.front)

    @property
    def finished_text(self) -> str:
        """A text that says how many trials finished: ``5 of 12 trials finished, 7 stopped early``."""
        stopped = f", {self.count(Status.STOPPED)} stopped early" if self.count(Status.STOPPED) else ""
        return f"{self.count(Status.FINISHED)} of {len(self.trials)} trials finished{stopped}"

    @cached_property
    def front(self) -> list[Point]:
        """The feasible points that no other point dominates on validation, sorted by the last objective. Of equal
        points the first one stays.
        """
        return self._front_of(self.feasible)

    @cached_property
    def method_fronts(self) -> dict[str, list[Point]]:
        """The front of each method's points alone; none in a sweep of one method."""
        return {
            method: self._front_of([point for point in self.feasible if self.method_of(point.trial) == method])
            for method in self.config.search.methods
        }

    def method_of(self, trial: TrialState) -> str:
        """Return the name of a trial's method."""
        return str(trial.coefficients[METHOD] if self.config.search.methods else self.config.method.name)

    def _front_of(self, points: list[Point]) -> list[Point]:
        if not points:
            return []
        mask = pareto.on_front(self.values(points), self.directions)
        chosen: dict[tuple[float, ...], Point] = {}
        for index in np.flatnonzero(mask):
            chosen.setdefault(tuple(self.values([points[index]])[0]), points[index])
        last = list(self.config.search.objectives)[-1]
        return sorted(chosen.values(), key=lambda point: point.metrics[last])

    @cached_property
    def baseline_reference(self) -> BaselineReference | None:
        """The reference values that follow from the first standard training, as they were recorded; where they are not
        yet, as they would be. None before one has finished.
        """
        if self.frozen is None:
            return derive_reference(self.config, self.points)
        derived = derive_reference(self.config, self.points, self.frozen.trial_id)  # of metrics that are newer
        values = derived.values if derived else {}
        return BaselineReference(self.frozen.trial_id, {**values, **self.frozen.values})

    @cached_property
    def reference(self) -> dict[str, float | None]:
        """The hypervolume's reference point by objective, in the metrics' own units: what is stated, else what follows
        from the baseline, and None before that is known.
        """
        search, baseline = self.config.search, self.baseline_reference
        return dict(zip(search.objectives, search.reference_values(baseline.values if baseline else {}), strict=True))

    def is_below(self, point: Point) -> bool:
        """Whether a point is worse than the reference in an objective, so that it adds nothing to the hypervolume."""
        for (name, objective), reference in zip(
            self.config.search.objectives.items(), self.reference.values(), strict=True
        ):
            value = point.metrics[name]
            if reference is not None and (value < reference if objective.direction == "max" else value > reference):
                return True
        return False

    @property
    def hypervolume(self) -> float | None:
        """The hypervolume of the feasible validation points up to the reference point, on the objectives' scales; None
        before the reference point is known.
        """
        return self.hypervolume_of(self.values(self.feasible))

    def hypervolume_of(self, values_PM: npt.ArrayLike) -> float | None:
        """Return the hypervolume of other points, as this sweep measures it: (P, M) values of its objectives, in the
        metrics' own units; None before the reference point is known.
        """
        known = [value for value in self.reference.values() if value is not None]
        if len(known) < len(self.reference):
            return None
        scales = self.config.search.scales
        return pareto.hypervolume(scaled(values_PM, scales), self.directions, scaled(known, scales).tolist())

    @property
    def hypervolume_text(self) -> str:
        """The hypervolume for people, with four digits; where there is none, why."""
        volume = self.hypervolume
        return f"{NO_HYPERVOLUME} ({self.why_no_hypervolume})" if volume is None else f"{volume:.4f}"

    @property
    def why_no_hypervolume(self) -> str:
        """A text that says why there is no hypervolume; empty if there is one."""
        missing = [name for name, value in self.reference.items() if value is None]
        if not missing:
            return ""
        return (
            f"no standard training has finished, from which the reference value of {missing[0]} follows; let one"
            f" finish, or state search.reference.{missing[0]}"
        )

    @cached_property
    def roles(self) -> dict[str, list[str]]:
        """The labels of the points of the front that are best and knee, each with its roles. One point may be both."""
        return by_label(self.find) if self.front else {}

    def mark(self, point: Point) -> str:
        """Return how a point is marked in lists: ``best``, ``knee``, ``best, knee`` or an empty text."""
        return ", ".join(self.roles.get(point.label, ()))

    def find(self, name: str) -> Point:
        """Return the point called ``best``, ``knee``, ``<trial>/<tau>/<threshold>``, ``<trial>/<level>`` or
        ``<trial>/size/<target>``.

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
            return self.knee_of(front)
        found = [point for point in (*self.candidates, *self.points) if point.label == name]
        for point in self.staged:
            if not found and point.label == name:
                raise ConfigError(point.why_no_set)
        if not found:
            known = (front or self.points)[0].label
            labels = [*ROLES, *(point.label for point in (*front, *self.candidates))]
            raise ConfigError(
                f"{name}: no such point; use best, knee, or {POINT_NAME} such as {known}{meant(name, labels)}"
            )
        return found[0]

    def knee_of(self, points: Sequence[Point]) -> Point:
        """Return the knee of points, on the objectives' scales: of the accurate ones, where there are any."""
        near = [point for point in points if self._is_accurate(point)] or points
        return near[pareto.knee(self.scaled_values(near), self.directions)]

    def _is_accurate(self, point: Point) -> bool:
        """Whether a point is within the reference values that follow from a baseline; before there is one, within those
        that would follow from the point's own whole network. What is stated is for the hypervolume alone.
        """
        for name, stated in zip(self.config.search.objectives, self.config.search.reference_values({}), strict=True):
            baseline = self.config.metrics[name].baseline
            if stated is None and baseline in point.metrics:
                reference = self.reference[name]
                floor = point.metrics[baseline] - MARGIN if reference is None else reference
                if _metric(point, name) < floor:
                    return False
        return True


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
