"""The section `search` of the configuration: the space, the objectives and the searcher."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from orchestrator.config.checks import EXACT, MOST, check, check_seed, one_of
from orchestrator.config.mixed import METHOD, MethodSettings, method_and_key
from orchestrator.declarations import METRICS, NUMBER, OBJECTIVES, Key, Metric
from orchestrator.errors import ConfigError
from orchestrator.search import FLOOR, LINEAR, LOGARITHMIC, POOLS, SCALES, SEARCHERS, Constraint, rungs

DIRECTIONS = ("max", "min")
MOST_OBJECTIVES = 4
EARLY_STOPPING = ("none", "pareto_halving")


@dataclass(frozen=True)
class Dimension:
    """One dimension of the search space: from low to high, or one of a few choices, all numbers or all text.

    A logarithmic one of real numbers may have a zero of its own.
    """

    low: Annotated[float | None, Key("lowest value; above 0 with log: true")] = None
    high: Annotated[float | None, Key("highest value")] = None
    log: Annotated[bool, Key("whether values are compared by their ratio")] = False
    integer: Annotated[bool, Key("whether values are whole numbers")] = False
    zero: Annotated[bool, Key("whether 0 belongs to a logarithmic dimension")] = False
    choices: Annotated[
        tuple[int | float | str, ...] | None, Key("instead of all these: two or more numbers, or texts")
    ] = None

    @property
    def stated(self) -> dict[str, Any]:
        """As :class:`~orchestrator.search.Problem` states it."""
        if self.choices is not None:
            return {"choices": list(self.choices)}
        stated = {"low": self.low, "high": self.high, "log": self.log, "integer": self.integer}
        return {**stated, "zero": True} if self.zero else stated  # as before there were zeros

    @property
    def ends(self) -> tuple[Any, Any]:
        """The lowest and the highest value, or the first and the last choice."""
        if self.choices is not None:
            return self.choices[0], self.choices[-1]
        assert self.low is not None
        assert self.high is not None
        if self.integer:
            return int(self.low), int(self.high)
        return 0.0 if self.zero else self.low, self.high

    @property
    def between(self) -> tuple[Any, ...]:
        """The other values that are of a kind of their own: the other choices, or the low end beside a zero."""
        if self.choices is not None:
            return self.choices[1:-1]
        return (self.low,) if self.zero else ()

    @property
    def is_text(self) -> bool:
        """Whether its values are text."""
        return self.choices is not None and isinstance(self.choices[0], str)

    def check(self, key: str) -> None:
        """Refuse what is not a dimension.

        Raises:
            ConfigError: ends that are missing or the wrong way round, or fewer than two different choices.
        """
        if self.choices is not None:
            check(
                f"{key}.choices",
                list(self.choices),
                len(self.choices) == len(set(self.choices)) > 1,
                "two or more, all different",
            )
            kinds = {isinstance(choice, str) for choice in self.choices}
            check(f"{key}.choices", list(self.choices), len(kinds) == 1, "all numbers or all text")
            largest = max((abs(choice) for choice in self.choices if isinstance(choice, int)), default=0)
            check(f"{key}.choices", list(self.choices), largest <= EXACT, "whole numbers of at most 2^53")
            rest = {name: getattr(self, name) for name in ("low", "high", "log", "integer", "zero")}
            given = {name: value for name, value in rest.items() if value is not None and value is not False}
            drop = " ".join(f"~{key}.{name}" for name in given)
            check(key, given, not given, f"choices alone; remove the other keys ({drop})")
            return
        if self.low is None or self.high is None:
            raise ConfigError(f"{key}: low={self.low} high={self.high}; give both, or choices")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"{key}: low={self.low} high={self.high}; low must be below high")
        remedy = "above 0 on a logarithmic scale; zero: true adds 0 itself"
        check(f"{key}.low", self.low, self.low > 0 or not self.log, remedy)
        has_axis = self.log and not self.integer
        remedy = "false but for log: true without integer: true; elsewhere low may be 0"
        check(f"{key}.zero", self.zero, has_axis or not self.zero, remedy)
        is_integer = self.low == int(self.low) and self.high == int(self.high)
        is_integer &= max(abs(self.low), abs(self.high)) <= EXACT
        check(
            key, f"{self.low} to {self.high}", is_integer or not self.integer, "between whole numbers of at most 2^53"
        )


@dataclass(frozen=True)
class Objective:
    """What is better of a metric, and on which scale its values are compared: ``linear`` or ``log``.

    The scale is None only until it is known what a user's own metric declares.
    """

    direction: Annotated[str, Key("what is better", choices=DIRECTIONS)]
    scale: Annotated[str | None, Key("how values are compared; null: as the metric declares", choices=SCALES)] = None

    @property
    def is_logarithmic(self) -> bool:
        """Whether its scale, and its axis, are logarithmic."""
        return self.scale == LOGARITHMIC

    def completed(self, metric: Metric) -> "Objective":
        """Return it with the scale that the metric declares, where it states none."""
        return self if self.scale else Objective(self.direction, LOGARITHMIC if metric.is_logarithmic else LINEAR)


@dataclass(frozen=True)
class SearchConfig:
    """The searcher, its search space and its objectives. See ``sweeps/search``.

    Attributes:
        reference: of each objective the worst value that still counts for the hypervolume; None where it follows from
            the sweep's first standard training.
        methods: those that a sweep of several searches over, by name; empty for a sweep of one.
    """

    name: Annotated[str, Key("searcher", choices=tuple(sorted(SEARCHERS)))]
    space: Annotated[
        Mapping[str, Dimension],
        Key("what is searched: any key of method, training or model, as {low: 0.1, high: 1.0} or {choices: [1, 2]}"),
    ]
    objectives: Annotated[
        Mapping[str, Objective], Key("two to four metrics, each max or min, or {direction: min, scale: linear}")
    ]
    reference: Annotated[
        Mapping[str, float | None], Key("worst value of an objective that still counts; else from standard training")
    ] = field(default_factory=dict)
    constraints: Annotated[tuple[str, ...], Key('what points must meet to be on the front: ["accuracy >= 0.9"]')] = ()
    methods: Annotated[
        Mapping[str, MethodSettings], Key("settings of each method of a sweep of several (search.space.method)")
    ] = field(default_factory=dict)
    baselines: Annotated[tuple[Mapping[str, float | str], ...], Key("coefficients that are trained first")] = ()
    warm_start: Annotated[tuple[str, ...], Key("earlier sweeps of the storage that the searcher knows")] = ()
    experience: Annotated[
        tuple[str, ...], Key(f"pools of other trainings that the curve search knows beforehand: {', '.join(POOLS)}")
    ] = ()
    seed: Annotated[int, Key("seed of the searcher", "at least 0")] = 0
    repeats: Annotated[int, Key("trainings of each set of coefficients", "at least 1", "trainings")] = 1
    early_stopping: Annotated[str, Key("how trials are stopped early", choices=EARLY_STOPPING)] = "none"
    reduction: Annotated[int, Key("one of so many trials goes on at a rung", "at least 2")] = 3
    first_rung: Annotated[float, Key("where trials are judged first", "above 0, below 1", "share of a training")] = (
        1 / 9
    )

    def __post_init__(self) -> None:
        one_of("search.name", self.name, sorted(SEARCHERS))
        for key, dimension in self.space.items():
            dimension.check(f"search.space.{key}")
        self._check_methods()
        few = len(self.objectives) < 2
        added = next(iter(self.objectives), "flops")
        remedy = f"two objectives or more; to add one to those that are there: search.objectives.{added}=..."
        remedy = remedy if few else "four objectives at most; make the others search.constraints"
        ways = {name: objective.direction for name, objective in self.objectives.items()}
        check("search.objectives", ways, 2 <= len(self.objectives) <= MOST_OBJECTIVES, remedy)
        check_seed("search.seed", self.seed)
        check("search.repeats", self.repeats, 1 <= self.repeats <= MOST, f"at least 1, at most {MOST}")
        for metric, objective in self.objectives.items():
            one_of(f"search.objectives.{metric}", objective.direction, DIRECTIONS)
            if objective.scale is not None:
                one_of(f"search.objectives.{metric}.scale", objective.scale, SCALES)
            self._check_reference(metric, objective)
        for text in self.constraints:
            try:
                Constraint.parse(text)
            except ValueError as error:
                raise ConfigError(f"search.constraints: {error}") from error
        different = len(set(self.warm_start)) == len(self.warm_start)
        check("search.warm_start", list(self.warm_start), different, "different sweeps")
        for pool in self.experience:
            one_of("search.experience", pool, POOLS)
        one_of("search.early_stopping", self.early_stopping, EARLY_STOPPING)
        try:
            rungs(1, self.reduction, self.first_rung)
        except ValueError as error:
            raise ConfigError(
                f"search.reduction={self.reduction} search.first_rung={self.first_rung}: {error}"
            ) from error

    @property
    def directions(self) -> list[str]:
        """The directions of the objectives, in order."""
        return [objective.direction for objective in self.objectives.values()]

    @property
    def scales(self) -> list[str]:
        """The scales of the objectives, in order."""
        return [objective.scale or LINEAR for objective in self.objectives.values()]

    def reference_values(self, following: Mapping[str, float]) -> list[float | None]:
        """Return the reference point in the order of the objectives: what is stated, else what ``following`` has, which
        follows from a baseline; None where neither has a value.
        """
        stated = {name: self.reference.get(name) for name in self.objectives}
        return [following.get(name) if value is None else value for name, value in stated.items()]

    def completed(self, metrics: Mapping[str, Metric]) -> "SearchConfig":
        """Return it with the scale and the reference value of every objective whose metric is known, as declared where
        nothing is stated.
        """
        known = {name: metric for name, metric in metrics.items() if name in self.objectives}
        objectives = {
            name: objective.completed(known[name]) if name in known else objective
            for name, objective in self.objectives.items()
        }
        declared = {name: None if metric.baseline else metric.reference for name, metric in known.items()}
        stated = {name: value for name, value in self.reference.items() if value is not None}
        return replace(self, objectives=objectives, reference={**declared, **stated})

    def check_metrics(self, own: Mapping[str, Metric]) -> None:
        """Refuse objectives, reference values and constraints on what is not a metric, objectives for which there is no
        reference value, and logarithms of what may be below 0.

        Args:
            own: a user's own metrics, by name.

        Raises:
            ConfigError: such objectives, reference values or constraints.
        """
        metrics = {**{name: METRICS[name] for name in OBJECTIVES}, **own}
        known = sorted(name for name, metric in metrics.items() if metric.direction)
        for name, objective in self.objectives.items():
            one_of("search.objectives", name, known)
            is_wrong = objective.is_logarithmic and metrics[name].kind == NUMBER
            remedy = "linear: the metric may be below 0, and has no logarithm there"
            check(f"search.objectives.{name}.scale", LOGARITHMIC, not is_wrong, remedy)
        for name, value in self.reference.items():
            one_of("search.reference", name, known)
            if value is not None:
                _check_share(f"search.reference.{name}={value:g}", metrics[name], value)
        missing = sorted(
            name for name in self.objectives if self.reference.get(name) is None and not metrics[name].baseline
        )
        check("search.reference", dict(self.reference), not missing, f"complete; add a value for {missing}")
        for text in self.constraints:
            constraint = Constraint.parse(text)
            one_of(f"search.constraints: {text!r}: metric", constraint.metric, known)
            _check_share(f"search.constraints: {text!r}", metrics[constraint.metric], constraint.bound)

    def spaces(self) -> list[dict[str, Dimension]]:
        """Return the dimensions that a trial can have together: of one method all, of several those of each."""
        if not self.methods:
            return [dict(self.space)]
        return [
            {key: dimension for key, dimension in self.space.items() if method_and_key(key)[0] in (None, method)}
            for method in self.methods
        ]

    def _check_methods(self) -> None:
        """Refuse methods that are not what is searched over, and baselines that name none of them."""
        if not self.methods:
            return
        choices = self.space[METHOD].choices or ()
        check(
            f"search.space.{METHOD}.choices", list(choices), set(choices) == set(self.methods), ", ".join(self.methods)
        )
        for baseline in self.baselines:
            one_of(f"search.baselines: {dict(baseline)}: {METHOD}", baseline.get(METHOD), list(self.methods))

    def _check_reference(self, name: str, objective: Objective) -> None:
        value = self.reference.get(name)
        is_right = value is None or not objective.is_logarithmic or value > FLOOR
        remedy = f"above {FLOOR:g}, where the logarithmic scale begins; or set search.objectives.{name}.scale=linear"
        check(f"search.reference.{name}", value, is_right, remedy)


def _check_share(key: str, metric: Metric, value: float) -> None:
    """Refuse the percentage of a share, as tables show it."""
    if metric.is_percentage and value >= 2:  # a reference a little beyond 1 is usual
        raise ConfigError(f"{key}: {metric.name} is a share, so 1 is all of it; write {value / 100:g} for {value:g} %")
