"""The history as arrays: whole surfaces of trials that lie in the space, and all points there are.

Shapes: N trials with a whole surface in the space, G free choices, V metrics that count (the objectives, then those of
constraints that are not objectives), D dimensions, P points.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from orchestrator.search.problem import Constraint, History, Problem
from orchestrator.search.scales import scaled
from orchestrator.search.statuses import Status

Floats = npt.NDArray[np.float64]

FAILED = (Status.DIVERGED, Status.FAILED)
MISSED = 0.05  # on the objective's scale: a choice that is worse than its target by more missed it


@dataclass(frozen=True)
class Surfaces:
    """What a searcher learns from.

    Attributes:
        x_ND: trials in the unit cube, by number; :meth:`Problem.to_nearest_unit` says where.
        values_NGV: their surfaces, on the metrics' scales. Where a choice aims at a target for an objective, the target
            is its value; a choice that came out worse than its target has the worst values that there are in the other
            objectives, since nothing as good as the target can be had.
        others_PV: points of trials outside the space or without a whole surface, likewise, as they were measured.
        failed_FD: trials that diverged or failed for good, in the unit cube.
    """

    x_ND: Floats
    values_NGV: Floats
    others_PV: Floats
    failed_FD: Floats

    @property
    def points_PV(self) -> Floats:
        """All points."""
        return np.concatenate([self.values_NGV.reshape(-1, self.others_PV.shape[1]), self.others_PV])


def metrics(problem: Problem) -> list[str]:
    """The objectives, then the metrics of constraints that are not objectives."""
    constrained = [Constraint.parse(text).metric for text in problem.constraints]
    return list(dict.fromkeys([*problem.objectives, *constrained]))


def read_surfaces(problem: Problem, history: History) -> Surfaces:
    """Sort the history's points into surfaces, on the metrics' scales. Points without a value for every metric are left
    out.

    Raises:
        ValueError: a metric that the table of points does not have.
    """
    names, choices = metrics(problem), problem.surface_choices
    if missing := [name for name in names if len(history.points) and name not in history.points.column_names]:
        raise ValueError(f"the points have no metric {missing[0]!r}; known: {', '.join(history.points.column_names)}")
    values_PV = scaled(_values(history.points, names), problem.scales_of(names))
    free = [_column(history.points, name) for name in problem.free_names]
    place = {tuple(choice.values()): index for index, choice in enumerate(choices)}
    trial_ids = _column(history.points, "trial_id")
    rows: dict[str, dict[int | None, list[int]]] = {}  # of each trial, by choice
    for row in np.flatnonzero(np.isfinite(values_PV).all(1)).tolist():
        choice = place.get(tuple(column[row] for column in free))
        rows.setdefault(trial_ids[row], {}).setdefault(choice, []).append(row)
    trials = history.trials.to_pylist()
    numbers = {row["trial_id"]: row["number"] for row in trials}
    x: list[list[float]] = []
    surfaces: list[list[int]] = []
    others: list[int] = []
    for trial_id in sorted(rows, key=lambda trial_id: (numbers.get(trial_id, -1), trial_id)):
        cells = rows[trial_id]
        (coefficients,) = history.points.slice(next(iter(cells.values()))[0], 1).to_pylist()
        unit = problem.to_nearest_unit(coefficients)
        if unit is not None and all(index in cells for index in range(len(choices))):
            x.append(unit)
            surfaces.append([cells[index][0] for index in range(len(choices))])
        else:
            others += [row for cell in cells.values() for row in cell]
    failed = [problem.to_nearest_unit(row) for row in trials if row["status"] in FAILED]
    width = len(problem.space)
    surfaces_NGV = values_PV[np.array(surfaces, dtype=np.int64).reshape(-1, len(choices))]
    return Surfaces(
        np.array(x, dtype=np.float64).reshape(-1, width),
        _at_targets(problem, surfaces_NGV),
        values_PV[np.array(others, dtype=np.int64)],
        np.array([unit for unit in failed if unit is not None], dtype=np.float64).reshape(-1, width),
    )


def targets_GV(problem: Problem) -> Floats:
    """(G, V) targets of the choices of a surface for the metrics, on their scales; NaN where there is none."""
    names, aimed = metrics(problem), problem.targeted_objectives
    targets = [[choice[aimed[name]] if name in aimed else None for name in names] for choice in problem.surface_choices]
    return scaled(np.array(targets, dtype=np.float64).reshape(-1, len(names)), problem.scales_of(names))


def _at_targets(problem: Problem, surfaces_NGV: Floats) -> Floats:
    """Surfaces as their targets have them."""
    aims_GV, count = targets_GV(problem), len(problem.objectives)
    if not len(surfaces_NGV) or np.isnan(aims_GV).all():
        return surfaces_NGV
    signs_M = np.array([-1.0 if direction == "max" else 1.0 for direction in problem.directions])
    costs_NGM = surfaces_NGV[..., :count] * signs_M
    is_missed_NG = (costs_NGM > aims_GV[:, :count] * signs_M + MISSED).any(-1)
    costs_NGM[is_missed_NG] = costs_NGM.max((0, 1))
    at_targets_NGV = surfaces_NGV.copy()
    at_targets_NGV[..., :count] = costs_NGM * signs_M
    return np.where(np.isnan(aims_GV), at_targets_NGV, aims_GV)


def _column(points: pa.Table, name: str) -> list[Any]:
    return points[name].to_pylist() if name in points.column_names else [None] * len(points)


def _values(points: pa.Table, names: list[str]) -> Floats:
    """(P, V), NaN where there is none."""
    if not len(points):
        return np.empty((0, len(names)))
    return np.stack([points[name].to_numpy().astype(np.float64) for name in names], 1)
