"""Refitted and tuned modules beside the front: one row for each trial and choice that was treated."""

from collections.abc import Sequence

from rich.table import Table

from orchestrator.declarations import METRICS, STAGE_METRICS, STAGES
from orchestrator.results import Point, Sweep

STAGES_TEXT = (
    "reuse accuracy over class subsets of 2, 5 and all classes, of modules as they were cut and after each stage, which"
    " needs the training images of the subset; random: as many random units in each layer, treated the same"
)


def stage_head(sweep: Sweep) -> list[str]:
    """Return the heads of the columns of :func:`stage_rows`."""
    stages = stages_of(sweep)
    names = ["point", "size %", *("cut", *stages), *(f"random {name}" for name in ("cut", *stages)), "whole network"]
    return [name if name in ("point", "size %") else f"{name} %" for name in names]


def stages_of(sweep: Sweep) -> list[str]:
    """Return the stages that a sweep has points of, in order."""
    known = {point.stage for point in sweep.staged}
    return [stage for stage in STAGES if stage in known]


def stage_rows(sweep: Sweep, *, on_test: bool = False) -> list[list[str]]:
    """Return the cells of each trial and choice that was treated, the smallest modules first, in per cent; on
    validation, or ``on_test``."""
    groups: dict[tuple[int, str], dict[str, Point]] = {}
    for point in sweep.staged:
        groups.setdefault((point.trial.number, point.choice.name), {})[point.stage] = point
    rows = []
    for (number, choice), points in groups.items():
        measured = {
            stage: metrics for stage, point in points.items() if (metrics := point.test if on_test else point.metrics)
        }
        if measured:
            rows.append((f"{number}/{choice}", measured))
    rows.sort(key=lambda row: next(iter(row[1].values()))["composed_size"])
    return [_cells(label, measured, stages_of(sweep)) for label, measured in rows]


def stages_table(sweep: Sweep, *, on_test: bool = False) -> Table:
    """Build the table of :func:`stage_rows` for the terminal."""
    table = Table(
        title=f"refitted and tuned modules, beside the front, on {'test' if on_test else 'validation'}",
        title_justify="left",
        caption=STAGES_TEXT,
        caption_justify="left",
        box=None,
        header_style="bold",
        padding=(0, 1, 0, 0),
    )
    for name in stage_head(sweep):
        table.add_column(name, justify="left" if name == "point" else "right", no_wrap=True)
    for cells in stage_rows(sweep, on_test=on_test):
        table.add_row(*cells)
    return table


def _cells(label: str, measured: dict[str, dict[str, float]], stages: Sequence[str]) -> list[str]:
    first, accuracy = next(iter(measured.values())), METRICS["reuse_accuracy"]

    def cell(name: str, stage: str) -> str:
        metrics = measured.get(stage)
        if metrics is None:
            return ""
        spread = metrics["reuse_accuracy_error"] if name == "reuse_accuracy" else None
        return accuracy.cell(metrics[name], spread)

    return [
        label,
        STAGE_METRICS["composed_size"].cell(first["composed_size"]),
        accuracy.cell(first["cut_accuracy"]),
        *(cell("reuse_accuracy", stage) for stage in stages),
        accuracy.cell(first["control_cut_accuracy"]),
        *(cell("control_accuracy", stage) for stage in stages),
        accuracy.cell(first["reuse_baseline"]),
    ]
