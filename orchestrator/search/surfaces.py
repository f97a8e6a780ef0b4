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


@dataclass(frozen=True)
class Surfaces:
    """What a searcher learns from.

    Attributes:
        x_ND: trials in the unit cube, by number.
        values_NGV: their surfaces, on the metrics' scales.
        others_PV: points of trials outside the space or without a whole surface, likewise.
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
    names, choices = metrics(problem), problem.choices
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
        unit = problem.to_unit(coefficients)
        if unit is not None and all(index in cells for index in range(len(choices))):
            x.append(unit)
            surfaces.append([cells[index][0] for index in range(len(choices))])
        else:
            others += [row for cell in cells.values() for row in cell]
    failed = [problem.to_unit(row) for row in trials if row["status"] in FAILED]
    width = len(problem.space)
    return Surfaces(
        np.array(x, dtype=np.float64).reshape(-1, width),
        values_PV[np.array(surfaces, dtype=np.int64).reshape(-1, len(choices))],
        values_PV[np.array(others, dtype=np.int64)],
        np.array([unit for unit in failed if unit is not None], dtype=np.float64).reshape(-1, width),
    )


def _column(points: pa.Table, name: str) -> list[Any]:
    return points[name].to_pylist() if name in points.column_names else [None] * len(points)


def _values(points: pa.Table, names: list[str]) -> Floats:
    """(P, V), NaN where there is none."""
    if not len(points):
        return np.empty((0, len(names)))
    return np.stack([points[name].to_numpy().astype(np.float64) for name in names], 1)
