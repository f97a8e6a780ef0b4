"""What a searcher with a model expects: the hypervolume that more trials would add, and how a trial's own hypervolume
follows from each coefficient.

Shapes: T places, D dimensions, S draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.search.curve import CurveSearcher
from orchestrator.search.gain import drawn_gains
from orchestrator.search.problem import Coefficients, History, Problem
from orchestrator.search.surfaces import read_surfaces
from orchestrator.search.untrained import trained_keys

AHEAD = 3  # trials
PLACES = 17  # along a dimension of numbers
WITHIN = (0.16, 0.84)  # of the draws: a standard deviation each way, if they are normal


@dataclass(frozen=True)
class Slice:
    """A trial's own hypervolume along one coefficient, the others as they are.

    Attributes:
        values: of the coefficient.
        means: of the hypervolume in the model's draws.
        lows: above a sixth of the draws.
        highs: below a sixth of them.
    """

    values: Sequence[Any]
    means: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]


@dataclass(frozen=True)
class Forecast:
    """What is expected of a sweep.

    Attributes:
        gains: the hypervolume that the next trial, the next two, and so on would add.
        slices: by coefficient.
    """

    gains: Sequence[float]
    slices: Mapping[str, Slice]


def forecast(
    problem: Problem,
    history: History,
    pending: Sequence[Mapping[str, Any]],
    number: int,
    centre: Mapping[str, Any],
) -> Forecast | None:
    """Return what the model of the search ``curve`` expects; None while it has none.

    Args:
        problem: of the sweep.
        history: what is known.
        pending: coefficients of the trials that are being trained.
        number: of the next trial.
        centre: the coefficients that a slice leaves as they are.
    """
    searcher = CurveSearcher(problem)
    known = read_surfaces(problem, history)
    if not searcher.has_model(known, number):
        return None
    reference_M = searcher.reference(known)
    trained = set(trained_keys(problem, history, pending))
    waiting, gains, total = searcher.placed(pending), [], 0.0
    for ahead in range(AHEAD):
        rng = np.random.default_rng([problem.seed, number + ahead])
        candidates_CD, gains_C = searcher.candidates(known, np.array(waiting), reference_M, trained, rng)
        if not len(candidates_CD):
            break
        best = int(gains_C.argmax())
        total += max(0.0, float(gains_C[best]))
        gains.append(total)
        waiting.append(candidates_CD[best].tolist())
        trained.add(problem.key(problem.from_unit(waiting[-1])))
    no_trials = np.empty((0, len(problem.space)))
    rng = np.random.default_rng([problem.seed, number])
    costs = searcher.drawn_costs(known, no_trials, reference_M, 1.0, rng)
    slices = {}
    for name in problem.space:
        sets = _along(problem, name, centre)
        units = searcher.placed(sets)
        if len(units) < 2 or len(units) != len(sets):
            continue
        costs_STGM = costs(np.array(units))
        nothing = [np.empty((0, len(reference_M)))] * len(costs_STGM)
        volumes_ST = drawn_gains(nothing, costs_STGM, reference_M)
        lows_T, highs_T = np.quantile(volumes_ST, WITHIN, axis=0)
        values = [coefficients[name] for coefficients in sets]
        slices[name] = Slice(values, volumes_ST.mean(0).tolist(), lows_T.tolist(), highs_T.tolist())
    return Forecast(gains, slices)


def _along(problem: Problem, name: str, centre: Mapping[str, Any]) -> list[Coefficients]:
    """Sets of coefficients along one of them, the others as in the centre."""
    if choices := problem.space[name].get("choices"):
        return [{**centre, name: value} for value in choices]
    unit = problem.to_nearest_unit(centre)
    if unit is None:
        return []
    at = list(problem.space).index(name)
    sets = []
    for share in np.linspace(0.0, 1.0, PLACES).tolist():
        moved = problem.from_unit([*unit[:at], share, *unit[at + 1 :]])
        if name in moved:
            sets.append({**centre, name: moved[name]})
    return sets
