"""The functions of the commands: each takes what the overrides ask for, the options and where to print.

They return the exit code, or None for 0. Whatever is slow to import is imported by the command that needs it.
"""

import argparse
import dataclasses
import sys
import time
from typing import TYPE_CHECKING, Any

from orchestrator.api import (
    PLACES,
    OpenSweep,
    check_looking,
    confirmed_table,
    is_judging,
    open_recorded,
    open_store,
    sweep_summary,
    write_output,
)
from orchestrator.cli.asked import Asked
from orchestrator.cli.output import Output, rows_of
from orchestrator.config import Config, absolute, read_published, storage_of
from orchestrator.errors import ConfigError
from orchestrator.results import ROLES
from orchestrator.storage import TABLES, Files, check_path

if TYPE_CHECKING:
    from orchestrator.modules import Pulled
    from orchestrator.results import Sweep

SHOWN_DIFFERENCES = 10
LOOKING = ("compare", "front", "pull", "report")


def train(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    _train(asked.config, output)


def _train(config: Config, output: Output) -> None:
    from orchestrator.runs import train_one
    from orchestrator.views import surface_table, tables_beside

    sweep = train_one(config, output.progress)
    if not config.data.has_validation:
        output.show(surface_table(sweep, title="test (no validation images: nothing is chosen)", on_test=True))
        output.show(*tables_beside(sweep, on_test=True))
        example = sweep.points[0].label
        output.hint(f"to pull the modules of a point: moda pull sweep:{sweep.sweep_id}/{example} --to modules")
        output.give(_result(sweep, storage=config.storage))
        return
    output.show(surface_table(sweep, title="validation"))
    output.show(*tables_beside(sweep))
    for name in ROLES:
        point = sweep.find(name)
        assert point.test is not None
        output.say(
            f"{name}: {point.choice}; on test: accuracy {point.test['accuracy']:.4f},"
            f" reuse accuracy {point.test[sweep.reuse_metric]:.4f} (whole network {point.test['reuse_baseline']:.4f}),"
            f" module size {point.test['cut_size']:.4f}, overlap {point.test['cut_overlap']:.4f}",
        )
    output.hint(f"to pull its modules: moda pull sweep:{sweep.sweep_id}/best --to modules")
    output.give(_result(sweep, storage=config.storage))


def decompose(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    training = dataclasses.replace(asked.config.training, init_from=absolute(options.checkpoint), epochs=0)
    _train(dataclasses.replace(asked.config, training=training), output)


def sweep(asked: Asked, options: argparse.Namespace, output: Output) -> int:
    if options.dry_run:
        return _plan(asked, output)
    from orchestrator.runs import run_sweep
    from orchestrator.views import Progress, front_table, tables_beside

    sweep = run_sweep(asked.config, Progress(output.progress))
    if not sweep.front:
        print(f"moda sweep: {sweep.why_no_front}", file=sys.stderr)
        return 1
    output.show(front_table(sweep, title="the front", width=output.width))
    output.show(*tables_beside(sweep))
    output.hint(*_next_lines(sweep, asked.config))
    output.give(_result(sweep, storage=asked.config.storage))
    return 0


def _plan(asked: Asked, output: Output) -> int:
    """Say what a sweep would do."""
    from orchestrator.runs import plan_sweep
    from orchestrator.views import bytes_text, duration_text

    plan = plan_sweep(asked.config)
    timing, upload = plan.timing, "nothing"
    if plan.upload_bytes:
        upload = f"at most {bytes_text(plan.upload_bytes)}: the module sets of best and knee, beside curves"
    begun = f" ({plan.over} are over)" if plan.over else ""
    first = f", of which {plan.baselines} are baselines" if plan.baselines else ""
    output.say(
        f"sweep {plan.sweep_id}: nothing is trained",
        *plan.data,
        f"trainings  {plan.missing} of {plan.trials}{begun}{first}; {plan.at_once} at once",
        f"each       {timing.steps} steps of {1000 * timing.step_seconds:.1f} ms, then {plan.choices} choices"
        f" measured in {duration_text(timing.after_seconds)}: about {duration_text(timing.seconds)}",
        f"time       about {duration_text(plan.seconds)} on machines like this one, with the test measurement",
        f"disk       about {bytes_text(plan.kept_bytes)} in {plan.storage}, and {bytes_text(plan.running_bytes)} of"
        " checkpoints while it runs",
        f"upload     {upload}",
    )
    if plan.has_step_after:
        output.say("not timed: the step after training of its method")
    facts = {
        name: getattr(plan, name) for name in ("missing", "seconds", "kept_bytes", "running_bytes", "upload_bytes")
    }
    output.give({**dataclasses.asdict(plan), **facts})
    return 0


def _next_lines(sweep: "Sweep", config: Config) -> list[str]:
    """What to do when a sweep is over; where results are not in the usual storage, with the storage."""
    place = "" if config.storage == storage_of([]) else f" storage={config.storage}"
    steps = {
        "look at the whole": f"moda report {sweep.sweep_id}{place}",
        "bring its modules": f"moda pull sweep:{sweep.sweep_id}/best --to modules{place}",
        "train the best again": f"moda confirm {sweep.sweep_id} --points best{place}",
    }
    width = max(map(len, steps))
    return ["next:", *(f"  {what:<{width}}  {command}" for what, command in steps.items())]


def _result(sweep: "Sweep", *, storage: str) -> dict[str, Any]:
    """What a training or a sweep has found, for ``--json``."""
    opened = OpenSweep(sweep, storage)
    return {
        **sweep_summary(opened),
        "front" if sweep.front else "points": rows_of(opened.front() if sweep.front else opened.points()),
    }


def reproduce(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator.runs import reproduce
    from orchestrator.views import compared_table

    published = read_published(asked.plain, asked.config)
    compared = reproduce(asked.config, published, options.seeds, output.progress)
    seeds = "one training each" if options.seeds == 1 else f"mean ± standard deviation over {options.seeds} seeds"
    title = f"\n{options.recipe}, method {asked.config.method.name}: published against measured on test, {seeds}"
    output.say(title)
    output.show(compared_table(compared, asked.config.metrics))
    output.say(f"published: {published.source}")
    if options.overrides:
        output.say(f"measured with {' '.join(options.overrides)}")
    output.give(
        [
            {
                "coefficients": dict(each.row.coefficients),
                "name": each.name,
                "published": each.published,
                "measured": list(each.measured),
            }
            for each in compared
        ]
    )


def front(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator.views import front_table, tables_beside

    sweep = _opened(asked, options, options.sweep).with_stages(*options.stages)
    if not sweep.recorded.front:
        raise ConfigError(sweep.recorded.why_no_front)
    output.show(
        front_table(sweep.recorded, title=f"the front of {sweep.sweep_id}", width=output.width, whole=options.all)
    )
    output.show(*tables_beside(sweep.recorded))
    for confirmation in sweep.confirmations:
        output.say(
            f"confirmed by {confirmation.sweep_id}: {len(confirmation.recorded.told)} points with fresh seeds, the best"
            f" is {confirmation.best.label}; moda report {sweep.sweep_id} shows the details",
        )
    output.give(_result(sweep.recorded, storage=sweep.storage))


def confirm(asked: Asked, options: argparse.Namespace, output: Output) -> int:
    from orchestrator.runs import Request, confirm
    from orchestrator.views import confirmation_lines, confirmation_table

    request = Request(options.points, options.seeds, options.overrides)
    parent = open_recorded(asked.storage, options.sweep).recorded
    confirmation = confirm(parent, request, asked.config, output.progress)
    output.show(confirmation_table(confirmation))
    output.say(*confirmation_lines(confirmation))
    output.hint(f"to write the report: moda report {options.sweep}")
    output.give(rows_of(confirmed_table(confirmation)))
    return 0 if confirmation.told else 1


def report(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    if options.watch is not None and not options.watch >= 1:
        raise ConfigError(f"--watch {options.watch:g}: give 1 second or more")
    while True:
        sweep = _opened(asked, options, options.sweep).with_stages(*options.stages)
        is_watched = options.watch is not None and not sweep.recorded.is_settled
        path = sweep.report(options.to or None, refresh=options.watch if is_watched else None)
        output.give({"report": str(path), "is_over": sweep.recorded.is_over})
        output.say(f"report written to {path}" + (f"; {sweep.recorded.finished_text}" if is_watched else ""))
        if not is_watched:
            return
        time.sleep(options.watch)


def pull(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator import api
    from orchestrator.modules import SweepPoint, parse_reference

    reference = parse_reference(options.reference)
    if not isinstance(reference, SweepPoint):
        pulled = api.pull(options.reference, options.to, *options.overrides, classes=options.classes)
        _say_pulled(pulled, options.reference, output)
        return
    point = _opened(asked, options, reference.sweep_id).point(reference.point)
    pulled = point.pull(options.to, classes=options.classes)
    _say_pulled(pulled, f"trial {point.recorded.trial.number}, {point.choice}", output)


def _say_pulled(pulled: "Pulled", what: str, output: Output) -> None:
    output.give(
        {
            "folder": str(pulled.folder),
            "classes": pulled.class_names,
            "bytes": pulled.bytes,
            "downloaded": pulled.downloaded,
            "manifest": pulled.manifest,
        }
    )
    names = pulled.class_names
    facts = [what, f"{len(names)} class{'es' if len(names) > 1 else ''}", f"{pulled.bytes / 1024:.0f} KiB"]
    facts += [f"{pulled.downloaded / 1024:.0f} KiB downloaded"] if pulled.downloaded else []
    facts += [
        f"its logits differ from the masked network's by {pulled.manifest['cut_masked_difference']:.1e} of the largest"
    ]
    wanted = ", ".join(map(repr, names[:2]))
    output.say(f"{pulled.folder}: {', '.join(facts)}")
    output.hint(f"to use it: moda_core.load_modules({str(pulled.folder)!r}, classes=[{wanted}])")


def classify(asked: Asked, options: argparse.Namespace, output: Output) -> int:
    from orchestrator.modules import classify_files
    from orchestrator.views import render_rows

    classified = classify_files(
        options.folder, options.images, classes=options.classes, may_reject=options.none_of_these
    )
    sys.stdout.buffer.write(render_rows(classified.rows, _row_format(options, output)))
    sys.stdout.buffer.flush()
    for line in classified.unreadable:
        print(line, file=sys.stderr)
    return 1 if classified.unreadable else 0


def _row_format(options: argparse.Namespace, output: Output) -> str:
    """The form of rows: ``--json`` is the short way to say ``--format json``, as other commands have it."""
    if output.is_json and options.format not in ("table", "json"):
        raise ConfigError(f"--json --format {options.format}: give one of them")
    return "json" if output.is_json else str(options.format)


def export(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from moda_core import export_modules, load_modules
    from moda_core.sets import check_export_path

    check_path(options.to)
    try:
        check_export_path(options.to)
    except ValueError as error:
        raise ConfigError(f"--to {error}") from error
    module = load_modules(options.folder, options.classes)
    difference = export_modules(module, options.to)
    output.give({"file": options.to, "classes": list(module.class_names), "largest_difference": difference})
    output.say(
        f"{options.to}: takes preprocessed images, returns the logits of {', '.join(map(repr, module.class_names))};"
        f" they differ from the module's by {difference:.1e} of the largest",
    )


def measure(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    import torch

    from orchestrator.modules import measure_modules
    from orchestrator.views import costs_table

    measured = measure_modules(options.folder, classes=options.classes, batches=options.batch, device=options.device)
    costs, threads = [dataclasses.asdict(cost) for cost in measured], torch.get_num_threads()
    output.show(costs_table(costs))
    rounds = ", ".join(f"{count} of {size}" for size, count in measured[0].rounds.items())
    output.hint(
        f"on {options.device} with {threads} {'thread' if threads == 1 else 'threads'}, float32; medians of rounds in"
        f" which every network computed a batch: {rounds}"
    )
    output.give({"device": options.device, "threads": threads, "networks": costs})


def rerun(asked: Asked, options: argparse.Namespace, output: Output) -> int:
    from orchestrator.runs import rerun

    root = Files(asked.storage).root  # refuses a path that cannot be a storage
    moved = [override for override in options.overrides if override.startswith((*PLACES, "training.init_from="))]
    repeated = rerun(root, options.trial, output.progress, data_root=_data_root(asked, options), moved=moved)
    counted = " and ".join(f"{count} rows of {table}" for table, count in repeated.rows.items())
    weights = "the weights are the same" if repeated.same_weights else "the weights differ"
    lines = [f"{repeated.trial_id}: {counted} compared, {len(repeated.differences)} values differ; {weights}"]
    lines += repeated.differences[:SHOWN_DIFFERENCES]
    if len(repeated.differences) > SHOWN_DIFFERENCES:
        lines.append(f"and {len(repeated.differences) - SHOWN_DIFFERENCES} more")
    lines += [f"package version changed: {line}" for line in repeated.versions]
    output.say(*lines)
    output.give({**dataclasses.asdict(repeated), "is_same": repeated.is_same})
    return 0 if repeated.is_same else 1


def replace(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator.modules import Request, replace_from_sets
    from orchestrator.views import replacement_table, replacement_verdict

    request = Request(
        options.weak, options.strong, options.class_name, epochs=options.epochs, seed=options.seed, to=options.to
    )
    replacement = replace_from_sets(request, asked.config, options.overrides)
    title = f"class {request.class_name} of {request.weak} from {request.strong}, on test"
    output.show(replacement_table(replacement.accuracy, class_name=request.class_name, title=title))
    lines = [
        replacement_verdict(replacement.accuracy, class_name=request.class_name),
        "control: the added layer on the weak network's own logits; others: the mean accuracy of the other classes",
        f"the layer was trained on {replacement.training_images} images of {replacement.data.name} for {request.epochs}"
        f" epoch{'s' if request.epochs > 1 else ''}, without augmentation",
        *(f"note: {note}" for note in replacement.notes),
    ]
    if request.to is not None:
        lines.append(f"to use it: moda_core.load_replaced({request.to!r}), or moda classify {request.to} photo.jpg")
    output.hint(*lines)
    output.give(
        {
            "class": request.class_name,
            "data": replacement.data.name,
            "training_images": replacement.training_images,
            "accuracy": dataclasses.asdict(replacement.accuracy),
            "notes": list(replacement.notes),
        }
    )


def query(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    from orchestrator.results import query
    from orchestrator.views import render_rows

    form = _row_format(options, output)
    if form == "arrow" and options.to is None and sys.stdout.isatty():
        raise ConfigError("--format arrow cannot be printed on a terminal; add --to FILE")
    open_store(asked.storage)
    data = render_rows(query(asked.storage, options.sweep, options.sql), form)
    if options.to is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    output.say(f"rows written to {write_output(options.to, data)}")


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


def _data_root(asked: Asked, options: argparse.Namespace) -> str | None:
    """The ``data.root`` that was typed, or None: the data is where the sweep recorded it."""
    return asked.config.data.root if any(word.startswith("data.root=") for word in options.overrides) else None


def _opened(asked: Asked, options: argparse.Namespace, sweep_id: str) -> OpenSweep:
    """The sweep of a command that only reads, with its recorded configuration."""
    places = ("data.root=", *PLACES) if options.command == "pull" else ()
    check_looking(options.overrides, ("storage=", *places))
    return open_recorded(asked.storage, sweep_id, options.overrides)


def is_view(override: str, command: str) -> bool:
    """Whether an override of a command that only reads changes how the points of a recorded sweep are judged."""
    return command in LOOKING and is_judging(override)
