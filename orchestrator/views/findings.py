"""What an examination of this machine has found, in the terminal."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

WRONG, NOTED, RIGHT = "mend", "note", "ok"
STYLES = {WRONG: "bold red", NOTED: "yellow", RIGHT: "green"}


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        what: such as ``storage``.
        verdict: ``ok``; ``note`` for what works but may surprise; ``mend`` for what a sweep would fail by.
        text: what was found.
        remedy: what to do; empty where there is nothing to do, or where the text says it.
    """

    what: str
    verdict: str
    text: str
    remedy: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether a sweep would fail by it."""
        return self.verdict == WRONG

    @property
    def row(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def findings_table(findings: Sequence[Finding]) -> Table:
    """Build a table with a row for each finding."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("what", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    for finding in findings:
        text = escape(finding.text) + (f"\n[bold]remedy:[/] {escape(finding.remedy)}" if finding.remedy else "")
        table.add_row(finding.what, f"[{STYLES[finding.verdict]}]{finding.verdict}[/]", text)
    return table
