"""The commands that train: `train`, `decompose`, `sweep`, `reproduce`, `confirm` and `rerun`.

Each command is a function of what the overrides ask for, the options and where to print. It returns the exit code, or
None for 0, and imports what is slow to import itself.
"""

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING

from orchestrator.api import (
    PLACES,
    confirmed_table,
    open_recorded,
)
from orchestrator.cli.asked import Asked
from orchestrator.cli.opened import result_of
from orchestrator.cli.output import Output, rows_of
from orchestrator.config import Config, absolute, read_published, storage_of
from orchestrator.results import ROLES
from orchestrator.storage import Files

if TYPE_CHECKING:
    from orchestrator.results import Sweep

SHOWN_DIFFERENCES = 10


def train(asked: Asked, options: argparse.Namespace, output: Output) -> None:
    _train(asked.config, output)


def _train(config: Config, output: Output) -> None:
    from orchestrator.runs import train_one
    from orchestrator.views import metrics_text, surface_table, tables_beside

    sweep = train_one(config, output.progress)
    if not config.data.has_validation:
        output.show(surface_table(sweep, title="test (no validation images: nothing is chosen)", on_test=True))
        output.show(*tables_beside(sweep, on_test=True))
        example = sweep.points[0].label
        output.hint(f"to pull the modules of a point: moda pull sweep:{sweep.sweep_id}/{example} --to modules")
        output.give(result_of(sweep, storage=config.storage))
        return
    output.show(surface_table(sweep, title="validation"))
    output.show(*tables_beside(sweep))
    shown = (sweep.reuse_metric, "reuse_baseline", "cut_size", "cut_overlap", "accuracy")
    for name in ROLES:
        point = sweep.find(name)
        output.say(f"{name}: {point.choice}; on test {metrics_text(sweep, point, shown, on_test=True)}")
    output.hint(f"to pull its modules: moda pull sweep:{sweep.sweep_id}/best --to modules")
    output.give(result_of(sweep, storage=config.storage))


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
    output.give(result_of(sweep, storage=asked.config.storage))
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


def _data_root(asked: Asked, options: argparse.Namespace) -> str | None:
    """The ``data.root`` that was typed, or None: the data is where the sweep recorded it."""
    return asked.config.data.root if any(word.startswith("data.root=") for word in options.overrides) else None
