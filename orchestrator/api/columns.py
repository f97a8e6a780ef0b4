"""What a sweep has found as Arrow tables, with a column for each coefficient."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.config import COLUMNS
from orchestrator.declarations import METRICS
from orchestrator.results import ROLES, Confirmation, Point, Sweep, as_column, coefficient_column, trial_states
from orchestrator.search import Status
from orchestrator.storage import ResultStore


class Summarised(Protocol):
    """A sweep with its storage."""

    @property
    def recorded(self) -> Sweep: ...
    @property
    def storage(self) -> str: ...


POINT = {
    "point": pa.string(),
    "role": pa.string(),
    "on_front": pa.bool_(),
    "trial_id": pa.string(),
    "trial": pa.int64(),
    "rule": pa.string(),
}
TRIAL = {
    "trial_id": pa.string(),
    "trial": pa.int64(),
    "status": pa.string(),
    "attempt": pa.int64(),
    "seconds": pa.float64(),
    "evaluation_seconds": pa.float64(),
    "reason": pa.string(),
}
SWEEP = {
    "sweep": pa.string(),
    "created": pa.timestamp("us", tz="UTC"),
    "model": pa.string(),
    "data": pa.string(),
    "method": pa.string(),
    "trials": pa.int64(),
    "finished": pa.int64(),
    "confirms": pa.string(),
}


def sweep_summary(opened: Summarised) -> dict[str, Any]:
    """Return what is to be said of a sweep in numbers: its size, trials by status, hypervolume, best and knee."""
    sweep = opened.recorded
    roles = {role: label for label, named in sweep.roles.items() for role in named}
    return {
        "sweep": sweep.sweep_id,
        "storage": opened.storage,
        "trials": sweep.config.sweep.trials,
        "is_over": sweep.is_over,
        "statuses": {str(status): sweep.count(status) for status in Status if sweep.count(status)},
        "objectives": {name: each.direction for name, each in sweep.config.search.objectives.items()},
        "constraints": list(sweep.config.search.constraints),
        "hypervolume": sweep.hypervolume,
        "reference": sweep.reference,
        **{role: roles.get(role) for role in ROLES},
    }


def points_table(sweep: Sweep, points: Sequence[Point]) -> pa.Table:
    """Return a row for each point: its name, role, trial, coefficients, choice, and metrics on validation and test.

    Metrics on test are called ``test_<metric>``, and are null where they were not measured. A coefficient that is
    called as another column has the column ``coefficient <name>``.
    """
    on_front = {point.label for point in sweep.front}
    names = _metric_names(points)
    free = dict.fromkeys([*COLUMNS, *(name for point in points for name in point.choice.free)])
    known = {**POINT, **_floats([*free, *names, *(f"test_{name}" for name in names)])}
    rows = [
        {
            "point": point.label,
            "role": sweep.mark(point) or None,
            "on_front": point.label in on_front,
            "trial_id": point.trial.trial_id,
            "trial": point.trial.number,
            **_coefficients(sweep, point.trial.coefficients, known),
            "rule": point.choice.rule,
            **point.choice.free,
            **point.metrics,
            **_prefixed("test_", point.test),
        }
        for point in points
    ]
    return _table(rows, [*POINT, *_coefficients(sweep, {}, known), *known], known)


def trials_table(sweep: Sweep) -> pa.Table:
    """Return a row for each trial: its state and its coefficients."""
    rows = [
        {
            "trial_id": trial.trial_id,
            "trial": trial.number,
            "status": str(trial.status),
            "attempt": trial.attempt,
            "seconds": trial.seconds,
            "evaluation_seconds": trial.evaluation_seconds,
            "reason": trial.reason,
            **_coefficients(sweep, trial.coefficients, TRIAL),
        }
        for trial in sweep.trials
    ]
    return _table(rows, ["trial_id", "trial", "status", *_coefficients(sweep, {}, TRIAL), *TRIAL], TRIAL)


def confirmed_table(confirmation: Confirmation) -> pa.Table:
    """Return a row for each chosen point, with its results in the sweep and (``confirmed_<metric>``) with fresh seeds.

    ``confirmed_test_<metric>`` is on test. All of these are null until all trainings of a point have finished.
    """
    claims = [pair.claimed for pair in confirmation.points]
    table = points_table(confirmation.parent, claims)
    for prefix in ("confirmed_", "confirmed_test_"):
        for name in _metric_names(claims):
            again = [pair.found for pair in confirmation.points]
            metrics = [None if point is None else point.test if "test" in prefix else point.metrics for point in again]
            values = [None if row is None else row.get(name) for row in metrics]
            table = table.append_column(f"{prefix}{name}", pa.array(values, pa.float64()))
    return table


def sweeps_table(store: ResultStore) -> pa.Table:
    """Return a row for each sweep of a storage, the oldest first; ``trials`` is how many it was started with."""
    finished: dict[str, int] = {}
    events = store.read("trials")
    for sweep_id in events["sweep_id"].unique().to_pylist():
        states = trial_states(events.filter(pc.equal(events["sweep_id"], sweep_id)))
        finished[sweep_id] = sum(trial.is_finished for trial in states)
    rows = []
    for row in sorted(store.read("sweeps").to_pylist(), key=lambda row: row["created"]):
        config = json.loads(row["config"])
        names = {section: config[section]["name"] for section in ("model", "data", "method")}
        if methods := config["search"].get("methods"):
            names["method"] = ", ".join(methods)
        rows.append(
            {
                "sweep": row["sweep_id"],
                "created": row["created"],
                **names,
                "trials": config["sweep"]["trials"],
                "finished": finished.get(row["sweep_id"], 0),
                "confirms": config["sweep"].get("confirms"),
            }
        )
    return _table(rows, SWEEP, SWEEP)


def coefficient_names(points: pa.Table) -> list[str]:
    """Return the columns of a table of points that hold coefficients, which are those between trial and choice."""
    names: list[str] = points.column_names
    return names[len(POINT) : names.index("tau")]


def _coefficients(sweep: Sweep, values: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """Coefficients by their columns, None where one is missing; ``taken`` are the names of other columns."""
    return {
        f"coefficient {name}" if name in taken else coefficient_column(name): values.get(name)
        for name in sweep.coefficient_names
    }


def _metric_names(points: Iterable[Point]) -> list[str]:
    """All metrics that there are, whether or not these points have them."""
    return list(dict.fromkeys([*METRICS, *(name for point in points for name in point.metrics)]))


def _floats(names: Iterable[str]) -> dict[str, pa.DataType]:
    return dict.fromkeys(names, pa.float64())


def _prefixed(prefix: str, metrics: Mapping[str, float] | None) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in (metrics or {}).items()}


def _table(rows: Sequence[Mapping[str, Any]], names: Iterable[str], known: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows in the order of the names; columns that are not known have the type of what they hold."""
    columns = {}
    for name in dict.fromkeys(names):
        values = [row.get(name) for row in rows]
        columns[name] = pa.array(values, known[name]) if name in known else pa.array(as_column(values))
    return pa.table(columns)
