"""The command line: ``moda <command> [overrides]``."""

import argparse
import dataclasses
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.config import Config, compose_config, override_config, parse_config, render_config
from orchestrator.records import read_sweep
from orchestrator.results import POINT_NAME, Sweep
from orchestrator.sections import ConfigError
from orchestrator.storage import Files, resolve_root
from orchestrator.store import DeltaStore

if TYPE_CHECKING:
    from orchestrator.registry import Pulled

EPILOG = """\
Overrides are Hydra's: group=choice (model, data, method, search, training, tracking, experiment) or key=value, e.g.
  moda train method=standard training.epochs=60
  moda sweep experiment=digits sweep.trials=32 storage=s3://bucket/moda
  moda sweep 'search.space.learning_rate={low: 0.01, high: 0.2, log: true}'
Results go to storage= (default ~/moda-results, or MODA_STORAGE); data sets are looked for in MODA_DATA_DIR.
"""
REPLACING = """\
Both sets are folders that moda pull made. The data is the weak set's own, as it records it; data=... and data.key=...
say otherwise. A linear layer on top of the logits is trained on its training images, without augmentation; the
accuracies are on its test images. The control is the same layer on the weak network's own logits: what the layer alone
gains. E.g.
  moda replace weak strong --class 3
  moda replace weak strong --class cat data.root=/data
"""


QUERYING = """\
Views: sweeps, trials (the event log), epochs, rungs, points, front; their columns: docs/tables.md. The SQL is DuckDB's,
and sees this sweep's rows and nothing else. E.g.
  moda query mine "select number, event, reason from trials order by number, time"
  moda query mine "select point, reuse_accuracy, test_reuse_accuracy, module_size from front"
  moda query mine "from points where split = 'test'" --format csv --to points.csv
"""
CONFIRMING = """\
The best of many noisy points is partly luck. This trains the coefficients of chosen points again, with seeds that the
sweep did not use (its own + 1000 and following), measures the points on validation and test, and says how far the front
held. Points that share coefficients share trainings. Overrides go on top of the sweep's own configuration, so that what
was searched on small data and few epochs is trained at full size. The same command again resumes. E.g.
  moda confirm mine
  moda confirm mine --points best knee --seeds 5
  moda confirm mine training.epochs=200 data.limit=null
"""


LOG_WIDTH = 150  # of tables where the output is no terminal
SHOWN_DIFFERENCES = 10
LOOKING = ("front", "pull", "report")
VIEWS = ("search.objectives", "search.constraints", "search.reference")  # by which points are judged, not made
VIEW_KEYS = [key.split(".") for key in VIEWS]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: 0 when it worked, 1 when no trial of a sweep did, 2 for a mistake in what was asked for."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("orchestrator.search").setLevel(logging.INFO)  # a reference point that was not stated is said
    parser = _parser()
    options, more = parser.parse_known_args(arguments)
    if wrong := [one for one in more if one.startswith("-") or "=" not in one]:
        parser.error(f"unknown argument {wrong[0]!r}; overrides are key=value, see moda {options.command} --help")
    options.overrides += more  # overrides that followed an option
    if points := getattr(options, "points", None):  # an option that takes several words takes overrides too
        options.overrides += [one for one in points if "=" in one]
        options.points = [one for one in points if "=" not in one]
    console = Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)
    try:
        mine = [one for one in options.overrides if not _is_view(one, options.command)]
        if options.command == "confirm":  # the rest of its overrides is for the recorded configuration
            mine = [one for one in mine if one.startswith(("storage=", "tracking"))]
        plain = compose_config(mine)
        config = parse_config(plain)
        if getattr(options, "cfg", False):
            print(render_config(plain), end="")
            return 0
        command: Callable[[Config, argparse.Namespace, Console], int | None] = options.run
        return command(config, options, console) or 0
    except ConfigError as error:
        print(f"moda {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _train(config: Config, options: argparse.Namespace, console: Console) -> None:
    from orchestrator.report.terminal import surface_table
    from orchestrator.single import train_one

    sweep = train_one(config, console)
    marks = {sweep.find("knee").label: "knee", sweep.find("best").label: "best"}
    console.print(surface_table(sweep.points, marked=marks, title="validation"))
    for name in ("best", "knee"):
        point = sweep.find(name)
        assert point.test is not None
        console.print(
            f"{name}: {point.choice}; on test: accuracy {point.test['accuracy']:.4f},"
            f" reuse accuracy {point.test['reuse_accuracy']:.4f} (whole model {point.test['reuse_baseline']:.4f}),"
            f" module size {point.test['module_size']:.4f}, overlap {point.test['module_overlap']:.4f}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"pull the modules: moda pull {sweep.sweep_id} --point best --to modules", highlight=False)


def _decompose(config: Config, options: argparse.Namespace, console: Console) -> None:
    training = dataclasses.replace(config.training, init_from=options.checkpoint, epochs=0)
    _train(dataclasses.replace(config, training=training), options, console)


def _sweep(config: Config, options: argparse.Namespace, console: Console) -> int:
    from orchestrator.progress import Progress
    from orchestrator.report.terminal import front_table
    from orchestrator.sweep import run_sweep

    sweep = run_sweep(config, Progress(console))
    if not sweep.front:
        print(f"moda sweep: {sweep.why_no_front}", file=sys.stderr)
        return 1
    console.print(front_table(sweep, title="the front"))
    console.print(f"look at it: moda report {sweep.sweep_id}", highlight=False)
    return 0


def _front(config: Config, options: argparse.Namespace, console: Console) -> None:
    from orchestrator.confirmation import confirmations
    from orchestrator.report.terminal import front_table

    sweep = _read(config, options)
    if not sweep.front:
        raise ConfigError(sweep.why_no_front)
    confirmed = confirmations(DeltaStore(resolve_root(config.storage)), sweep)
    console.print(front_table(sweep, title=f"the front of {sweep.sweep_id}"))
    for one in confirmed:
        now = one.name("best")
        console.print(
            f"confirmed by {one.sweep.sweep_id}: {len(one.told)} points with fresh seeds, best of them {now.label};"
            f" moda report {sweep.sweep_id} shows it",
            highlight=False,
            soft_wrap=True,
        )


def _confirm(config: Config, options: argparse.Namespace, console: Console) -> int:
    from orchestrator.confirm import Request, confirm
    from orchestrator.report.confirmed import confirmation_lines, confirmation_table

    request = Request(options.points, options.seeds, options.overrides)
    found = confirm(read_sweep(_store(config), options.sweep), request, config, console)
    console.print(confirmation_table(found))
    for line in confirmation_lines(found):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(f"look at it: moda report {options.sweep}", highlight=False)
    return 0 if found.told else 1


def _report(config: Config, options: argparse.Namespace, console: Console) -> None:
    from orchestrator.confirmation import confirmations
    from orchestrator.report.page import render_report

    sweep = _read(config, options)
    file = Path(options.to or f"{sweep.sweep_id}.html").expanduser().absolute()
    try:
        confirmed = confirmations(DeltaStore(resolve_root(config.storage)), sweep)
        file.write_text(render_report(sweep, confirmed), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--to {file}: cannot be written: {error.strerror}") from error
    console.print(f"report: {file}", highlight=False, soft_wrap=True)


def _pull(config: Config, options: argparse.Namespace, console: Console) -> None:
    from orchestrator.artifacts import is_reference
    from orchestrator.registry import pull

    if is_reference(options.sweep):
        _fetch(options, console)
        return
    sweep = _read(config, options)
    point = sweep.find(options.point)
    try:
        data_root = config.data.root if any(one.startswith("data.root=") for one in options.overrides) else None
        pulled = pull(sweep, point, resolve_root(config.storage), options.to, data_root=data_root)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    difference = f"cut and masked logits differ by {pulled.manifest['cut_masked_difference']:.1e} of the largest"
    _say_pulled(pulled, f"trial {point.trial.number}, {point.choice}", console, difference)


def _fetch(options: argparse.Namespace, console: Console) -> None:
    """An artifact from W&B instead of a set from the storage."""
    from orchestrator.artifacts import fetch

    if options.overrides or options.point != "best":
        wrong = options.overrides[0] if options.overrides else f"--point {options.point}"
        raise ConfigError(
            f"{wrong}: {options.sweep} is a W&B artifact and names its point itself, by what follows the colon"
        )
    try:
        pulled = fetch(options.sweep, options.to)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _say_pulled(pulled, options.sweep, console)


def _say_pulled(pulled: "Pulled", what: str, console: Console, *more: str) -> None:
    names = pulled.manifest["class_names"]
    facts = [what, f"{len(names)} classes", f"{pulled.bytes / 1024:.0f} KiB", *more]
    wanted = ", ".join(repr(name) for name in names[:2])
    for line in (
        f"{pulled.folder}: {', '.join(facts)}",
        f"use it: moda_core.load_modules({str(pulled.folder)!r}, classes=[{wanted}])",
    ):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _export(config: Config, options: argparse.Namespace, console: Console) -> None:
    from moda_core import export_modules, load_modules

    if options.overrides:
        raise ConfigError(f"{options.overrides[0]}: this command takes no overrides")
    try:
        module = load_modules(options.folder, options.classes)
        difference = export_modules(module, options.to)
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error
    console.print(
        f"{options.to}: preprocessed images in, logits of {', '.join(map(repr, module.class_names))} out;"
        f" differs from the module by {difference:.1e} of the largest logit",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def _rerun(config: Config, options: argparse.Namespace, console: Console) -> int:
    from orchestrator.rerun import rerun

    allowed = ("storage=", "data.root=")
    if wrong := [one for one in options.overrides if not one.startswith(allowed)]:
        raise ConfigError(f"{wrong[0]}: this command takes {', '.join(allowed)} only; the rest is as recorded")
    Files(config.storage)  # refuses what is no storage at all
    data_root = config.data.root if any(one.startswith("data.root=") for one in options.overrides) else None
    found = rerun(resolve_root(config.storage), options.trial, console, data_root=data_root)
    counted = " and ".join(f"{count} rows of {table}" for table, count in found.rows.items())
    weights = "the same weights" if found.same_weights else "other weights"
    lines = [f"{found.trial_id}: {counted} compared, {len(found.differences)} values differ; {weights}"]
    lines += found.differences[:SHOWN_DIFFERENCES]
    if len(found.differences) > SHOWN_DIFFERENCES:
        lines.append(f"and {len(found.differences) - SHOWN_DIFFERENCES} more")
    lines += [f"another version: {line}" for line in found.versions]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    return 0 if found.is_same else 1


def _replace(config: Config, options: argparse.Namespace, console: Console) -> None:
    from orchestrator.replace import Request, replace_from_sets
    from orchestrator.report.terminal import replacement_table

    allowed = ("data=", "data.", "training.gpus_per_worker=")
    if wrong := [one for one in options.overrides if not one.startswith(allowed)]:
        raise ConfigError(f"{wrong[0]}: this command takes data=, data.key= and training.gpus_per_worker= only")
    request = Request(options.weak, options.strong, options.class_name, epochs=options.epochs, seed=options.seed)
    try:
        found = replace_from_sets(request, config, options.overrides)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    title = f"class {request.class_name} of {request.weak} from {request.strong}, on test"
    console.print(replacement_table(found.accuracy, class_name=request.class_name, title=title))
    lines = [
        "control: the added layer on the weak network's own logits; others: the mean of their accuracies",
        f"the layer saw {found.training_images} training images of {found.data.name} {request.epochs} times, without"
        " augmentation",
        *(f"note: {note}" for note in found.notes),
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _query(config: Config, options: argparse.Namespace, console: Console) -> None:
    from orchestrator.query import query
    from orchestrator.report.rows import render_rows

    if wrong := [one for one in options.overrides if not one.startswith("storage=")]:
        raise ConfigError(f"{wrong[0]}: this command takes storage= only; the SQL is one argument, in quotes")
    if options.format == "arrow" and options.to is None and sys.stdout.isatty():
        raise ConfigError("--format arrow is nothing for a terminal; give --to FILE")
    _store(config)
    data = render_rows(query(config.storage, options.sweep, options.sql), options.format)
    if options.to is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    file = Path(options.to).expanduser().absolute()
    try:
        file.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"--to {file}: cannot be written: {error.strerror}") from error
    console.print(f"rows: {file}", highlight=False, soft_wrap=True)


def _read(config: Config, options: argparse.Namespace) -> Sweep:
    """The sweep of a command that only looks; its configuration is the recorded one."""
    allowed = ("storage=", "data.root=") if options.command == "pull" else ("storage=",)
    views = [one for one in options.overrides if _is_view(one, options.command)]
    if wrong := [one for one in options.overrides if one not in views and not one.startswith(allowed)]:
        known = ", ".join([*allowed, *(f"{key}=" for key in VIEWS)])
        raise ConfigError(f"{wrong[0]}: this command takes {known} only; the rest is as recorded")
    sweep = read_sweep(_store(config), options.sweep)
    return dataclasses.replace(sweep, config=override_config(sweep.config, views))


def _store(config: Config) -> DeltaStore:
    """The tables of the storage, which can be read."""
    store = DeltaStore(Files(config.storage).root)
    try:
        store.version("sweeps")
    except OSError as error:
        plain = " ".join(re.sub(r"\x1b\[\d+m|↳", "", str(error)).split())
        raise ConfigError(f"storage={config.storage!r} cannot be read: {plain}") from error
    return store


def _is_view(override: str, command: str) -> bool:
    """Whether an override of a command that only looks says what a recorded sweep is to be judged by."""
    return command in LOOKING and re.split(r"[.=]", override.lstrip("+~"), maxsplit=2)[:2] in VIEW_KEYS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moda",
        description="Search the coefficients of modular training, keep what was found, pull the best modules.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, run: object, text: str, *, overrides: str | None = None) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=EPILOG if overrides is None else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=run, overrides_help=overrides or "configuration, see below")
        return command

    looking = "storage=... where it is not the default; search.objectives.METRIC=max|min, search.constraints=[...]"
    trainers = [
        add("train", _train, "train once, then show every free choice: tau and threshold, or level"),
        add("sweep", _sweep, "search the coefficients on Ray; the same command again goes on where it stopped"),
        add("decompose", _decompose, "count, cut and measure a network that was trained elsewhere"),
    ]
    trainers[-1].add_argument("checkpoint", help="safetensors or a PyTorch state dict; give its model= and data= too")
    for command in trainers:
        command.add_argument("--cfg", action="store_true", help="print the resolved configuration and stop")
    text = "train chosen points again with fresh seeds, or at full size, before they are called best"
    command = add("confirm", _confirm, text, overrides="training., data. or model. keys, see below")
    command.epilog = CONFIRMING
    command.add_argument("sweep", help="the sweep's id")
    command.add_argument(
        "--points", nargs="+", default=["front"], metavar="POINT", help=f"front (default), best, knee, {POINT_NAME}"
    )
    command.add_argument("--seeds", type=int, default=3, help="fresh trainings of each set of coefficients (default 3)")
    add("front", _front, "show a sweep's Pareto front", overrides=looking).add_argument("sweep", help="the sweep's id")
    command = add("report", _report, "write a sweep's report: one self-contained HTML file", overrides=looking)
    command.add_argument("sweep", help="the sweep's id")
    command.add_argument("--to", metavar="FILE", help="where to write it (default <sweep>.html)")
    looking += "; data.root=... where the data lies here"
    command = add("pull", _pull, "bring a point's module set to a local folder", overrides=looking)
    command.add_argument("sweep", help="the sweep's id, or a W&B artifact: entity/project/sweep:best")
    command.add_argument("--point", default="best", help=f"best, knee, {POINT_NAME} (default best)")
    command.add_argument("--to", metavar="DIR", required=True, help="a new folder")
    text = "write a pulled module as one file for other runtimes: ONNX, or torch.export's .pt2"
    command = add("export", _export, text, overrides="none are taken")
    command.add_argument("folder", help="a module set that moda pull made")
    command.add_argument("--classes", nargs="+", metavar="NAME", help="which, in the order of the logits (default all)")
    command.add_argument("--to", metavar="FILE", required=True, help="a new file, .onnx or .pt2")
    text = "train a finished trial again and say whether the same rows come out; exit code 1 if not"
    add("rerun", _rerun, text, overrides="storage=...; data.root=... where the data lies here").add_argument(
        "trial", help="its id, like mine-0003, or mine/3"
    )
    command = add("query", _query, "ask a sweep's tables in SQL", overrides="storage=... where it is not the default")
    command.epilog = QUERYING
    command.add_argument("sweep", help="the sweep's id")
    command.add_argument("sql", metavar="SQL", help="one SELECT")
    command.add_argument("--format", default="table", metavar="FORM", help="table (default), csv, json or arrow")
    command.add_argument("--to", metavar="FILE", help="where to write it (default: the terminal)")
    text = "mend a class of one module set with another set's module, and show the control"
    command = add("replace", _replace, text, overrides="data=... or data.key=..., see below")
    command.epilog = REPLACING
    command.add_argument("weak", help="the folder of the set whose class is replaced")
    command.add_argument("strong", help="the folder of the set that gives the module")
    command.add_argument("--class", metavar="NAME", dest="class_name", required=True, help="the class")
    command.add_argument("--epochs", type=int, default=5, help="of the added layer (default 5)")
    command.add_argument("--seed", type=int, default=0, help="of its weights and the order of images (default 0)")
    for command in commands.choices.values():
        command.add_argument("overrides", nargs="*", metavar="key=value", help=command.get_default("overrides_help"))
    return parser
