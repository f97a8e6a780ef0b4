"""Optuna's samplers as searchers that are told surfaces: several points of a trial, each an Optuna trial of its own."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.search import dimension as dimensions
from orchestrator.search import pareto
from orchestrator.search.problem import Coefficients, Constraint, History, Problem
from orchestrator.search.quasi_random import SobolSearcher
from orchestrator.search.scales import scaled
from orchestrator.search.statuses import Status
from orchestrator.search.untrained import trained_keys

if TYPE_CHECKING:  # importing Optuna takes a second, and only its searchers need it
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial

MOST_VALUES = 100_000  # of a whole number that a GP may list
ASKS = 2  # for coefficients that are not trained yet, before they are quasi-random

Row = Mapping[str, Any]
Params = dict[str, Any]


class OptunaSearcher(ABC):
    """Builds a study from what is known, asks it once, and drops the free choice from the answer.

    A finished trial is told as several Optuna trials: points spread over its own front, with the free parameters among
    their parameters, and their values on the objectives' scales. Pending trials are told as running ones, diverged ones
    as pruned ones without a value: TPE counts these as the worst, while a GP looks only at finished and running ones.
    Trials outside the space are not told. The first max(4, dimensions + 1) numbers are quasi-random; trials of earlier
    sweeps count as such. An answer that is trained already stays in the study as a running trial, and the study is
    asked once more.

    Attributes:
        points_told: of a surface, at most.
        choices_told: with how many free choices a trial without a surface is told, at most.
        fills_inactive: whether a dimension that is not active is told in the middle of its range, else not at all.
    """

    points_told: int
    choices_told: int
    fills_inactive: bool

    learns = True

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.start = SobolSearcher(problem)
        self.constraints = {text: Constraint.parse(text) for text in problem.constraints}
        self.choices = {tuple(choice.values()): _choice_params(problem, choice) for choice in problem.choices}

    def propose(self, history: History, pending: Sequence[Row], number: int) -> Coefficients:
        """What Optuna asks for, given the points, with a sampler seeded by the problem's seed and ``number``.

        Where all its answers are trained already, it is quasi-random.
        """
        trained = trained_keys(self.problem, history, pending)
        surfaces = self._surfaces(history.points.to_pylist())
        earlier = {row["trial_id"] for row in history.trials.to_pylist() if row["number"] < 0}
        known = number + sum(surface[0]["trial_id"] in earlier for surface in surfaces)
        if known < max(4, len(self.problem.space) + 1) or not surfaces:
            return self.start.propose(history, pending, number)
        study, distributions = self._study(history, surfaces, pending, number)
        for _ in range(ASKS):
            params = study.ask(distributions).params
            space = self.problem.space
            asked = self.problem.active({name: _decode(dimension, params[name]) for name, dimension in space.items()})
            if self.problem.key(asked) not in trained:
                return asked
        return self.start.propose(history, pending, number)

    def _study(
        self, history: History, surfaces: list[list[Row]], pending: Sequence[Row], number: int
    ) -> tuple[Study, dict[str, BaseDistribution]]:
        """All that is known, told to a study whose sampler is that of trial ``number``; and its distributions."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        seed = int(np.random.SeedSequence([self.problem.seed, number]).generate_state(1)[0])
        toward = {"max": optuna.study.StudyDirection.MAXIMIZE, "min": optuna.study.StudyDirection.MINIMIZE}
        directions = [toward[direction] for direction in self.problem.directions]
        study = optuna.create_study(directions=directions, sampler=self.sampler(seed))
        diverged = [row for row in history.trials.to_pylist() if row["status"] == Status.DIVERGED]
        distributions = _distributions(self.problem)
        study.add_trials(self._finished(surfaces, distributions))
        study.add_trials(self._without_values(diverged, "PRUNED", distributions))
        study.add_trials(self._without_values(pending, "RUNNING", distributions))
        return study, distributions

    @abstractmethod
    def sampler(self, seed: int) -> BaseSampler:
        """The sampler of one proposal."""

    def told_points(self, surface: list[Row]) -> list[Row]:
        """The points of a surface that are told: of the front of those that meet the constraints, if any do."""
        allowed = [row for row in surface if max(self._excess(row).values(), default=0.0) <= 0] or surface
        values, directions = self._scaled(allowed), self.problem.directions
        front = np.flatnonzero(pareto.on_front(values, directions))
        chosen = _spread(pareto.as_costs(values, directions)[front], self.points_told)
        return [allowed[front[index]] for index in chosen]

    def _surfaces(self, points: Iterable[Row]) -> list[list[Row]]:
        """The points that can be told, by trial."""
        metrics = [*self.problem.objectives, *(constraint.metric for constraint in self.constraints.values())]
        surfaces: dict[str, list[Row]] = {}
        for row in points:
            known = self._choice(row) in self.choices and self.problem.to_unit(row) is not None
            if known and all(row.get(name) is not None and math.isfinite(row[name]) for name in metrics):
                surfaces.setdefault(row["trial_id"], []).append(row)
        return list(surfaces.values())

    def _scaled(self, rows: Sequence[Row]) -> pareto.Floats:
        """The objectives of points, on their scales."""
        names = list(self.problem.objectives)
        return scaled([[row[name] for name in names] for row in rows], self.problem.scales_of(names))

    def _choice(self, row: Row) -> tuple[float | None, ...]:
        return tuple(row.get(name) for name in self.problem.free_names)

    def _excess(self, row: Row) -> dict[str, float]:
        """By how much a point fails each constraint; Optuna takes 0 and less as met."""
        return {
            text: (constraint.bound - row[constraint.metric]) * (1 if constraint.at_least else -1)
            for text, constraint in self.constraints.items()
        }

    def _finished(
        self, surfaces: Iterable[list[Row]], distributions: dict[str, BaseDistribution]
    ) -> Iterator[FrozenTrial]:
        from optuna.trial import create_trial

        for surface in surfaces:
            for row in self.told_points(surface):
                params = self._encode(row) | self.choices[self._choice(row)]
                yield create_trial(
                    params=params,
                    distributions={name: distributions[name] for name in params},
                    values=self._scaled([row])[0].tolist(),
                    constraints=self._excess(row),
                )

    def _without_values(
        self, rows: Iterable[Row], state: str, distributions: dict[str, BaseDistribution]
    ) -> Iterator[FrozenTrial]:
        from optuna.trial import TrialState, create_trial

        choices = list(self.choices.values())
        chosen = np.linspace(0, len(choices) - 1, min(self.choices_told, len(choices))).round().astype(int)
        for row in rows:
            if self.problem.to_unit(row) is not None:
                for index in chosen:
                    params = self._encode(row) | choices[index]
                    own = {name: distributions[name] for name in params}
                    yield create_trial(params=params, distributions=own, state=TrialState[state])

    def _encode(self, row: Row) -> Params:
        """The coefficients of a trial as parameters."""
        active = self.problem.active(row)
        middle = {name: dimensions.from_unit(dimension, 0.5) for name, dimension in self.problem.space.items()}
        return _encode(self.problem, {**middle, **active} if self.fills_inactive else active)


class TpeSearcher(OptunaSearcher):
    """Tree-structured Parzen estimators. Pending trials count as bad ones (constant liar).

    Told the ends of each trial's front: density estimates grow overconfident with points that share coefficients.
    """

    points_told = 2
    choices_told = 2
    fills_inactive = False

    def sampler(self, seed: int) -> BaseSampler:
        """TPE over all parameters together: a coefficient is good with some free choices only. What is active together
        has densities of its own."""
        from optuna.exceptions import ExperimentalWarning
        from optuna.samplers import TPESampler

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of groups
            return TPESampler(
                seed=seed,
                n_startup_trials=1,
                multivariate=True,
                group=self.problem.is_conditional,
                constant_liar=True,
            )


class GpSearcher(OptunaSearcher):
    """Expected hypervolume improvement of a Gaussian process, whose cost is cubic in the points that it is told.

    Pending trials are integrated over (Optuna's qLogEHVI). Optuna derives the hypervolume's reference point from the
    worst told values; the problem's own cannot be stated. Hence its first proposals are extreme ones.
    """

    points_told = 6
    choices_told = 3
    fills_inactive = True

    def sampler(self, seed: int) -> BaseSampler:
        """The GP sampler."""
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, n_startup_trials=1)


def _spread(costs_PM: pareto.Floats, count: int) -> list[int]:
    """Indices of at most ``count`` points: the best in the first metric, then always the farthest from those chosen."""
    low, high = costs_PM.min(0), costs_PM.max(0)
    scaled_PM = (costs_PM - low) / np.where(high > low, high - low, 1.0)
    chosen = [int(np.argmin(scaled_PM[:, 0]))]
    while len(chosen) < min(count, len(costs_PM)):
        distances_PK = np.linalg.norm(scaled_PM[:, None] - scaled_PM[chosen], axis=-1)
        distance_P = distances_PK.min(1)
        distance_P[chosen] = -1.0
        chosen.append(int(np.argmax(distance_P)))
    return sorted(chosen)


def _distributions(problem: Problem) -> dict[str, BaseDistribution]:
    """Of the space, then of the free parameters and of the way to choose, where there is anything to choose."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    distributions: dict[str, BaseDistribution] = {}
    for name, dimension in problem.space.items():
        if choices := dimension.get("choices"):
            distributions[name] = CategoricalDistribution(range(len(choices)))
        elif dimension.get("zero"):
            distributions[name] = FloatDistribution(0.0, 1.0)  # its place in the unit interval
        else:
            width = dimension["high"] - dimension["low"]
            is_counted = dimension.get("integer") and width <= MOST_VALUES  # the GP lists them; others are rounded
            kind: Callable[..., BaseDistribution] = IntDistribution if is_counted else FloatDistribution
            distributions[name] = kind(
                _number(dimension, dimension["low"]),
                _number(dimension, dimension["high"]),
                log=bool(dimension.get("log")),
            )
    for name, (low, high) in _free_ranges(problem).items():
        distributions[f"free:{name}"] = FloatDistribution(low, high)
    if len(ways := _ways(problem)) > 1:
        distributions["free:way"] = CategoricalDistribution(range(len(ways)))
    return distributions


def _choice_params(problem: Problem, choice: Mapping[str, float | None]) -> Params:
    """A free choice as parameters. Samplers need all of them, so a way that lacks one has the middle of its range."""
    params: Params = {}
    for name, (low, high) in _free_ranges(problem).items():
        value = choice[name]
        params[f"free:{name}"] = (low + high) / 2 if value is None else float(value)
    if len(ways := _ways(problem)) > 1:
        params["free:way"] = ways.index(tuple(name for name, value in choice.items() if value is not None))
    return params


def _ways(problem: Problem) -> list[tuple[str, ...]]:
    ways = (tuple(name for name, value in choice.items() if value is not None) for choice in problem.choices)
    return list(dict.fromkeys(ways))


def _free_ranges(problem: Problem) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of each free parameter that has several."""
    values = {name: [float(v) for grid in problem.grids for v in grid.get(name, ())] for name in problem.free_names}
    return {name: (min(numbers), max(numbers)) for name, numbers in values.items() if min(numbers) < max(numbers)}


def _encode(problem: Problem, row: Row) -> Params:
    return {name: _encoded(dimension, row[name]) for name, dimension in problem.space.items() if name in row}


def _encoded(dimension: Row, value: Any) -> Any:
    if choices := dimension.get("choices"):
        return list(choices).index(value)
    return dimensions.to_unit(dimension, value) if dimension.get("zero") else _number(dimension, value)


def _decode(dimension: Row, value: Any) -> Any:
    if choices := dimension.get("choices"):
        return choices[value]
    return dimensions.from_unit(dimension, value) if dimension.get("zero") else _number(dimension, value)


def _number(dimension: Row, value: Any) -> int | float:
    return round(value) if dimension.get("integer") else float(value)
