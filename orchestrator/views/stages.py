"""Refitted and tuned modules beside the front: one row for each trial and choice that was treated."""

from collections.abc import Sequence

from rich.table import Table

from orchestrator.declarations import SEPARATE, STAGES, percent
from orchestrator.results import Point, Sweep
from orchestrator.views.terminal import coefficients_text

STAGES_TEXT = (
    "beside the front: reuse accuracy over class subsets of 2, 5 and all classes, of modules as they were cut and after"
    " each stage, which needs the training images of the subset; random: as many random units in each layer, treated"
    " the same"
)
SEPARATE_HEAD = ["point", "size %", "separate %", "whole network %", "coefficients"]
WORDS = ("point", "coefficients")  # columns that are aligned to the left
SEPARATE_TEXT = (
    "beside the front: reuse accuracy over class subsets of 2, 5 and all classes, of a network of its own for each"
    " class, as the method publishes them; size: their sum over a subset's classes; they make no module set and cannot"
    " be pulled"
)


def stage_head(sweep: Sweep) -> list[str]:
    """Return the heads of the columns of :func:`stage_rows`."""
    stages = stages_of(sweep)
    names = ["size", *("cut", *stages), *(f"random {name}" for name in ("cut", *stages)), "whole network"]
    return ["point", *(f"{name} %" for name in names), "coefficients"]


def stages_of(sweep: Sweep) -> list[str]:
    """Return the stages that a sweep has points of, in order."""
    known = {point.stage for point in sweep.staged}
    return [stage for stage in STAGES if stage in known]


def stage_rows(sweep: Sweep, *, on_test: bool = False) -> list[list[str]]:
    """Return the cells of each trial and choice that was treated, the smallest modules first, in per cent; on
    validation, or ``on_test``."""
    groups: dict[tuple[int, str], dict[str, Point]] = {}
    for point in sweep.staged:
        if point.stage == SEPARATE:
            continue
        groups.setdefault((point.trial.number, point.choice.name), {})[point.stage] = point
    rows = []
    for (number, choice), points in groups.items():
        measured = {
            stage: metrics for stage, point in points.items() if (metrics := point.test if on_test else point.metrics)
        }
        if measured:
            trained_with = coefficients_text(next(iter(points.values())).trial.coefficients)
            rows.append((f"{number}/{choice}", measured, trained_with))
    rows.sort(key=lambda row: next(iter(row[1].values()))["composed_size"])
    return [[label, *_cells(measured, stages_of(sweep)), trained_with] for label, measured, trained_with in rows]


def separate_rows(sweep: Sweep, *, on_test: bool = False) -> list[list[str]]:
    """Return the cells of each point of separate networks, under :data:`SEPARATE_HEAD`; likewise."""
    rows = []
    for point in sweep.staged:
        metrics = point.test if on_test else point.metrics
        if point.stage == SEPARATE and metrics:
            rows.append(
                [
                    point.label,
                    percent(metrics["composed_size"]),
                    percent(metrics["reuse_accuracy"], metrics["reuse_accuracy_error"]),
                    percent(metrics["reuse_baseline"]),
                    coefficients_text(point.trial.coefficients),
                ]
            )
    return rows


def tables_beside(sweep: Sweep, *, on_test: bool = False) -> list[Table]:
    """Build the tables for the terminal of what a sweep has measured beside the front; none for most sweeps."""
    split = "test" if on_test else "validation"
    tables = []
    if rows := stage_rows(sweep, on_test=on_test):
        title = f"refitted and tuned modules, on {split}"
        tables.append(_table(title, STAGES_TEXT, stage_head(sweep), rows))
    if rows := separate_rows(sweep, on_test=on_test):
        title = f"separate networks, on {split}"
        tables.append(_table(title, SEPARATE_TEXT, SEPARATE_HEAD, rows))
    return tables


def _table(title: str, caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=None,
        header_style="bold",
        padding=(0, 1, 0, 0),
    )
    for name in head:
        table.add_column(name, justify="left" if name in WORDS else "right", no_wrap=True)
    for cells in rows:
        table.add_row(*cells)
    return table


def _cells(measured: dict[str, dict[str, float]], stages: Sequence[str]) -> list[str]:
    first = next(iter(measured.values()))

    def cell(name: str, stage: str) -> str:
        metrics = measured.get(stage)
        if metrics is None:
            return ""
        spread = metrics["reuse_accuracy_error"] if name == "reuse_accuracy" else None
        return percent(metrics[name], spread)

    return [
        percent(first["composed_size"]),
        percent(first["cut_accuracy"]),
        *(cell("reuse_accuracy", stage) for stage in stages),
        percent(first["control_cut_accuracy"]),
        *(cell("control_accuracy", stage) for stage in stages),
        percent(first["reuse_baseline"]),
    ]
