"""The commands about what is recorded: ``list``, ``status``, ``show``, ``compare``, ``delete`` and ``gc``."""

import argparse
import dataclasses
import sys
from typing import Any

from orchestrator.api import check_looking, open_recorded, open_store, sweep_summary
from orchestrator.api import sweeps as recorded_sweeps
from orchestrator.cli.asked import Asked
from orchestrator.cli.output import Output, rows_of
from orchestrator.errors import ConfigError
from orchestrator.storage import TABLES, Files


def list_sweeps(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator.views import sweeps_table

    rows = recorded_sweeps(storage=asked.storage).to_pylist()
    output.give(rows)
    if not rows:
        output.say(f"storage={asked.storage} holds no sweeps")
        output.hint("to make one: moda sweep experiment=digits sweep.name=mine")
        return
    output.show(sweeps_table(rows))
    output.hint(f"to look at one: moda status {rows[-1]['sweep']}")


def status(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator.results import utc_now
    from orchestrator.views import status_lines

    store = open_store(asked.storage)
    opened = open_recorded(asked.storage, options.sweep)
    sweep, events = opened.recorded, store.read("trials", options.sweep)["time"].to_pylist()
    written = max(events, default=None)
    output.say(*status_lines(sweep, written, utc_now()))
    ways = ["to resume or extend it: its own command again"] if not sweep.is_over else []
    ways += [f"to look at the front: moda front {sweep.sweep_id}"] if sweep.front else []
    output.hint(*ways)
    output.give({**sweep_summary(opened), "written": written, "trials_of": rows_of(opened.trials())})


def show(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator.config import meant
    from orchestrator.results import read_classes, read_courses
    from orchestrator.views import front_table, trial_lines, worst_class_text

    store = open_store(asked.storage)
    sweep_id, number = _sweep_and_number(options.trial)
    opened = open_recorded(asked.storage, sweep_id)
    sweep = opened.recorded
    trial = next((trial for trial in sweep.trials if str(trial.number) == number), None)
    if trial is None:
        known = [f"{sweep_id}/{each.number}" for each in sweep.trials]
        last = f"; it has {known[0]} to {known[-1]}" if known else "; it has none yet"
        raise ConfigError(f"{options.trial}: no such trial of sweep {sweep_id!r}{meant(options.trial, known)}{last}")
    events = [row for row in store.read("trials", sweep_id).to_pylist() if row["trial_id"] == trial.trial_id]
    losses = read_courses(store, sweep_id).get(trial.trial_id, [])
    output.say(*trial_lines(sweep, trial, events, losses))
    points = [point for point in sweep.points if point.trial.number == trial.number]
    search = dataclasses.replace(sweep.config.search, repeats=1)
    alone = dataclasses.replace(sweep, points=points, config=dataclasses.replace(sweep.config, search=search))
    worst = []
    if points and alone.front:
        on_front = {point.label for point in sweep.front}
        output.show(front_table(alone, title="the trial's own front", whole=True, coefficients=False))
        kept = [point.label for point in alone.front if point.label in on_front]
        output.say(f"on the sweep's front: {', '.join(kept) or 'none'}")
        classes = read_classes(store, sweep)
        for label, roles in alone.roles.items():
            if (shown := classes.shown(alone.find(label))) is not None:
                output.say(f"{', '.join(roles)} of the trial, {label}: {worst_class_text(*shown)}")
                split, results = shown
                accuracy, name = float(results.accuracy_C[results.worst]), results.class_names[results.worst]
                worst.append({"point": label, "split": split, "class": name, "accuracy": accuracy})
        output.hint(f"to bring a point's modules: moda pull sweep:{sweep_id}/{alone.find('best').label} --to modules")
    facts: dict[str, Any] = dataclasses.asdict(trial)
    output.give(
        {
            **facts,
            "sweep": sweep_id,
            "events": events,
            "epochs": losses,
            "front": rows_of(dataclasses.replace(opened, recorded=alone).front()) if alone.front else [],
            "worst_classes": worst,
        }
    )


def compare(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator.results import SweepComparison
    from orchestrator.views import comparison_tables, reference_text

    check_looking(options.overrides, ("storage=",))
    first = open_recorded(asked.storage, options.sweep, options.overrides).recorded
    second = open_recorded(asked.storage, options.other).recorded
    comparison = SweepComparison.of(first, second)
    output.show(*comparison_tables(comparison))
    output.hint(f"both judged by {first.sweep_id}: hypervolume up to {reference_text(first)}")
    volumes = dict(zip((first.sweep_id, second.sweep_id), comparison.hypervolumes, strict=True))
    output.give(
        {
            "hypervolume": volumes,
            "reference": first.reference,
            "dominated": list(comparison.dominated),
            "attained": [
                {"within": level, "points": [None if point is None else point.label for point in points]}
                for level, *points in comparison.attained()
            ],
            "differences": [
                {"key": key, first.sweep_id: before, second.sweep_id: after}
                for key, before, after in comparison.differences()
            ],
        }
    )


def delete(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator.modules import delete_sweep, plan_deletions
    from orchestrator.results import utc_now
    from orchestrator.views import bytes_text

    store, files = open_store(asked.storage), Files(asked.storage)
    deletions = plan_deletions(store, files, options.sweeps)
    for deletion in deletions:
        output.say(f"sweep {deletion.sweep_id}:")
        for what, of_kind in deletion.files.items():
            output.say(f"  {len(of_kind)} {what}, {bytes_text(sum(file.bytes for file in of_kind))}")
        rows = ", ".join(f"{count} of {table}" for table, count in deletion.rows.items())
        output.say(f"  {sum(deletion.rows.values())} rows of the tables: {rows}")
        output.say(*(f"  kept: {name}, from which sweep {other!r} begins" for name, other in deletion.shared.items()))
        if deletion.begun:
            output.say(f"  {deletion.begun} of its trials are not over")
    if options.yes:
        for deletion in deletions:
            deletion.check_still(utc_now())
        for deletion in deletions:
            delete_sweep(deletion, store, files)
        output.say(f"deleted {', '.join(deletion.sweep_id for deletion in deletions)}")
    else:
        output.say("nothing was deleted; add --yes to delete this for good")
    output.hint("what stays: runs and artifacts in W&B, pulled modules, and older versions of the tables")
    output.give(
        [
            {
                "sweep": deletion.sweep_id,
                "deleted": options.yes,
                "files": [file.name for of_kind in deletion.files.values() for file in of_kind],
                "bytes": deletion.bytes,
                "rows": deletion.rows,
                "kept": deletion.shared,
            }
            for deletion in deletions
        ]
    )


def _sweep_and_number(trial: str) -> tuple[str, str]:
    """The sweep and the number of ``mine/3`` or ``mine-0003``."""
    sweep_id, slash, number = trial.rpartition("/")
    if not slash:
        sweep_id, _, number = trial.rpartition("-")
    if not (sweep_id and number.isdecimal()):
        raise ConfigError(f"{trial}: name a trial by its sweep and number, as mine/3, or by its id, as mine-0003")
    return sweep_id, str(int(number))


def gc(asked: Asked, options: argparse.Namespace, output: Output) -> int:
    from orchestrator.modules import delete_versions, remove, retentions, stale_versions, survey
    from orchestrator.results import utc_now
    from orchestrator.views import Removable, garbage_table, mebibytes, unknown_lines

    store, files = open_store(asked.storage), Files(asked.storage)
    kept = retentions(store, options.sweeps)
    surveyed = survey(store, files, kept, utc_now())
    stale, trouble = stale_versions(kept, store)
    removals: list[Removable] = [*surveyed.removals, *stale]
    if removals:
        output.show(garbage_table(removals))
    output.say(*(f"nothing is removed: {retention.sweep.why_no_front}" for retention in kept if retention.is_whole))
    output.say(*unknown_lines(surveyed.unknown))
    if not options.delete:
        output.say(
            "nothing was removed; add --delete to remove these files" if removals else "there is nothing to remove",
        )
    else:
        try:
            remove(surveyed, store, files, utc_now)
        except OSError as error:
            raise ConfigError(f"storage={asked.storage!r}: {error}; run the same command again to continue") from error
        deleted, refused = delete_versions(stale)
        trouble = trouble or refused
        count = sum(removal.count for removal in surveyed.removals)
        freed = f"removed {count} files, {mebibytes(sum(removal.bytes for removal in surveyed.removals))} MiB"
        output.say(freed + (f", and {deleted} artifact versions in W&B" if deleted else ""))
        compacted = sum(store.compact(table, sweep) for table in TABLES for sweep in options.sweeps or [None])
        output.say(f"merged {compacted} small files of the tables; no row was removed")
    output.give(
        {
            "deleted": options.delete,
            "removals": [
                {"what": each.what, "sweep": each.sweep_id, "files": each.count, "bytes": each.bytes}
                for each in removals
            ],
            "unknown": list(surveyed.unknown),
        }
    )
    if trouble:
        print(f"moda gc: {trouble}", file=sys.stderr)
    return 1 if trouble else 0
