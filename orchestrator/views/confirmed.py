"""Shows a confirmation: the results of points in the sweep, and with fresh seeds."""

from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go
from rich.table import Table

from orchestrator.results import NO_HYPERVOLUME, Confirmation, Held, Point, by_label
from orchestrator.views.figures import FRONT, OTHERS, TEST, deviation_bars, hover_text, style_axes
from orchestrator.views.terminal import coefficients_text, metric_cell

CLEAR, MIDDLE, GRID = "rgba(0,0,0,0)", "#76818d", "rgba(128,128,128,0.3)"  # on a light page and on a dark one
HEAD = ("", "point", "coefficients", "", "in the sweep", "with fresh seeds", "difference", "held", "on test")


def confirmation_table(confirmation: Confirmation) -> Table:
    """Build a table with one row for each chosen point and objective."""
    table = Table(title="confirmed", title_justify="left", box=None, header_style="bold", padding=(0, 1, 0, 0))
    for index, name in enumerate(HEAD):
        table.add_column(name, justify="left" if index < 4 else "right", no_wrap=index != 2)
    for cells in confirmation_rows(confirmation):
        table.add_row(*cells, style="bold" if cells[0] else None)
    return table


def confirmation_rows(confirmation: Confirmation) -> Iterator[list[str]]:
    """Return the cells under :data:`HEAD`; a point's name is in the first of its rows."""
    marks, metrics = _marks(confirmation), confirmation.parent.config.metrics
    for point in confirmation.points:
        start = [
            marks.get(point.claimed.label, ""),
            point.claimed.label,
            coefficients_text(point.claimed.trial.coefficients),
        ]
        for name in confirmation.parent.config.search.objectives:
            metric = metrics[name]
            cells = [*start, metric.name_with_unit, metric_cell(point.claimed, metric)]
            if point.found is None:
                yield [*cells, "not finished", "", "", ""]
            else:
                difference = metric.difference(point.found.metrics[name], point.claimed.metrics[name])
                held = "yes" if point.has_held({name: confirmation.directions[name]}) else "no"
                test = metric_cell(point.found, metric, on_test=True)
                yield [*cells, metric_cell(point.found, metric), difference, held, test]
            start = ["", "", ""]


def confirmation_lines(confirmation: Confirmation) -> list[str]:
    """Describe how far the front held, and which points are best and knee now."""
    training, repeats = confirmation.sweep.config.training, confirmation.sweep.config.search.repeats
    changes = ", ".join(f"{key}={value}" for key, value in confirmation.changes.items())
    single = confirmation.parent.config.search.repeats == 1
    lines = [
        f"fresh seeds {training.seed} to {training.seed + repeats - 1}: mean ± standard deviation over them"
        f"{' (in the sweep: ± the standard error of one training)' if single else ''}; trained as in the sweep"
        f"{f', except for {changes}' if changes else ''}"
    ]
    if not confirmation.told:
        return [*lines, "no point has finished all its trainings yet"]
    held, on_test = confirmation.held, confirmation.on_test
    objectives = confirmation.parent.config.search.objectives
    metrics = confirmation.parent.config.metrics
    ranks = (
        f"{metrics[name].title} {'unknown, ranks do not differ' if rank is None else f'{rank:.2f}'}"
        for name, rank in zip(objectives, held.correlations, strict=True)
    )
    return [
        *lines,
        *_verdicts(confirmation),
        f"hypervolume of these {len(confirmation.told)} points: {_volumes_text(held, on_test)}",
        f"{held.on_front} of {held.of} points that no other dominated are still not dominated by the others",
        f"Kendall's rank correlation of the two: {', '.join(ranks)}",
        *(_now(confirmation, which) for which in ("best", "knee")),
    ]


def confirmation_figure(confirmation: Confirmation) -> Any:
    """Draw every chosen point with its results in the sweep, linked to those with fresh seeds and on test."""
    vertical, horizontal = list(confirmation.parent.config.search.objectives)[:2]
    metrics = confirmation.parent.config.metrics
    figure = go.Figure()

    def add(points: Sequence[Point], name: str, **style: Any) -> None:
        on_test = name == "on test"
        values = [(point.test or {}) if on_test else point.metrics for point in points]
        figure.add_trace(
            go.Scatter(
                x=[value[horizontal] for value in values],
                y=[value[vertical] for value in values],
                error_x=deviation_bars(points, horizontal, on_test=on_test),
                error_y=deviation_bars(points, vertical, on_test=on_test),
                name=name,
                mode="markers",
                text=[hover_text(point, metrics) for point in points],
                hovertemplate="%{text}<extra></extra>",
                **style,
            )
        )

    claims, found = ([pair[side] for pair in confirmation.told] for side in (0, 1))
    links: dict[str, list[float | None]] = {horizontal: [], vertical: []}
    for before, after in zip(claims, found, strict=True):
        for name, values in links.items():
            values += [before.metrics[name], after.metrics[name], None]
    line = {"color": OTHERS, "width": 1, "dash": "dot"}
    figure.add_trace(
        go.Scatter(x=links[horizontal], y=links[vertical], mode="lines", line=line, hoverinfo="skip", showlegend=False)
    )
    add(claims, "in the sweep", marker={"color": OTHERS, "size": 9})
    add(found, "with fresh seeds", marker={"color": FRONT, "size": 9})
    tested = [point for point in found if point.test]
    add(tested, "on test", marker={"color": TEST, "size": 8, "symbol": "circle-open"})
    style_axes(figure, confirmation.parent.config, horizontal, vertical)
    figure.update_layout(height=440, paper_bgcolor=CLEAR, plot_bgcolor=CLEAR, font_color=MIDDLE)
    figure.update_xaxes(gridcolor=GRID).update_yaxes(gridcolor=GRID)
    return figure


def _verdicts(confirmation: Confirmation) -> Iterator[str]:
    """Whether the points held, in words."""
    done = [point for point in confirmation.points if point.found is not None]
    fell = [point.claimed.label for point in done if not point.has_held(confirmation.directions)]
    how = "worse with fresh seeds by more than two standard errors of the difference in an objective"
    if not fell:
        yield f"{'all ' if len(done) > 1 else ''}{len(done)} point{'s' if len(done) > 1 else ''} held: none is {how}"
    else:
        yield f"{len(done) - len(fell)} of {len(done)} points held; {', '.join(fell)} did not: {how}"


def _volumes_text(held: Held, on_test: float | None) -> str:
    if held.claimed is None or held.found is None:
        return NO_HYPERVOLUME
    tested = "" if on_test is None else f", {on_test:.4f} on test"
    return f"{held.claimed:.4f} by the sweep, {held.found:.4f} confirmed{tested}"


def _now(confirmation: Confirmation, which: str) -> str:
    before = confirmation.parent.find(which).label
    return f"{which} now: {confirmation.name(which).label} (in the sweep: {before})"


def _marks(confirmation: Confirmation) -> dict[str, str]:
    """Which of the chosen points are best and knee now."""
    if not confirmation.told:
        return {}
    return {label: ", ".join(roles) for label, roles in by_label(confirmation.name).items()}
