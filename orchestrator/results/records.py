"""Reading and writing the tables: sweeps by name, events of trials, and what a sweep has found by them."""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.config import (
    COLUMNS,
    FINGERPRINTS,
    PLACES,
    Choice,
    Config,
    Fingerprints,
    comparable,
    difference,
    identity,
    identity_hash,
    meant,
    read_recorded,
    recorded_fingerprints,
    to_plain,
    weights_fingerprint,
)
from orchestrator.declarations import CUT, METRICS
from orchestrator.errors import ConfigError, listed
from orchestrator.results.points import Point, TrialState
from orchestrator.results.reference_point import BaselineReference, recorded_reference
from orchestrator.results.sweep import Sweep
from orchestrator.search import TRIAL_COLUMNS, Coefficients, History, Status
from orchestrator.storage import ResultStore

HISTORY_COLUMNS = {*TRIAL_COLUMNS, *COLUMNS, *METRICS}  # beside the coefficients
OWN = "moda-orchestrator"
PACKAGES = (
    *("torch", "torchvision", "ray", "numpy", "safetensors", "pyarrow", "deltalake", "wandb"),
    *("moocore", "optuna", "scipy"),  # proposals
    "pillow",  # decodes images
)
CODECS = ("jpg", "jpg_2000", "libtiff", "webp", "zlib")


def name_sweep(store: ResultStore, config: Config, *, prefix: str, fingerprints: Fingerprints | None = None) -> str:
    """Return the sweep's id: its name, or the prefix and a hash of its identity.

    Args:
        store: the tables.
        config: of the sweep.
        prefix: of a sweep that has no name.
        fingerprints: of what it is made of. What a sweep did not record, or is not given here, is not compared.

    Raises:
        ConfigError: the name was used for another sweep; the message says what differs.
    """
    prints = {"training": weights_fingerprint(config)} if fingerprints is None else {"training": {}, **fingerprints}
    sweep_id = config.sweep.name or _hashed_name(store, config, prefix, prints)
    for row in store.read("sweeps", sweep_id).to_pylist():
        theirs = json.loads(row["identity"])
        recorded = recorded_fingerprints(theirs)
        asked = identity(config, comparable(prints, recorded))
        if changed := difference(theirs, asked, ignoring=_not_given(recorded, prints), config=config):
            raise ConfigError(
                f"sweep.name={sweep_id!r} already names a different sweep: {changed}; choose another name"
            )
    return sweep_id


def claim_sweep(
    store: ResultStore, config: Config, *, prefix: str, now: datetime, fingerprints: Fingerprints | None = None
) -> str:
    """Name the sweep and record its identity. If two do it at once, the first one gets the name.

    Args:
        store: the tables.
        config: of the sweep.
        prefix: as for :func:`name_sweep`, like ``fingerprints``.
        now: the time.
        fingerprints: of what it is made of.

    Raises:
        ConfigError: as :func:`name_sweep`.
    """
    row = {
        "sweep_id": name_sweep(store, config, prefix=prefix, fingerprints=fingerprints),
        "created": now,
        "identity": canonical(identity(config, fingerprints)),
        "config": json.dumps(to_plain(config), allow_nan=False),  # unsorted: objectives have an order
        "versions": canonical(package_versions()),
    }
    store.append("sweeps", [row])
    return name_sweep(store, config, prefix=prefix, fingerprints=fingerprints)


def read_sweep(store: ResultStore, sweep_id: str) -> Sweep:
    """Read a sweep with its trials and points.

    Raises:
        ConfigError: no such sweep; the message names those there are.
    """
    row = sweep_row(store, sweep_id)
    trials = trial_states(store.read("trials", sweep_id))
    config = read_recorded(row)
    points = points_of_rows(store.read("points", sweep_id), trials, has_validation=config.data.has_validation)
    prints = recorded_fingerprints(json.loads(row["identity"]))
    return sweep_of_points(sweep_id, config, trials, points, prints, recorded_reference(store, sweep_id))


def sweep_of_points(
    sweep_id: str,
    config: Config,
    trials: list[TrialState],
    points: Sequence[Point],
    fingerprints: Fingerprints,
    reference: BaselineReference | None,
) -> Sweep:
    """Return a sweep with points of all stages."""
    cut = [point for point in points if point.stage == CUT]
    staged = [point for point in points if point.stage != CUT]
    return Sweep(sweep_id, config, trials, cut, fingerprints, reference, staged)


def recorded_config(store: ResultStore, sweep_id: str) -> Config:
    """Return the configuration that a sweep was started with.

    Raises:
        ConfigError: as :func:`read_sweep`.
    """
    return read_recorded(sweep_row(store, sweep_id))


def trial_states(events: pa.Table) -> list[TrialState]:
    """Return the trials of an event log, by number."""
    last: dict[str, TrialState] = {}
    for row in events.to_pylist():
        state = TrialState(
            trial_id=row["trial_id"],
            number=row["number"],
            coefficients=json.loads(row["coefficients"]),
            status=Status(row["event"]),
            attempt=row["attempt"],
            reason=row["reason"],
            seconds=row["seconds"],
            evaluation_seconds=row["evaluation_seconds"],
        )
        last[state.trial_id] = max(state, last.get(state.trial_id, state), key=lambda each: each.rank)
    return sorted(last.values(), key=lambda state: state.number)


def history(sweep: Sweep, earlier: Sequence[Point] = (), completed: dict[str, Coefficients] | None = None) -> History:
    """Return what a searcher may know: all trials, and the validation points of the finished ones.

    Coefficients are under :func:`coefficient_column`; one that is searched, and that a trial leaves out, has the
    configured value.

    Args:
        sweep: the sweep.
        earlier: what it starts from, as :func:`orchestrator.runs.warm_start.earlier_points` gives it.
        completed: the coefficients of trials with what they leave out, by trial, for the next call; trials that are not
            there are added.
    """
    completed = {} if completed is None else completed
    searched = [name for point in earlier for name in point.trial.coefficients]
    names = list(dict.fromkeys([*sweep.coefficient_names, *searched, *sweep.config.search.space]))
    before = {point.trial.trial_id: point.trial for point in earlier}
    states = [*before.values(), *sweep.trials]
    for trial in states:
        if trial.trial_id not in completed:
            completed[trial.trial_id] = _completed(sweep.config, trial)
    columns = {trial.trial_id: coefficient_columns(names, completed[trial.trial_id]) for trial in states}
    trials = [
        {
            "trial_id": trial.trial_id,
            "number": trial.number,
            "status": str(trial.status),
            "reason": trial.reason,
            **columns[trial.trial_id],
        }
        for trial in states
    ]
    points = [
        {
            "trial_id": point.trial.trial_id,
            **columns[point.trial.trial_id],
            **dict.fromkeys(COLUMNS),
            **point.choice.free,
            **point.metrics,
        }
        for point in (*earlier, *sweep.points)
    ]
    free = {name for point in (*earlier, *sweep.points) for name in point.choice.free}
    return History(_as_table(trials), _as_floats(_as_table(points), sorted({*COLUMNS, *free})))


def _completed(config: Config, trial: TrialState) -> Coefficients:
    """The coefficients of a trial with the configured value of each dimension that they leave out, as a baseline may;
    None for one of another method."""
    own = config.of_method(trial.coefficients)
    return {**{name: own.coefficient(name) for name in config.search.space}, **trial.coefficients}


def coefficient_column(name: str) -> str:
    """Return the column of a coefficient beside a trial's state and its points: its name, unless another column has
    that name.
    """
    return f"coefficient {name}" if name in HISTORY_COLUMNS else name


def coefficient_columns(names: Iterable[str], coefficients: Mapping[str, Any]) -> Coefficients:
    """Return coefficients by their columns, with None for a missing one."""
    return {coefficient_column(name): coefficients.get(name) for name in names}


def trial_event(
    sweep_id: str, trial: Any, event: Status, *, attempt: int, now: datetime, **more: Any
) -> dict[str, Any]:
    """Build a row of the event log; ``trial`` has trial_id, number and coefficients."""
    return {
        "sweep_id": sweep_id,
        "trial_id": trial.trial_id,
        "number": trial.number,
        "attempt": attempt,
        "event": str(event),
        "time": now,
        "coefficients": canonical(dict(trial.coefficients)),
        **more,
    }


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on, and of the decoders that Pillow uses."""
    from PIL import features

    codecs = {f"pillow-{name}": features.version(name) for name in CODECS if features.check(name)}
    installed = {name: metadata.version(name) for name in PACKAGES}
    return {OWN: own_version(), **installed, **{key: text for key, text in codecs.items() if text}}


def own_version() -> str:
    """Return the version of the code that runs: of the checkout that it is in, as on a cluster that was sent one, or
    else of what is installed.
    """
    project = Path(__file__).parents[2] / "pyproject.toml"
    if project.is_file():
        return str(tomllib.loads(project.read_text())["project"]["version"])
    return metadata.version(OWN)


def utc_now() -> datetime:
    """Return the time that rows are stamped with."""
    return datetime.now(UTC)


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and without NaN."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def sweep_row(store: ResultStore, sweep_id: str) -> dict[str, Any]:
    """Return the row of a sweep.

    Raises:
        ConfigError: as :func:`read_sweep`.
    """
    rows: list[dict[str, Any]] = store.read("sweeps", sweep_id).to_pylist()
    if not rows:
        known = sorted(store.read("sweeps")["sweep_id"].to_pylist())
        holds = f"{listed(known) if known else 'no sweeps'}{meant(sweep_id, known)}"
        raise ConfigError(
            f"sweep {sweep_id!r} is not in the storage; it holds {holds}; looked in storage={store.storage}"
        )
    return rows[0]


def _hashed_name(store: ResultStore, config: Config, prefix: str, prints: Fingerprints) -> str:
    """The prefix and a hash; of a sweep from before there were fingerprints the hash that it had then."""
    before = {section: prints[section] for section in prints if section == "training"}
    name, earlier = (f"{prefix}-{identity_hash(identity(config, some))}" for some in (prints, before))
    known = store.read("sweeps", name).num_rows or not store.read("sweeps", earlier).num_rows
    return name if known else earlier


def _not_given(recorded: Fingerprints, prints: Fingerprints) -> set[str]:
    """The keys of fingerprints that a sweep recorded and nobody took now; then neither do paths say anything."""
    absent = {section for section in recorded if section not in prints}
    places = {f"data.{key}" for key in PLACES if "data" in absent}
    return {f"{section}.{key}" for section in absent for key in FINGERPRINTS[section]} | places


def points_of_rows(table: pa.Table, trials: Sequence[TrialState], *, has_validation: bool) -> list[Point]:
    """Return the points of finished trials, each with its test metrics, in order of trial and choice: those of
    validation, or of test where nothing was held out.
    """
    finished = {trial.trial_id: trial for trial in trials if trial.is_finished}
    names = (
        "sweep_id",
        "trial_id",
        "rule",
        "rule_parameters",
        *COLUMNS,
        "stage",
        "split",
        "bias",
        "own",
        "accuracy_by_size",
        "schema_version",
    )
    test: dict[tuple[Any, ...], dict[str, float]] = {}
    points = []
    rows = [row for row in table.to_pylist() if row["trial_id"] in finished]
    for row in sorted(rows, key=lambda row: row["split"] != "test"):
        choice = Choice.of_row(row)
        key = (row["trial_id"], choice, row["stage"])
        metrics = {name: value for name, value in row.items() if name not in names and value is not None}
        metrics.update(row["own"] or ())
        if row["split"] == "test":
            test[key] = metrics
            if not has_validation:
                points.append(Point(finished[row["trial_id"]], choice, {}, metrics, stage=row["stage"]))
        else:
            bias = None if row["bias"] is None else tuple(row["bias"])
            points.append(Point(finished[row["trial_id"]], choice, metrics, test.get(key), bias, row["stage"]))
    return sorted(points, key=lambda point: (point.trial.number, point.choice.place, point.stage))


def _as_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """With every row's columns; ``Table.from_pylist`` takes the first row's alone."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: as_column([row.get(name) for row in rows]) for name in names})


def as_column(values: Sequence[Any]) -> Sequence[Any]:
    """Convert values to one type: outside the space, one baseline may have text and another a number."""
    as_text = any(isinstance(value, str) for value in values)
    return [value if value is None else str(value) for value in values] if as_text else values


def _as_floats(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """With columns as float64 that may hold nothing but None."""
    for name in set(names) & set(table.column_names):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.float64()))
    return table
