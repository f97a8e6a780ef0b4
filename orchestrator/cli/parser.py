"""What a command is: its name, its function, its options and its words; and the parser that many of them make."""

import argparse
import difflib
import itertools
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.cli.asked import Asked
from orchestrator.cli.completers import Completer, complete_override
from orchestrator.cli.output import Output
from orchestrator.errors import ConfigError

LISTED_WIDTH, NAME_WIDTH = 79, 11  # columns of the list of commands, and of a command's name in it


class Argument:
    """A positional argument or an option, as ``argparse`` takes it.

    Args:
        names: as ``argparse`` takes them.
        completer: what the shell may complete it to, a function of :mod:`orchestrator.cli.completion`; None: files.
        settings: as ``argparse`` takes them.
    """

    def __init__(self, *names: str, completer: Completer | None = None, **settings: Any) -> None:
        self.names = names
        self.settings = settings
        self.completer = completer

    @property
    def takes_several(self) -> bool:
        """Whether it takes several words, so that overrides behind it are read as its own."""
        return "nargs" in self.settings

    @property
    def key(self) -> str:
        """The name of its value in the parsed options."""
        return str(self.settings.get("dest", self.names[0].lstrip("-").replace("-", "_")))


@dataclass(frozen=True)
class Command:
    """A command: a row of the table in :mod:`orchestrator.cli.command_table`.

    Attributes:
        name: the word after ``moda``.
        run: its function, which returns an exit code or None for 0.
        summary: what it does, in a phrase.
        details: the text below its options, with examples.
        arguments: its arguments and options.
        overrides: which overrides it takes, in words.
        accepts: what its overrides may begin with; None if ``run`` checks them.
        otherwise: why other overrides are refused.
        only_looks: whether it reads what is recorded and runs no code but this package's.
        checks_first: whether wrong overrides are refused before it runs.
        prints_result: whether it takes ``--quiet`` and ``--json``.
    """

    name: str
    run: Callable[[Asked, argparse.Namespace, Output], int | None]
    summary: str
    details: str
    arguments: tuple[Argument, ...] = ()
    overrides: str = "configuration overrides, see below"
    accepts: tuple[str, ...] | None = None
    otherwise: str = ""
    only_looks: bool = False
    checks_first: bool = True
    prints_result: bool = True

    def check_overrides(self, overrides: Sequence[str]) -> None:
        """Refuse overrides that the command does not take.

        Raises:
            ConfigError: the first of them, and what the command takes.
        """
        if self.accepts is None:
            return
        if wrong := [override for override in overrides if not override.startswith(self.accepts)]:
            taken = [f"{start}key=" if start.endswith(".") else start for start in self.accepts]
            takes = f"{', '.join(taken)} only" if taken else "no overrides"
            raise ConfigError(f"{wrong[0]}: this command takes {takes}{self.otherwise and f'; {self.otherwise}'}")


class _Formatter(argparse.HelpFormatter):
    """Fills paragraphs to the width of the terminal, and leaves indented lines as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        blocks = itertools.groupby(lines, key=lambda line: bool(line) and not line.startswith(" "))
        return "\n".join(
            textwrap.fill(" ".join(block), width, break_on_hyphens=False) if is_prose else "\n".join(block)
            for is_prose, block in blocks
        )


class _Parser(argparse.ArgumentParser):
    """Says of a word that is no command which one may have been meant."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        known = list(action.choices or ())
        if action.dest == "command" and value not in known:
            close = difflib.get_close_matches(str(value), known, n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise argparse.ArgumentError(None, f"{value!r} is not a command; {meant}moda --help lists them")
        super()._check_value(action, value)


class _Version(argparse.Action):
    """``--version``: looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any, **named: Any) -> None:
        from orchestrator.results import own_version

        parser.exit(message=f"moda {own_version()}\n")


def make_parser(groups: Mapping[str, Sequence[Command]], description: str, details: str) -> argparse.ArgumentParser:
    """The parser of the command line.

    Args:
        groups: commands under a title, in the order in which they are listed.
        description: of the whole program, above the list.
        details: the text below the list.
    """
    text = f"{description}\n\n{_listed(groups)}"
    parser = _Parser(
        prog="moda", usage="moda COMMAND ...", description=text, epilog=details, formatter_class=_Formatter
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    subparsers = parser.add_subparsers(
        dest="command", required=True, metavar="command", help=argparse.SUPPRESS, prog="moda"
    )
    for command in itertools.chain.from_iterable(groups.values()):
        subparser = subparsers.add_parser(
            command.name,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=command.details,
            formatter_class=_Formatter,
        )
        for argument in command.arguments:
            added = subparser.add_argument(*argument.names, **argument.settings)
            added.completer = argument.completer  # type: ignore[attr-defined]
        if command.prints_result:
            subparser.add_argument("--quiet", action="store_true", help="print the result without progress and hints")
            subparser.add_argument(
                "--json", action="store_true", help="print the result as JSON; progress goes to stderr"
            )
        overrides = subparser.add_argument(
            "overrides", nargs="*", default=[], metavar="key=value", help=command.overrides
        )
        overrides.completer = complete_override  # type: ignore[attr-defined]
    return parser


def _listed(groups: Mapping[str, Iterable[Command]]) -> str:
    """The commands with their summaries, under the titles of their groups."""
    lines = []
    for title, commands in groups.items():
        lines.append(f"{title}:")
        for command in commands:
            lines += textwrap.wrap(
                command.summary,
                LISTED_WIDTH,
                initial_indent=f"  {command.name:<{NAME_WIDTH}}",
                subsequent_indent=" " * (NAME_WIDTH + 2),
            )
        lines.append("")
    return "\n".join(lines).rstrip()
