"""Where a command prints: its result as text or as JSON, its progress, and what to do next."""

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
from rich.console import Console, RenderableType

from orchestrator.errors import ConfigError

LOG_WIDTH = 150  # columns of a table where the output is not a terminal


class _Console(Console):
    """Rich itself ends the process with exit code 1 when its output is closed."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Output:
    """What a command prints.

    Attributes:
        progress: a console for what happens meanwhile. ``--quiet`` silences it, and with ``--json`` it is stderr.
        is_json: whether the result is JSON.
    """

    def __init__(self, *, is_quiet: bool = False, is_json: bool = False) -> None:
        self.is_json = is_json
        self._is_quiet = is_quiet
        self._console = _console(quiet=is_json)
        self.progress = _console(quiet=is_quiet, stderr=is_json)

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Output":
        """Return the output that the options of a command ask for."""
        return cls(is_quiet=getattr(options, "quiet", False), is_json=getattr(options, "json", False))

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where the output is none, so that nothing need be left out."""
        return self._console.width if self._console.is_terminal else None

    def show(self, *parts: RenderableType) -> None:
        """Print tables and other parts of the result."""
        for part in parts:
            self._console.print(part)

    def say(self, *lines: str) -> None:
        """Print lines of the result as they are, neither folded nor read as markup."""
        _print_plain(self._console, lines)

    def hint(self, *lines: str) -> None:
        """Print lines that explain the result or name the next commands; ``--quiet`` and ``--json`` leave them out."""
        if not self._is_quiet:
            _print_plain(self._console, lines)

    def give(self, result: Mapping[str, Any] | list[Any]) -> None:
        """Print the result as JSON, if it was asked for in this form."""
        if self.is_json:
            sys.stdout.write(json.dumps(result, default=_plain, indent=2, allow_nan=False) + "\n")


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table without what is null in all of them."""
    kept = [name for name in table.column_names if table[name].null_count < table.num_rows]
    rows: list[dict[str, Any]] = table.select(kept).to_pylist()
    return rows


def row_format(options: argparse.Namespace, output: Output) -> str:
    """The form of rows: ``--json`` is the short way to say ``--format json``, as other commands have it."""
    if output.is_json and options.format not in ("table", "json"):
        raise ConfigError(f"--json --format {options.format}: give one of them")
    return "json" if output.is_json else str(options.format)


def _console(*, quiet: bool, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return _Console(quiet=quiet, stderr=stderr, width=None if stream.isatty() else LOG_WIDTH)


def _print_plain(console: Console, lines: tuple[str, ...]) -> None:
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)
