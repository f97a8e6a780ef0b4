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
    for one in compared:
        start = (coefficients_text(one.row.coefficients), "" if one.row.choice is None else str(one.row.choice))
        table.add_row(*(start if start != before else ("", "")), *_numbers(one, metrics.get(one.name)))
        before = start
    return table


def _numbers(one: Compared, metric: Metric | None) -> tuple[str, str, str, str]:
    """The last four cells of a row."""
    scale, digits, name = 1, 3, f"{one.name} of training" if one.name == HOURS else one.name
    if metric is not None:
        name = metric.title
        if metric.is_percentage:
            scale, digits, name = 100, 2, f"{name} %"
    spread = "" if one.spread is None else f" ± {scale * one.spread:.{digits}f}"
    return (
        name,
        f"{scale * one.published:.{digits}f}",
        f"{scale * one.mean:.{digits}f}{spread}",
        f"{scale * (one.mean - one.published):+.{digits}f}",
    )
