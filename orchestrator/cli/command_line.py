"""The command line: ``moda <command> [overrides]``."""

import argparse
import logging
import re
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from orchestrator.cli import commands
from orchestrator.cli.endings import INTERRUPTED, UNREAD, end, is_unread
from orchestrator.config import Config, compose_config, is_override, parse_config, render_config
from orchestrator.modules import FORMS
from orchestrator.results import POINT_NAME

EPILOG = """\
Overrides are Hydra's: group=choice (model, data, method, search, training, tracking, experiment) or key=value, e.g.
  moda train method=standard training.epochs=60
  moda sweep experiment=digits sweep.trials=32 storage=s3://bucket/moda
  moda sweep 'search.space.learning_rate={low: 0.01, high: 0.2, log: true}'
Names, paths and classes are taken as typed; null, ${oc.env:NAME} and quotes, key="'...'", are Hydra's.
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


PULLING = f"""\
REF is one of
{FORMS}
What comes from elsewhere is checked against its manifest, file by file, and kept by its sha256 in ~/.cache/moda
(MODA_CACHE_DIR; at most MODA_CACHE_GIB, default 5), so that pulling again downloads nothing. E.g.
  moda pull sweep:mine/best --to modules
  moda pull sweep:mine/knee --classes cat dog --to pets storage=s3://bucket/moda
  moda pull team/project/mine:best --classes cat --to cat
"""
QUERYING = """\
Views: sweeps, trials (the event log), epochs, points, rungs, modules, front; their columns: docs/tables.md. The SQL is
DuckDB's, and sees this sweep's rows and nothing else. E.g.
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
COLLECTING = """\
Shows what no front asks for any more; with --delete it goes. A sweep's front is judged as the sweep was recorded, and
stays: module sets, weights and counts of its points (with search.repeats of all their trainings), and so do the points
of a confirmation. What goes: module sets of other points, what trials without such a point left, checkpoints of trials
that are over, and writes that were interrupted more than an hour ago. Trials that may go on are left alone, and so is
what belongs to no known sweep. No row of a table goes, so that sweep, front, report, query and confirm know what they
knew; a point that is gone cannot be pulled, nor its trial trained again for comparison. Where the sweep is in W&B and a
key is there, versions of its artifacts go likewise: those of points that left the front, unless somebody gave them an
alias. E.g.
  moda gc
  moda gc mine storage=s3://bucket/moda
  moda gc mine another --delete
"""


SEVERAL = ("points", "classes", "sweeps")  # what takes several words
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"  # what text editors make of -
PASTED_OPTION = re.compile(rf"-?[{DASHES}]+[a-z][a-z-]*(=|$)")
LOG_WIDTH = 150  # of tables where the output is no terminal


class _Output(Console):
    """Where a command prints: rich would end the process where nobody reads any more, with a code of its own."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code. 0: it worked; 1: no trial of a sweep did, W&B did not, or a rerun gave other rows; 2: a mistake
        in what was asked; 70: a bug of this package; 71: memory or a disk is used up; 130: interrupted; 141: nobody
        reads its output any more. Of all but 0, 1 and 141 one line on stderr tells.
    """
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("orchestrator.search").setLevel(logging.INFO)  # a reference point that was not stated is said
    options = _options(arguments)
    try:
        code = _run(options)
        sys.stdout.flush()  # here, where it is known what to do if nobody reads
        return code
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and is_unread():
            return UNREAD
        return end(error, options.command)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The words of the command line: overrides may stand anywhere."""
    parser = _parser()
    arguments = sys.argv[1:] if arguments is None else arguments
    if pasted := [one for one in arguments if PASTED_OPTION.match(one)]:
        typed = pasted[0].lstrip(f"-{DASHES}")
        parser.error(f"{pasted[0]!r} begins with a dash of a document, not with the keyboard's; type --{typed}")
    options, more = parser.parse_known_args(_overrides_last(arguments))
    if wrong := [one for one in more if one.startswith("-") or "=" not in one]:
        parser.error(f"unknown argument {wrong[0]!r}; overrides are key=value, see moda {options.command} --help")
    options.overrides += more  # overrides that followed an option
    for name in SEVERAL:  # which then takes overrides too
        words = getattr(options, name, None) or []
        if overrides := [one for one in words if is_override(one)]:
            options.overrides += overrides
            setattr(options, name, [one for one in words if one not in overrides])
    return options


def _run(options: argparse.Namespace) -> int:
    mine = [one for one in options.overrides if not commands.is_view(one, options.command)]
    if options.command == "confirm":  # the rest of its overrides is for the recorded configuration
        mine = [one for one in mine if one.startswith(("storage=", "tracking"))]
    plain = compose_config(mine)
    config = parse_config(plain)
    if getattr(options, "cfg", False):
        print(render_config(plain), end="")
        return 0
    console = _Output() if sys.stdout.isatty() else _Output(width=LOG_WIDTH)
    command: Callable[[Config, argparse.Namespace, Console], int | None] = options.run
    return command(config, options, console) or 0


def _overrides_last(arguments: Sequence[str]) -> list[str]:
    """Overrides may stand anywhere: an early one is neither the sweep nor the SQL. After an option comes its value."""
    is_value = [False, *(word.startswith("-") for word in arguments)]
    words = zip(arguments, is_value, strict=False)
    return [word for word, _ in sorted(words, key=lambda pair: is_override(pair[0]) and not pair[1])]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moda",
        description="Search the coefficients of modular training, keep what was found, pull the best modules.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, run: object, text: str, *, overrides: str | None = None) -> argparse.ArgumentParser:
        command = subparsers.add_parser(
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
        add("train", commands.train, "train once, then show every free choice: tau and threshold, or level"),
        add("sweep", commands.sweep, "search the coefficients on Ray; the same command again goes on where it stopped"),
        add("decompose", commands.decompose, "count, cut and measure a network that was trained elsewhere"),
    ]
    trainers[-1].add_argument("checkpoint", help="safetensors or a PyTorch state dict; give its model= and data= too")
    for command in trainers:
        command.add_argument("--cfg", action="store_true", help="print the resolved configuration and stop")
    text = "train chosen points again with fresh seeds, or at full size, before they are called best"
    command = add("confirm", commands.confirm, text, overrides="training., data. or model. keys, see below")
    command.epilog = CONFIRMING
    command.add_argument("sweep", help="the sweep's id")
    command.add_argument(
        "--points", nargs="+", default=["front"], metavar="POINT", help=f"front (default), best, knee, {POINT_NAME}"
    )
    command.add_argument("--seeds", type=int, default=3, help="fresh trainings of each set of coefficients (default 3)")
    add("front", commands.front, "show a sweep's Pareto front", overrides=looking).add_argument(
        "sweep", help="the sweep's id"
    )
    command = add("report", commands.report, "write a sweep's report: one self-contained HTML file", overrides=looking)
    command.add_argument("sweep", help="the sweep's id")
    command.add_argument("--to", metavar="FILE", help="where to write it (default <sweep>.html)")
    looking += "; data.root=..., data.path=... where the data lies here"
    command = add(
        "pull", commands.pull, "bring a module set, or some of its classes, to a local folder", overrides=looking
    )
    command.epilog = PULLING
    command.add_argument("reference", metavar="REF", help="what is pulled, see below")
    command.add_argument("--classes", nargs="+", metavar="NAME", help="a set of these classes alone (default all)")
    command.add_argument("--to", metavar="DIR", required=True, help="a new folder")
    text = "write a pulled module as one file for other runtimes: ONNX, or torch.export's .pt2"
    command = add("export", commands.export, text, overrides="none are taken")
    command.add_argument("folder", help="a module set that moda pull made")
    command.add_argument("--classes", nargs="+", metavar="NAME", help="which, in the order of the logits (default all)")
    command.add_argument("--to", metavar="FILE", required=True, help="a new file, .onnx or .pt2")
    text = "train a finished trial again and say whether the same rows come out; exit code 1 if not"
    add(
        "rerun", commands.rerun, text, overrides="storage=...; data.root=..., data.path=... where the data lies here"
    ).add_argument("trial", help="its id, like mine-0003, or mine/3")
    command = add(
        "query", commands.query, "ask a sweep's tables in SQL", overrides="storage=... where it is not the default"
    )
    command.epilog = QUERYING
    command.add_argument("sweep", help="the sweep's id")
    command.add_argument("sql", metavar="SQL", help="one SELECT")
    command.add_argument("--format", default="table", metavar="FORM", help="table (default), csv, json or arrow")
    command.add_argument("--to", metavar="FILE", help="where to write it (default: the terminal)")
    text = "find what no front asks for any more, and remove it where --delete is given"
    command = add("gc", commands.gc, text, overrides="storage=... where it is not the default")
    command.epilog = COLLECTING
    command.add_argument("sweeps", nargs="*", metavar="SWEEP", help="ids of sweeps (default: all of the storage)")
    command.add_argument("--delete", action="store_true", help="remove it; without this it is only shown")
    text = "mend a class of one module set with another set's module, and show the control"
    command = add("replace", commands.replace, text, overrides="data=... or data.key=..., see below")
    command.epilog = REPLACING
    command.add_argument("weak", help="the folder of the set whose class is replaced")
    command.add_argument("strong", help="the folder of the set that gives the module")
    command.add_argument("--class", metavar="NAME", dest="class_name", required=True, help="the class")
    command.add_argument("--epochs", type=int, default=5, help="of the added layer (default 5)")
    command.add_argument("--seed", type=int, default=0, help="of its weights and the order of images (default 0)")
    for command in subparsers.choices.values():
        command.add_argument("overrides", nargs="*", metavar="key=value", help=command.get_default("overrides_help"))
    return parser
