"""What garbage collection found and freed, in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from rich.markup import escape
from rich.table import Table

from orchestrator.storage import StoredFile

SHOWN_UNKNOWN = 10


class Removable(Protocol):
    """Something that can be removed: its kind, its sweep, and its number of files and bytes."""

    @property
    def what(self) -> str: ...
    @property
    def sweep_id(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def bytes(self) -> int: ...


def garbage_table(found: Sequence[Removable]) -> Table:
    """Build a table with a row for each kind of garbage in each sweep, and the total."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("what", "sweep"):
        table.add_column(name, overflow="fold")
    for name in ("how many", "files", "MiB"):
        table.add_column(name, justify="right")
    kinds = list(dict.fromkeys((removable.what, removable.sweep_id) for removable in found))
    for what, sweep_id in kinds:
        same_kind = [removable for removable in found if (removable.what, removable.sweep_id) == (what, sweep_id)]
        table.add_row(what, escape(sweep_id), *_amounts(same_kind))
    table.add_row("total", "", *_amounts(found))
    return table


def unknown_lines(unknown: Mapping[str, Sequence[StoredFile]]) -> list[str]:
    """Describe the files that belong to no known sweep, one line per folder."""
    lines = []
    for folder, files in unknown.items():
        size = mebibytes(sum(file.bytes for file in files))
        lines.append(f"kept, of no known sweep: {folder} ({len(files)} files, {size} MiB)")
    more = len(lines) - SHOWN_UNKNOWN
    return lines[:SHOWN_UNKNOWN] + ([f"and {more} more of no known sweep"] if more > 0 else [])


def mebibytes(count: int) -> str:
    """Format bytes in MiB, with three decimals."""
    return f"{count / 2**20:.3f}"


def _amounts(found: Sequence[Removable]) -> tuple[str, str, str]:
    return (
        str(len(found)),
        str(sum(removal.count for removal in found)),
        mebibytes(sum(removal.bytes for removal in found)),
    )
