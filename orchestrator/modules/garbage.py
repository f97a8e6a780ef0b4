"""Garbage in the storage: what nothing asks for any more, found first and then removed. Rows of the tables stay.

A set's manifest goes first and its row last, so that what was interrupted neither looks whole nor is forgotten: running
it again goes on.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from moda_core.sets import MANIFEST
from orchestrator.modules.model_card import CARD
from orchestrator.modules.module_log import PUBLISHED, Row, last_events, published_row, removed_row
from orchestrator.modules.retention import Retention
from orchestrator.storage import (
    AFTER_CHECKPOINT,
    CHECKPOINT,
    METHOD_PARTS,
    MODULES,
    TRIALS,
    WEIGHTS,
    Files,
    ResultStore,
    StoredFile,
    folder_of,
    is_counts_file,
    is_set_of,
    set_file,
    set_folder,
    trial_folder,
)

SETS, TRAINED, CHECKPOINTS, PARTS = (
    "module sets of points that are not on the front",
    "weights and counts of trials without a point there",
    "checkpoints of trials that are over",
    "files of interrupted writes",
)
# In the order in which they go: without the first a trial is gone.
TRAINED_FILES = (WEIGHTS, METHOD_PARTS)  # and then what rules counted
PUBLISHED_FILES = (MANIFEST, WEIGHTS, CARD)  # whatever else is in a set's folder was put there by somebody else
PART_FOLDER = re.compile(r"\.moda-\w+\.part")  # as moda_core.placing calls it
PART_FILE = re.compile(r"\.moda-\w+\.part|.+\.\d+\.part")  # the latter: of older versions
GRACE = timedelta(hours=1)  # a write that began longer ago will not end any more


@dataclass(frozen=True)
class Removal:
    """Files of one folder that go together, in this order, and why."""

    what: str
    sweep_id: str
    folder: str
    files: tuple[StoredFile, ...]

    @property
    def count(self) -> int:
        """The number of its files."""
        return len(self.files)

    @property
    def bytes(self) -> int:
        """The size of its files."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class Garbage:
    """What is to go.

    Attributes:
        removals: the files.
        unrecorded: module sets that the log does not tell of, by name, and a retention that knows them.
        gone: the rows of sets that the log tells of and that are not there, as after a removal that was interrupted.
        unknown: files of no known sweep, by folder; they stay.
    """

    removals: list[Removal]
    unrecorded: dict[str, Retention]
    gone: list[Row]
    unknown: dict[str, list[StoredFile]]


def collect(
    retentions: Sequence[Retention],
    log: Mapping[str, Row],
    files: Sequence[StoredFile],
    known_trials: set[str],
    now: datetime,
) -> Garbage:
    """Find what can be removed.

    Args:
        retentions: what stays of the sweeps that are looked at.
        log: the last event of each of their module sets, as the tables had it before the files were listed.
        files: under ``modules`` and ``trials``.
        known_trials: ids of the trials of all sweeps, looked at or not.
        now: the time.
    """
    trials = {trial.trial_id: each for each in retentions for trial in each.sweep.trials}
    sets = {name: each for each in retentions for name in each.sets}
    garbage = Garbage([], {}, [], {})
    complete = set()
    ordered = sorted(files, key=lambda file: folder_of(file.name))
    for (kind, name), grouped in groupby(ordered, key=lambda file: folder_of(file.name)):
        folder = f"{kind}/{name}"
        contents = list(grouped)
        if kind == MODULES and name in sets:
            if any(file.name == f"{folder}/{MANIFEST}" for file in contents):
                complete.add(name)
            garbage.removals.extend(_of_set(sets[name], name, contents, log.get(name), now))
        elif kind == MODULES and PART_FOLDER.fullmatch(name):  # its name does not say whose set it was to be
            garbage.removals.extend(_stale_parts("", folder, contents, now))
        elif kind == TRIALS and name in trials:
            garbage.removals.extend(_of_trial(trials[name], name, contents, now))
        elif not (name in known_trials if kind == TRIALS else is_set_of(name, known_trials)):
            garbage.unknown[folder] = contents
    recorded = {name for name, last in log.items() if last["event"] == PUBLISHED}
    garbage.unrecorded.update({name: sets[name] for name in sorted(complete - recorded)})
    garbage.gone.extend(log[name] for name in sorted(recorded - complete))
    return garbage


def survey(store: ResultStore, files: Files, retentions: Sequence[Retention], now: datetime) -> Garbage:
    """Find what can be removed from a storage. The tables are read before the files are listed, so that what a trial or
    a publisher writes meanwhile is newer than the judgement, and stays.
    """
    asked = {retention.sweep.sweep_id for retention in retentions}
    rows = store.read("modules")
    log = {name: row for name, row in last_events(rows).items() if row["sweep_id"] in asked}
    listed = [*files.under(MODULES), *files.under(TRIALS)]
    return collect(retentions, log, listed, set(store.read("trials")["trial_id"].to_pylist()), now)


def remove(garbage: Garbage, store: ResultStore, files: Files, now: Callable[[], datetime]) -> None:
    """Remove what a survey found, and record it in the table ``modules``.

    Raises:
        OSError: a file that cannot be removed; those before it are gone, and the same again goes on.
    """
    published = {name: _published(each, name, files, now()) for name, each in garbage.unrecorded.items()}
    store.append("modules", list(published.values()))
    for removal in garbage.removals:
        for file in removal.files:
            files.delete(file.name)
        files.drop_folder(removal.folder)
    log = last_events(store.read("modules"))
    names = [folder_of(removal.folder)[1] for removal in garbage.removals if removal.what == SETS]
    store.append("modules", [removed_row(row, now()) for row in (*garbage.gone, *(log[name] for name in names))])


def _of_set(kept: Retention, name: str, files: Sequence[StoredFile], last: Row | None, now: datetime) -> list[Removal]:
    sweep_id, folder = kept.sweep.sweep_id, set_folder(name)
    own = [file for file in files if file.folder == folder and (file.base in PUBLISHED_FILES or _is_part(file))]
    is_whole = any(file.base == MANIFEST for file in own)
    if is_whole and name not in kept.kept_sets:
        ordered = sorted(own, key=lambda file: file.base != MANIFEST)
        return [Removal(SETS, sweep_id, folder, tuple(ordered))]
    stale = [file for file in own if now - file.modified > GRACE]
    if is_whole:
        stale = [file for file in stale if _is_part(file)]
    elif last is not None and last["event"] == PUBLISHED:  # it was whole: what is left of a removal is no older
        stale = [file for file in own if file in stale or file.modified <= last["time"]]
    return [Removal(PARTS, sweep_id, folder, tuple(stale))] if stale else []


def _stale_parts(sweep_id: str, folder: str, files: Sequence[StoredFile], now: datetime) -> list[Removal]:
    stale = tuple(file for file in files if now - file.modified > GRACE)
    return [Removal(PARTS, sweep_id, folder, stale)] if stale else []


def _of_trial(kept: Retention, trial_id: str, files: Sequence[StoredFile], now: datetime) -> list[Removal]:
    if trial_id not in kept.over:
        return []
    by_name = {file.base: file for file in files if file.folder == trial_folder(trial_id)}
    counts = [name for name in by_name if is_counts_file(name)]
    names = {
        TRAINED: () if trial_id in kept.kept_trials else (*TRAINED_FILES, *sorted(counts)),
        CHECKPOINTS: (CHECKPOINT, AFTER_CHECKPOINT),
        PARTS: tuple(name for name, file in by_name.items() if _is_part(file) and now - file.modified > GRACE),
    }
    chosen = {what: tuple(by_name[name] for name in some if name in by_name) for what, some in names.items()}
    folder = trial_folder(trial_id)
    return [Removal(what, kept.sweep.sweep_id, folder, some) for what, some in chosen.items() if some]


def _published(kept: Retention, name: str, files: Files, now: datetime) -> Row:
    point, manifest = kept.sets[name], files.read(set_file(name, MANIFEST))
    return published_row(kept.sweep.sweep_id, point.trial.trial_id, point.choice, name, manifest, now)


def _is_part(file: StoredFile) -> bool:
    return PART_FILE.fullmatch(file.base) is not None
