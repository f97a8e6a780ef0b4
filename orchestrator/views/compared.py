"""Shows published numbers beside measured ones."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from orchestrator.config import HOURS
from orchestrator.declarations import Metric
from orchestrator.results import Compared
from orchestrator.views.terminal import coefficients_text

COLUMNS = ("training", "modules", "", "published", "measured", "difference")


def compared_table(compared: Sequence[Compared], metrics: Mapping[str, Metric]) -> Table:
    """Build a table with one row for each published number, shares in per cent."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for place, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if place < 3 else "right", no_wrap=True)
    before: tuple[str, ...] = ("", "")
    for entry in compared:
        start = (coefficients_text(entry.row.coefficients), "" if entry.row.choice is None else str(entry.row.choice))
        table.add_row(*(start if start != before else ("", "")), *_numbers(entry, metrics.get(entry.name)))
        before = start
    return table


def _numbers(entry: Compared, metric: Metric | None) -> tuple[str, str, str, str]:
    """The last four cells of a row."""
    scale, digits, name = 1, 3, f"{entry.name} of training" if entry.name == HOURS else entry.name
    if metric is not None:
        name = metric.name_with_unit
        if metric.is_percentage:
            scale, digits = 100, 2  # as papers give them
    spread = "" if entry.spread is None else f"±{scale * entry.spread:.{digits}f}"
    return (
        name,
        f"{scale * entry.published:.{digits}f}",
        f"{scale * entry.mean:.{digits}f}{spread}",
        f"{scale * (entry.mean - entry.published):+.{digits}f}",
    )
