"""Views of the tables: which trials there are and how they stand, a sweep's points, its front."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator import pareto
from orchestrator.choice import Choice
from orchestrator.config import LEFT_OUT, Config, identity, identity_hash, parse_config, to_plain
from orchestrator.repeats import deviation, mean_points
from orchestrator.search import Coefficients, Constraint, History
from orchestrator.sections import ConfigError
from orchestrator.store import ResultStore

# How an event log is read: what is over stays over, whatever a late second attempt adds; else the last attempt counts.
OVER = ("finished", "diverged", "stopped")
ORDER = ("proposed", "started", "failed", "diverged", "stopped", "finished")
POINT_NAME = "trial/tau/threshold or trial/level"  # how Point.label reads
PACKAGES = ("moda-orchestrator", "torch", "torchvision", "ray", "numpy", "safetensors", "pyarrow", "deltalake", "wandb")


@dataclass(frozen=True)
class TrialState:
    """A trial as its events tell it; ``status`` is the last event."""

    trial_id: str
    number: int
    coefficients: Coefficients
    status: str
    attempt: int
    reason: str | None
    seconds: float | None
    evaluation_seconds: float | None

    @property
    def is_over(self) -> bool:
        """Whether running it again would tell nothing new: it finished, its loss diverged, or it was stopped early."""
        return self.status in OVER


@dataclass(frozen=True)
class Point:
    """A point of a sweep: a trial and what was chosen after it; ``test`` where it was measured on test.

    With ``search.repeats`` the metrics are means over the points ``over``, one of each seed, and the trial is the one
    nearest to them.
    """

    trial: TrialState
    choice: Choice
    metrics: dict[str, float]
    test: dict[str, float] | None
    over: tuple["Point", ...] = ()

    @property
    def singles(self) -> tuple["Point", ...]:
        """The points of single trainings that it is made of."""
        return self.over or (self,)

    @property
    def own(self) -> "Point":
        """The point of its trial alone: what a module set of it is."""
        return next(one for one in self.singles if one.trial.number == self.trial.number)

    def deviation(self, name: str, *, on_test: bool = False) -> float | None:
        """The standard deviation of a metric over the seeds; None for a single training."""
        rows = [one.test if on_test else one.metrics for one in self.over]
        return deviation([row[name] for row in rows if row is not None]) if self.over else None

    def error(self, name: str) -> float:
        """The standard error of a metric: of the drawn images, which all seeds share, and of the mean over seeds."""
        over_seeds = (self.deviation(name) or 0.0) / math.sqrt(max(1, len(self.over)))
        return math.hypot(self.metrics.get(f"{name}_error", 0.0), over_seeds)

    @property
    def label(self) -> str:
        """How the point is named on the command line: trial number, then tau and threshold, or the level."""
        return "/".join([str(self.trial.number), *(f"{value:.12g}" for value in self.choice.values.values())])


@dataclass(frozen=True)
class Sweep:
    """A sweep as the tables tell it."""

    sweep_id: str
    config: Config
    trials: list[TrialState]
    points: list[Point]

    @cached_property
    def candidates(self) -> list[Point]:
        """What the front is chosen from: the points, or with ``search.repeats`` their means over the seeds."""
        search = self.config.search
        return self.points if search.repeats == 1 else mean_points(self.points, search.repeats, list(search.objectives))

    def set_of(self, trial: TrialState) -> int:
        """The number of a trial's set of coefficients; every set is trained ``search.repeats`` times."""
        return trial.number // self.config.search.repeats

    def values(self, points: Sequence[Point]) -> list[list[float]]:
        """The objectives of points, in order.

        Raises:
            ConfigError: a point that was measured before there was such a metric.
        """
        return [[_metric(point, name) for name in self.config.search.objectives] for point in points]

    @property
    def feasible(self) -> list[Point]:
        """The points that meet every constraint."""
        asked = [Constraint.parse(text) for text in self.config.search.constraints]
        return [point for point in self.candidates if all(one.met(_metric(point, one.metric)) for one in asked)]

    @property
    def broken(self) -> str:
        """How many points break each constraint, as people read it; nothing where there is no constraint."""
        found = []
        for text in self.config.search.constraints:
            asked = Constraint.parse(text)
            count = sum(not asked.met(_metric(point, asked.metric)) for point in self.candidates)
            found.append(f"{count} of {len(self.candidates)} points break {text}")
        return ", ".join(found)

    @property
    def why_no_front(self) -> str:
        """Why the front is empty, and the remedy."""
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
        """Of all trials; a baseline need not name every dimension of the space."""
        return list(dict.fromkeys(name for one in self.trials for name in one.coefficients))

    @property
    def directions(self) -> list[str]:
        """Of the objectives."""
        return list(self.config.search.objectives.values())

    def count(self, status: str) -> int:
        """How many trials stand so."""
        return sum(one.status == status for one in self.trials)

    @property
    def finished_text(self) -> str:
        """How many trials finished: ``5 of 12 trials finished, 7 stopped early``."""
        stopped = f", {self.count('stopped')} stopped early" if self.count("stopped") else ""
        return f"{self.count('finished')} of {len(self.trials)} trials finished{stopped}"

    @property
    def front(self) -> list[Point]:
        """The feasible points that no other one dominates on validation, by the last objective; of equal points the
        first stays."""
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
        """Of the feasible validation points, up to the configured reference point."""
        reference = [self.config.search.reference[name] for name in self.config.search.objectives]
        return pareto.hypervolume(self.values(self.feasible), self.directions, reference)

    def find(self, name: str) -> Point:
        """The point called ``best``, ``knee`` or ``<trial>/<tau>/<threshold>``, or ``<trial>/<level>``.

        Raises:
            ConfigError: no such point.
        """
        front = self.front
        if not self.candidates or (not front and name in ("best", "knee")):
            raise ConfigError(self.why_no_front)
        if name == "best":
            first = next(iter(self.config.search.objectives))
            errors = [point.error(first) for point in front]
            return front[pareto.best(self.values(front), self.directions, errors)]
        if name == "knee":
            return front[pareto.knee(self.values(front), self.directions)]
        found = [point for point in (*self.candidates, *self.points) if point.label == name]
        if not found:
            known = (front or self.points)[0].label
            raise ConfigError(f"--point {name}: no such point; use best, knee, or {POINT_NAME} such as {known}")
        return found[0]


def name_sweep(store: ResultStore, config: Config, *, prefix: str) -> str:
    """The sweep's id: its name, or the prefix and a hash of what makes it different.

    Raises:
        ConfigError: the name was used for another sweep; the message says what differs.
    """
    mine = identity(config)
    sweep_id = config.sweep.name or f"{prefix}-{identity_hash(mine)}"
    for row in store.read("sweeps", sweep_id).to_pylist():
        theirs = json.loads(row["identity"])
        if theirs != mine:
            changed = difference(theirs, mine)
            raise ConfigError(f"sweep.name={sweep_id!r} is another sweep: {changed}; use another sweep.name")
    return sweep_id


def claim_sweep(store: ResultStore, config: Config, *, prefix: str, now: datetime) -> str:
    """Name the sweep and record it with what makes it different; of two at once the first one has the name.

    Raises:
        ConfigError: as :func:`name_sweep`.
    """
    row = {
        "sweep_id": name_sweep(store, config, prefix=prefix),
        "created": now,
        "identity": canonical(identity(config)),
        "config": json.dumps(to_plain(config), allow_nan=False),  # unsorted: objectives have an order
        "versions": canonical(package_versions()),
    }
    store.append("sweeps", [row])
    return name_sweep(store, config, prefix=prefix)


def read_sweep(store: ResultStore, sweep_id: str) -> Sweep:
    """Everything about a sweep.

    Raises:
        ConfigError: no such sweep; the message names those there are.
    """
    rows = store.read("sweeps", sweep_id).to_pylist()
    if not rows:
        known = sorted(store.read("sweeps")["sweep_id"].to_pylist())
        raise ConfigError(f"sweep {sweep_id!r} is not in the storage; it holds {known or 'no sweeps'}")
    config = parse_config(json.loads(rows[0]["config"]))
    trials = trial_states(store.read("trials", sweep_id))
    return Sweep(sweep_id, config, trials, _points(store.read("points", sweep_id), trials))


def trial_states(events: pa.Table) -> list[TrialState]:
    """The trials of an event log, by number."""
    last: dict[str, dict[str, Any]] = {}

    def rank(row: Mapping[str, Any]) -> tuple[bool, bool, int, int]:
        # Two drivers at once may judge a trial differently at a rung: a finished one has its points.
        return row["event"] in OVER, row["event"] == "finished", row["attempt"], ORDER.index(row["event"])

    for row in sorted(events.to_pylist(), key=rank):
        last[row["trial_id"]] = row
    states = [
        TrialState(
            trial_id=row["trial_id"],
            number=row["number"],
            coefficients=json.loads(row["coefficients"]),
            status=row["event"],
            attempt=row["attempt"],
            reason=row["reason"],
            seconds=row["seconds"],
            evaluation_seconds=row["evaluation_seconds"],
        )
        for row in last.values()
    ]
    return sorted(states, key=lambda state: state.number)


def history(sweep: Sweep, earlier: Sequence[Point] = ()) -> History:
    """What a searcher may know: all trials, and the validation points of finished ones.

    Args:
        sweep: the sweep.
        earlier: what it starts from, as :func:`orchestrator.warm_start.earlier_points` gives it.
    """
    names = list(dict.fromkeys([*sweep.coefficient_names, *(key for one in earlier for key in one.trial.coefficients)]))
    before = {one.trial.trial_id: one.trial for one in earlier}
    trials = [
        {
            "trial_id": one.trial_id,
            "number": one.number,
            "status": one.status,
            "reason": one.reason,
            **{name: one.coefficients.get(name) for name in names},
        }
        for one in (*before.values(), *sweep.trials)
    ]
    points = [
        {
            "trial_id": point.trial.trial_id,
            **{name: point.trial.coefficients.get(name) for name in names},
            **point.choice.columns,
            **point.metrics,
        }
        for point in (*earlier, *sweep.points)
    ]
    return History(_as_table(trials), _as_floats(_as_table(points), Choice.names()))


def trial_event(sweep_id: str, trial: Any, event: str, *, attempt: int, now: datetime, **more: Any) -> dict[str, Any]:
    """A row of the event log; ``trial`` has trial_id, number and coefficients."""
    return {
        "sweep_id": sweep_id,
        "trial_id": trial.trial_id,
        "number": trial.number,
        "attempt": attempt,
        "event": event,
        "time": now,
        "coefficients": canonical(dict(trial.coefficients)),
        **more,
    }


def package_versions() -> dict[str, str]:
    """Of the packages that results depend on."""
    return {name: metadata.version(name) for name in PACKAGES}


def utc_now() -> datetime:
    """The time that rows are stamped with."""
    return datetime.now(UTC)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no NaN."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _points(table: pa.Table, trials: Sequence[TrialState]) -> list[Point]:
    """Validation points of finished trials, each with its test metrics, in order of trial and choice."""
    finished = {one.trial_id: one for one in trials if one.status == "finished"}
    names = ("sweep_id", "trial_id", *Choice.names(), "split", "schema_version")
    test: dict[tuple[Any, ...], dict[str, float]] = {}
    points = []
    rows = [row for row in table.to_pylist() if row["trial_id"] in finished]
    for row in sorted(rows, key=lambda row: row["split"] != "test"):
        choice = Choice(row["tau"], row["threshold"], row["level"])
        key = (row["trial_id"], choice)
        metrics = {name: value for name, value in row.items() if name not in names and value is not None}
        if row["split"] == "test":
            test[key] = metrics
        else:
            points.append(Point(finished[row["trial_id"]], choice, metrics, test.get(key)))
    return sorted(points, key=lambda point: (point.trial.number, point.choice.place))


def _metric(point: Point, name: str) -> float:
    if name not in point.metrics:
        raise ConfigError(f"point {point.label} was measured before there was a metric {name}; choose another metric")
    return point.metrics[name]


def _as_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """With every row's columns; ``Table.from_pylist`` takes the first row's alone."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _as_floats(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """With columns as float64 that may hold nothing but None."""
    for name in set(names) & set(table.column_names):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.float64()))
    return table


def difference(theirs: Mapping[str, Any], mine: Mapping[str, Any], *, ignoring: Collection[str] = ()) -> str:
    """What differs between two nested mappings, as people read it; nothing where they are equal.

    Args:
        theirs: what is recorded.
        mine: what is asked for.
        ignoring: keys, such as ``data.limit``, that may differ.
    """
    left_out = {".".join(path): value for path, value in LEFT_OUT.items()}
    recorded, asked = ({**left_out, **_flat(one)} for one in (theirs, mine))
    return "; ".join(
        f"{key} is {recorded.get(key)!r}, not {asked.get(key)!r}"
        for key in sorted({*recorded, *asked} - set(ignoring))
        if recorded.get(key) != asked.get(key)
    )


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {path: value}
    return {key: one for name, part in value.items() for key, one in _flat(part, f"{path}.{name}".strip(".")).items()}
