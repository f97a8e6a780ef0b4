"""A finished trial trained again from its recorded configuration: do the same rows come out?

On a CPU they do, to the last bit, given the same package versions, threads and precision. What was recorded is only
read; the training runs in a temporary storage.
"""

import dataclasses
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from orchestrator.config import FINGERPRINTS, Choice, TrackingConfig, override_config
from orchestrator.declarations import CUT
from orchestrator.errors import ConfigError
from orchestrator.results import Sweep, package_versions, read_sweep
from orchestrator.runs.train import run_alone
from orchestrator.search import Status
from orchestrator.storage import METHOD_PARTS, TABLES, TERM_COLUMNS, WEIGHTS, DeltaStore, Files
from orchestrator.training import (
    KeptFiles,
    Trial,
    check_trainable,
    check_unchanged,
    check_weights,
    measure_on_test,
)
from orchestrator.training.data import data_here, load_data

TRIAL = re.compile(r"(?P<sweep>.+)[-/](?P<number>\d+)")  # mine-0003, as the tables name it, or mine/3
KEYS = {"epochs": ("epoch",), "points": ("split", "rule", "rule_parameters", "stage")}
UNLIKE = ("seconds", "schema_version")  # columns that another run need not repeat
CALIBRATED = ("calibrated_reuse_accuracy", "calibrated_reuse_accuracy_error")  # of older rows without a bias
TERMS_SINCE = 5  # before this schema version an epoch of a method without terms had 0 for them

Row = dict[str, Any]
Rows = dict[tuple[Any, ...], Row]


@dataclass(frozen=True)
class Rerun:
    """What a trial that was trained again says.

    Attributes:
        trial_id: the trial.
        rows: how many were compared, by table.
        differences: a line each, first the epochs; empty where every row is the same.
        same_weights: whether the trained weights, and the method's own parts, are the same bytes.
        versions: a line for each package whose version is another one now.
    """

    trial_id: str
    rows: dict[str, int]
    differences: list[str]
    same_weights: bool
    versions: list[str]

    @property
    def is_same(self) -> bool:
        """Whether nothing at all differs."""
        return self.same_weights and not self.differences


def rerun(root: str, name: str, console: Console, *, data_root: str | None = None, moved: Sequence[str] = ()) -> Rerun:
    """Train a finished trial again, and compare its rows and weights.

    Args:
        root: the storage.
        name: ``mine-0003`` or ``mine/3``: trial 3 of the sweep ``mine``.
        console: for progress.
        data_root: where the data set lies here, if it is elsewhere than where the sweep ran.
        moved: overrides that say where single files lie here, such as ``data.path=...``.

    Raises:
        ConfigError: no such trial, one that did not finish or whose weights were removed, a training that cannot run
            here, or data, a network or weights that are others than the sweep recorded.
    """
    store, (sweep, recorded) = DeltaStore(root), _recorded(root, name, moved)
    check_weights(recorded, Files(root))
    before = {table: _rows(store, table, recorded) for table in KEYS}
    config = dataclasses.replace(
        recorded.config, data=data_here(recorded.config.data, data_root), tracking=TrackingConfig(name="none")
    )
    data = load_data(config.data)
    check_unchanged(sweep, data, sections=tuple(FINGERPRINTS))
    check_trainable(config, data)
    with tempfile.TemporaryDirectory(prefix="moda-rerun-") as scratch:
        trial = dataclasses.replace(recorded, config=dataclasses.replace(config, storage=scratch), root=scratch)
        again = DeltaStore(scratch)
        run_alone(trial, data, console)
        last = _events(again, trial)[-1]
        if last["event"] != Status.FINISHED:
            raise ConfigError(
                f"{trial.trial_id} finished when it was recorded; now it {last['event']}: {last['reason']}"
            )
        tested = [
            Choice.of_row(row) for row in before["points"].values() if row["split"] == "test" and row["stage"] == CUT
        ]
        if tested and data.judged[0] != "test":  # else the training has measured every choice on test already
            measure_on_test(trial, data, tested)
        now = {table: _rows(again, table, trial) for table in KEYS}
        same_weights = _trained_bytes(Files(root), trial) == _trained_bytes(Files(scratch), trial)
    return Rerun(
        trial.trial_id,
        {table: len(rows) for table, rows in before.items()},
        [line for table in KEYS for line in _differences(table, before[table], now[table])],
        same_weights,
        _changed_versions(store, trial.sweep_id),
    )


def _recorded(root: str, name: str, moved: Sequence[str]) -> tuple[Sweep, Trial]:
    """A sweep and its trial as recorded, to be trained in the precision that it was trained in and to its end."""
    named = TRIAL.fullmatch(name)
    if named is None:
        raise ConfigError(f"trial {name!r}: give its id, such as mine-0003, or mine/3")
    store = DeltaStore(root)
    sweep = read_sweep(store, named["sweep"])
    sweep = dataclasses.replace(sweep, config=override_config(sweep.config, moved))
    state = next((trial for trial in sweep.trials if trial.number == int(named["number"])), None)
    if state is None or not state.is_finished:
        how = "is not in the tables" if state is None else f"{state.status} ({state.reason})"
        finished = ", ".join(str(trial.number) for trial in sweep.trials if trial.is_finished)
        raise ConfigError(f"trial {name!r} {how}; of {sweep.sweep_id} these finished: {finished or 'none'}")
    config = sweep.config.for_trial(state.number, state.coefficients)
    trial = Trial(sweep.sweep_id, state.number, state.coefficients, config, root)
    precision = next(row["precision"] for row in _events(store, trial) if row["event"] == Status.FINISHED)
    training = dataclasses.replace(config.training, precision=precision)
    search = dataclasses.replace(config.search, early_stopping="none")  # a rung leaves a training as it was
    return sweep, dataclasses.replace(trial, config=dataclasses.replace(config, training=training, search=search))


def _trained_bytes(files: Files, trial: Trial) -> list[bytes]:
    """The weights, and what the method has of its own."""
    kept = KeptFiles(files, trial.sweep_id, trial.trial_id)
    return [kept.read(name) for name in (WEIGHTS, METHOD_PARTS) if kept.exists(name)]


def _events(store: DeltaStore, trial: Trial) -> list[Row]:
    rows = store.read("trials", trial.sweep_id).to_pylist()
    return sorted((row for row in rows if row["trial_id"] == trial.trial_id), key=lambda row: row["time"])


def _rows(store: DeltaStore, table: str, trial: Trial) -> Rows:
    """The trial's rows by their keys, in the order of these."""
    rows = [row for row in store.read(table, trial.sweep_id).to_pylist() if row["trial_id"] == trial.trial_id]
    rows.sort(key=lambda row: [(row[name] is None, row[name] or 0) for name in KEYS[table]])
    return {tuple(row[name] for name in KEYS[table]): row for row in rows}


def _differences(table: str, before: Rows, now: Rows) -> Iterator[str]:
    """A line for each difference; what an older version did not record is not compared."""
    names, columns = KEYS[table], TABLES[table].columns
    for key in (*before, *(key for key in now if key not in before)):
        where = ", ".join(f"{name} {value}" for name, value in zip(names, key, strict=True) if value is not None)
        if key not in before or key not in now:
            yield f"{where}: {'not recorded' if key in now else 'missing now'}"
            continue
        for column, recorded in before[key].items():
            value = now[key][column]
            absent = value is None and recorded == 0 and column in TERM_COLUMNS
            version = before[key]["schema_version"]
            if absent and version < TERMS_SINCE:
                continue
            is_newer = column in columns and columns[column].since > version
            if is_newer and (recorded is None or column in CALIBRATED):
                continue
            if column not in UNLIKE and value != recorded:
                yield f"{where}: {column} {value!r}, recorded {recorded!r}"


def _changed_versions(store: DeltaStore, sweep_id: str) -> list[str]:
    (row,) = store.read("sweeps", sweep_id).to_pylist()
    recorded, here = json.loads(row["versions"]), package_versions()
    return [
        f"{name} {here.get(name)}, recorded {recorded[name]}"
        for name in sorted(recorded)  # a package that an older record does not have says nothing
        if recorded[name] != here.get(name)
    ]
