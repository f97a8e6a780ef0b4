"""Figures of a sweep, as plotly: in notebooks, in W&B, and of confirmations in the report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from orchestrator.config import METHOD, Config
from orchestrator.declarations import Metric, percent
from orchestrator.results import Point, Sweep
from orchestrator.views.baselines import baseline_name, is_standard, method_colours
from orchestrator.views.terminal import coefficients_text, metric_text

FRONT, OTHERS, BASELINE, TEST = "#d62728", "#9aa5b1", "#1f77b4", "#2ca02c"
INFEASIBLE = "#dfe4e8"
CALIBRATED = "calibrated_reuse_accuracy"
NAMED = ("reuse_accuracy", CALIBRATED, "cut_size", "cut_overlap", "accuracy")  # by every point
PERCENT_TICKS = ".3~%"  # as plotly writes formats


def front_figure(sweep: Sweep) -> Any:
    """Draw all validation points, the front, and the front's points on test; hover shows the trial's coefficients.

    With ``search.repeats`` points are means, and the front has their deviations as error bars.
    """
    vertical, horizontal = list(sweep.config.search.objectives)[:2]
    figure = go.Figure()

    def add(points: list[Point], name: str, *, on_test: bool = False, **style: Any) -> None:
        values = [point.test if on_test and point.test else point.metrics for point in points]
        figure.add_trace(
            go.Scatter(
                x=[value[horizontal] for value in values],
                y=[value[vertical] for value in values],
                name=name,
                text=[hover_text(point, sweep.config.metrics) for point in points],
                hovertemplate="%{text}<extra></extra>",
                **style,
            )
        )

    front = sweep.front
    for points, name, marker in background(sweep):
        add(points, name, mode="markers", marker=marker)
    for points, name, colour in method_fronts(sweep):
        style = {"color": colour, "shape": "hv", "dash": "dot"}
        add(points, name, mode="lines+markers", line=style, marker={"size": 7, "symbol": "circle-open"})
    bars: dict[str, Any] = {"error_x": deviation_bars(front, horizontal), "error_y": deviation_bars(front, vertical)}
    line = {"color": FRONT, "shape": "hv"}
    add(front, "front (validation)", mode="lines+markers", line=line, marker={"size": 9}, **bars)
    tested = [point for point in front if point.test]
    if tested:
        marker = {"color": TEST, "size": 8, "symbol": "circle-open"}
        add(tested, "the same points on test", on_test=True, mode="markers", marker=marker)
    for point in front:
        if text := sweep.mark(point):
            y, x = sweep.scaled_values([point])[0][:2]  # plotly places annotations by the logarithm on such an axis
            figure.add_annotation(x=x, y=y, text=text, showarrow=True, arrowhead=2, ay=-30)
    style_axes(figure, sweep.config, horizontal, vertical)
    return figure


def style_axes(figure: Any, config: Config, horizontal: str, vertical: str) -> None:
    """Set titles, scales and margins of a figure of points over two objectives."""
    figure.update_xaxes(axis_of(config, horizontal))
    figure.update_yaxes(axis_of(config, vertical))
    figure.update_layout(
        template="plotly_white",
        xaxis_title=config.metrics[horizontal].axis,
        yaxis_title=config.metrics[vertical].brief_axis,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        height=520,
    )


def axis_of(config: Config, objective: str) -> dict[str, Any]:
    """Return the axis of an objective by its scale; that of a share has ticks in per cent."""
    ticks = {"tickformat": PERCENT_TICKS} if config.metrics[objective].is_percentage else {}
    return {"type": "log", **ticks} if config.search.objectives[objective].is_logarithmic else ticks


def background(sweep: Sweep) -> Iterator[tuple[list[Point], str, dict[str, Any]]]:
    """What lies behind the front: the points, name and marker of infeasible points, of all others, of baselines."""
    labels = {point.label for point in sweep.feasible}
    if wrong := [point for point in sweep.candidates if point.label not in labels]:
        yield wrong, "points that break a constraint", {"color": INFEASIBLE, "size": 5}
    on_front = {point.label for point in sweep.front}
    others = [point for point in sweep.feasible if point.label not in on_front]
    colours = method_colours(sweep)
    if not colours:
        yield others, "all points", {"color": OTHERS, "size": 5, "opacity": 0.55}
    for method, colour in colours.items():
        of_method = [point for point in others if sweep.method_of(point.trial) == method]
        yield of_method, f"all points of {method}", {"color": colour, "size": 5, "opacity": 0.55}
    for index, coefficients in enumerate(sweep.config.search.baselines):
        same = [p for p in sweep.candidates if p.trial.coefficients == dict(coefficients)]
        mine = [p for p in same if sweep.set_of(p.trial) == index]
        opacity = [1.0 if point.label in labels else 0.35 for point in mine]
        colour = colours.get(str(coefficients.get(METHOD)), BASELINE)
        symbol = "x" if is_standard(sweep.config, coefficients) else "diamond-open"
        yield (
            mine,
            baseline_name(sweep.config, coefficients),
            {"color": colour, "size": 7, "opacity": opacity, "symbol": symbol},
        )


def method_fronts(sweep: Sweep) -> Iterator[tuple[list[Point], str, str]]:
    """The front of each method alone, with its name and colour; nothing in a sweep of one."""
    for method, colour in method_colours(sweep).items():
        yield sweep.method_fronts[method], f"front of {method}", colour


def deviation_bars(points: Sequence[Point], metric: str, *, on_test: bool = False) -> dict[str, Any] | None:
    """Return error bars of points that are means over seeds; None if they are not."""
    if not any(point.over for point in points):
        return None
    lengths = [point.deviation(metric, on_test=on_test) for point in points]
    return {"type": "data", "array": lengths, "thickness": 1, "width": 3}


def hover_text(point: Point, metrics: Mapping[str, Metric]) -> str:
    """Return the text that the pointer shows at a point."""

    def text(name: str, *, on_test: bool = False) -> str:
        return f"{metrics[name].title} {metric_text(point, metrics[name], on_test=on_test)}"

    lines = [
        f"<b>{point.label}</b>",
        coefficients_text(point.trial.coefficients),
        str(point.choice),
        f"{text(CALIBRATED)}{_without_bias(point.metrics)}",
        f"{text('cut_size')}{_times_fewer(point)}, {text('cut_overlap')}",
        text("accuracy"),
        ", ".join(
            text(name)
            for name, metric in metrics.items()
            if metric.direction and name not in NAMED and name in point.metrics
        ),
    ]
    if point.over:
        lines.append("mean ± deviation of trials " + ", ".join(str(single.trial.number) for single in point.over))
    if not point.choice.reaches_target(point.metrics["cut_size"]):
        lines.append("the target size is out of reach")
    if point.test:
        reuse = f"{text(CALIBRATED, on_test=True)}{_without_bias(point.test)}"
        lines.append(f"on test: {reuse}, {text('accuracy', on_test=True)}")
    return "<br>".join(filter(None, lines))


def _without_bias(metrics: Mapping[str, float]) -> str:
    """The reuse accuracy without the bias of each class, where that is another one."""
    plain = metrics.get("reuse_accuracy", metrics[CALIBRATED])
    return "" if plain == metrics[CALIBRATED] else f" (without the biases {percent(plain)} %)"


def _times_fewer(point: Point) -> str:
    """How many times fewer parameters a module has than the full model, as people say it."""
    size = point.metrics["cut_size"]
    return f" ({1 / size:.3g} times fewer parameters)" if 0 < size < 1 else ""
