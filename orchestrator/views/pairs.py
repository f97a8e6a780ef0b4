"""The front's figure for any number of objectives: one panel for two, a panel for each pair of more."""

import itertools
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from orchestrator.results import Point, Sweep
from orchestrator.views.figures import (
    BASELINE,
    FRONT,
    TEST,
    axis_of,
    background,
    front_figure,
    hover_text,
    method_fronts,
)

NAMED = {"best": "star", "knee": "diamond"}
PANEL = 300  # pixels of a panel's height


def objectives_figure(sweep: Sweep) -> Any:
    """Draw the front: :func:`front_figure` for two objectives, :func:`pairs_figure` for more."""
    return front_figure(sweep) if len(sweep.config.search.objectives) == 2 else pairs_figure(sweep)


def pairs_figure(sweep: Sweep) -> Any:
    """Draw all pairs of objectives as the lower half of a scatter matrix.

    The front's points are those of all objectives together: in a single panel some of them look dominated. Their colour
    is the last objective, which tells them apart in the panels that do not show it.
    """
    names = list(sweep.config.search.objectives)
    metrics = [sweep.config.metrics[name] for name in names]
    size = len(names) - 1
    figure = make_subplots(
        rows=size,
        cols=size,
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=0.03,
        specs=[[{} if column <= row else None for column in range(size)] for row in range(size)],
    )
    for horizontal, vertical in itertools.combinations(range(len(names)), 2):
        place = {"row": vertical, "col": horizontal + 1}
        for trace in _traces(sweep, names[horizontal], names[vertical]):
            figure.add_trace(trace.update(showlegend=trace.showlegend is not False and vertical == 1), **place)
        figure.update_xaxes(axis_of(sweep.config, names[horizontal]), **place)
        figure.update_yaxes(axis_of(sweep.config, names[vertical]), **place)
        if vertical == size:
            figure.update_xaxes(title_text=metrics[horizontal].brief_axis, **place)
        if horizontal == 0:
            figure.update_yaxes(title_text=metrics[vertical].brief_axis, **place)
    figure.update_xaxes(showticklabels=False)
    for column in range(size):
        figure.update_xaxes(showticklabels=True, row=size, col=column + 1)
    bar = {"title": metrics[-1].brief_axis, "x": 1.0, "len": 0.5, "y": 0.25}
    figure.update_layout(
        template="plotly_white",
        coloraxis={"colorscale": "Viridis", "colorbar": bar},
        legend={"x": 1.0, "y": 1.0, "xanchor": "right", "traceorder": "normal"},
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        height=PANEL * size + 80,
    )
    return figure


def _traces(sweep: Sweep, horizontal: str, vertical: str) -> list[Any]:
    """Of one panel, from the back to the front."""
    front, last = sweep.front, list(sweep.config.search.objectives)[-1]

    def drawn(points: list[Point], name: str, marker: dict[str, Any], *, on_test: bool = False) -> Any:
        values = [point.test if on_test and point.test else point.metrics for point in points]
        return go.Scatter(
            x=[value[horizontal] for value in values],
            y=[value[vertical] for value in values],
            name=name,
            legendgroup=name,
            mode="markers",
            marker=marker,
            text=[hover_text(point, sweep.config.metrics) for point in points],
            hovertemplate="%{text}<extra></extra>",
        )

    line = {"color": FRONT, "width": 1.2}
    colour = {"color": [point.metrics[last] for point in front], "coloraxis": "coloraxis"}
    traces = [drawn(points, name, marker) for points, name, marker in background(sweep)]
    for points, name, colour_of_method in method_fronts(sweep):
        traces.append(drawn(points, name, {"color": colour_of_method, "size": 7, "symbol": "circle-open"}))
    traces.append(drawn(front, "front (validation)", {**colour, "size": 8, "line": line}))
    tested = [point for point in front if point.test]
    if tested:
        marker = {"color": TEST, "size": 7, "symbol": "circle-open"}
        traces.append(drawn(tested, "the same points on test", marker, on_test=True))
    for name, symbol in NAMED.items():
        traces.append(drawn([sweep.find(name)], name, {"color": BASELINE, "size": 14, "symbol": f"{symbol}-open"}))
    return traces
