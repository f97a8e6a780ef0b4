"""A whole sweep that is removed: its files first and its rows last, so that what was interrupted can go on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.results import read_sweep
from orchestrator.storage import (
    MODULES,
    TABLES,
    TRIALS,
    DeltaStore,
    Files,
    StoredFile,
    folder_of,
)

RUNNING = timedelta(minutes=5)  # what was written since then may be of a sweep that runs
OF_TRIALS, OF_SETS = "files of its trials", "files of its module sets"


@dataclass(frozen=True)
class Deletion:
    """What goes when a sweep is deleted.

    Attributes:
        sweep_id: the sweep.
        files: of its trials and module sets, by what they are.
        rows: how many, by table.
        shared: files that another sweep begins from, which stay, each with that sweep.
        begun: trials that are not over.
        written: when something of it was written last; None where nothing was.
    """

    sweep_id: str
    files: dict[str, list[StoredFile]]
    rows: dict[str, int]
    shared: dict[str, str]
    begun: int
    written: datetime | None

    @property
    def bytes(self) -> int:
        """The size of its files."""
        return sum(file.bytes for files in self.files.values() for file in files)

    def check_still(self, now: datetime) -> None:
        """Refuse a sweep that may be running.

        Raises:
            ConfigError: something of it was written in the last minutes, and trials of it are not over.
        """
        if self.begun and self.written is not None and now - self.written < RUNNING:
            seconds = int((now - self.written).total_seconds())
            raise ConfigError(
                f"sweep {self.sweep_id!r} seems to run: {self.begun} trials are not over, and one has written something"
                f" {seconds} s ago; stop it, and delete it {RUNNING.seconds // 60} minutes later"
            )


def plan_deletions(store: DeltaStore, files: Files, names: Sequence[str]) -> list[Deletion]:
    """Return exactly what would go with some sweeps.

    Raises:
        ConfigError: no such sweep, or one that another sweep still needs: which confirms it or warm-starts from it.
    """
    sweeps = {name: read_sweep(store, name) for name in dict.fromkeys(names)}
    others = [row for row in store.read("sweeps").to_pylist() if row["sweep_id"] not in sweeps]
    configs = {row["sweep_id"]: json.loads(row["config"]) for row in others}
    for other, config in configs.items():
        needed = [config["sweep"].get("confirms"), *(config["search"].get("warm_start") or ())]
        for name in [name for name in sweeps if name in needed]:
            doing = "confirms it" if name == needed[0] else "warm-starts from it"
            raise ConfigError(f"sweep {name!r} is still needed: {other!r} {doing}; delete {other!r} too, or first")
    known = set(store.read("trials")["trial_id"].to_pylist())
    listed = [*files.under(MODULES), *files.under(TRIALS)]
    begins = {config["training"].get("init_from"): other for other, config in configs.items()}
    found = []
    for name, sweep in sweeps.items():
        trials = {trial.trial_id for trial in sweep.trials}
        own = [file for file in listed if _trial_of(file, known) in trials]
        shared = {file.name: other for file in own if (other := begins.get(_path(files, file)))}
        going = [file for file in own if file.name not in shared]
        kinds = {OF_TRIALS: TRIALS, OF_SETS: MODULES}
        times = [*(file.modified for file in own), *store.read("trials", name)["time"].to_pylist()]
        found.append(
            Deletion(
                name,
                {what: [file for file in going if folder_of(file.name)[0] == kind] for what, kind in kinds.items()},
                {table: count for table in TABLES if (count := store.read(table, name).num_rows)},
                shared,
                sum(not trial.is_over for trial in sweep.trials),
                max(times, default=None),
            )
        )
    return found


def delete_sweep(deletion: Deletion, store: DeltaStore, files: Files) -> None:
    """Remove a sweep. The row of the sweep itself goes last.

    Raises:
        OSError: a file that cannot be removed; the same command goes on.
        StorageFault: rows that cannot be removed, likewise.
    """
    for of_kind in deletion.files.values():
        for file in of_kind:
            files.delete(file.name)
        for folder in sorted({"/".join(file.name.split("/")[:2]) for file in of_kind}):
            files.drop_folder(folder)
    for table in sorted(deletion.rows, key=lambda table: table == "sweeps"):
        store.delete(table, deletion.sweep_id)


def _trial_of(file: StoredFile, known: set[str]) -> str | None:
    """The trial that a file is of: of a module set the one with the longest name that its own begins with, since a
    sweep may be called as a trial of another one begins."""
    kind, name = folder_of(file.name)
    if kind == TRIALS:
        return name
    begun = [trial_id for trial_id in known if name.startswith(f"{trial_id}-")]
    return max(begun, key=len, default=None)


def _path(files: Files, file: StoredFile) -> str | None:
    return None if files.local is None else str(Path(files.local, file.name))
