"""What a command is: its name, its function, its options and its words; and the parser that many of them make."""

import argparse
import itertools
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from orchestrator.cli.asked import Asked
from orchestrator.errors import ConfigError


class Argument:
    """A positional argument or an option, as ``argparse`` takes it."""

    def __init__(self, *names: str, **settings: Any) -> None:
        self.names = names
        self.settings = settings

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
    """

    name: str
    run: Callable[[Asked, argparse.Namespace, Console], int | None]
    summary: str
    details: str
    arguments: tuple[Argument, ...] = ()
    overrides: str = "configuration overrides, see below"
    accepts: tuple[str, ...] | None = None
    otherwise: str = ""
    only_looks: bool = False

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
            textwrap.fill(" ".join(block), width) if is_prose else "\n".join(block) for is_prose, block in blocks
        )


def make_parser(commands: Sequence[Command], description: str, details: str) -> argparse.ArgumentParser:
    """The parser of the command line.

    Args:
        commands: in the order in which they are listed.
        description: of the whole program, above the list.
        details: the text below the list.
    """
    parser = argparse.ArgumentParser(prog="moda", description=description, epilog=details, formatter_class=_Formatter)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")
    for command in commands:
        subparser = subparsers.add_parser(
            command.name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=command.details,
            formatter_class=_Formatter,
        )
        for argument in command.arguments:
            subparser.add_argument(*argument.names, **argument.settings)
        subparser.add_argument("overrides", nargs="*", metavar="key=value", help=command.overrides)
    return parser
