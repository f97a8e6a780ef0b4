"""Figures of a sweep, as plotly: the same ones in the HTML report and in W&B."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from orchestrator.records import Point, Sweep
from orchestrator.report.terminal import METRIC_TITLES, SHOWN, coefficients_text

FRONT, OTHERS, BASELINE, TEST = "#d62728", "#9aa5b1", "#1f77b4", "#2ca02c"
OTHER_METRICS = [name for name in METRIC_TITLES if name not in SHOWN]
INFEASIBLE = "#dfe4e8"
TICKS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
LOG_AXIS = {"type": "log", "tickvals": TICKS, "ticktext": [f"{100 * tick:g} %" for tick in TICKS]}


def front_figure(sweep: Sweep) -> Any:
    """All validation points, the front, and the front's points on test; hover shows the trial's coefficients."""
    vertical, horizontal = list(sweep.config.search.objectives)[:2]
    figure = go.Figure()

    def add(points: list[Point], name: str, *, on_test: bool = False, **style: Any) -> None:
        values = [point.test if on_test and point.test else point.metrics for point in points]
        figure.add_trace(
            go.Scatter(
                x=[one[horizontal] for one in values],
                y=[one[vertical] for one in values],
                name=name,
                text=[hover_text(point) for point in points],
                hovertemplate="%{text}<extra></extra>",
                **style,
            )
        )

    front = sweep.front
    for points, name, marker in background(sweep):
        add(points, name, mode="markers", marker=marker)
    add(front, "front (validation)", mode="lines+markers", line={"color": FRONT, "shape": "hv"}, marker={"size": 9})
    tested = [point for point in front if point.test]
    if tested:
        marker = {"color": TEST, "size": 8, "symbol": "circle-open"}
        add(tested, "the same points on test", on_test=True, mode="markers", marker=marker)
    for name in ("best", "knee") if front else ():
        point = sweep.find(name)
        x = point.metrics[horizontal]
        if horizontal == "module_size":  # plotly places annotations on a logarithmic axis by the logarithm
            x = math.log10(x)
        figure.add_annotation(x=x, y=point.metrics[vertical], text=name, showarrow=True, arrowhead=2, ay=-30)
    title = METRIC_TITLES.get(horizontal, horizontal)
    if horizontal == "module_size":  # from a hundredth to the whole: a logarithmic axis
        figure.update_xaxes(LOG_AXIS)
        title += " (share of the full model's parameters)"
    figure.update_layout(
        template="plotly_white",
        xaxis_title=title,
        yaxis_title=METRIC_TITLES.get(vertical, vertical),
        legend={"orientation": "h", "y": 1.08},
        margin={"l": 60, "r": 20, "t": 40, "b": 50},
        height=520,
    )
    return figure


def background(sweep: Sweep) -> Iterator[tuple[list[Point], str, dict[str, Any]]]:
    """What lies behind the front: the points, name and marker of infeasible points, of all others, of baselines."""
    labels = {point.label for point in sweep.feasible}
    if wrong := [point for point in sweep.points if point.label not in labels]:
        yield wrong, "points that break a constraint", {"color": INFEASIBLE, "size": 5}
    on_front = {point.label for point in sweep.front}
    others = [point for point in sweep.feasible if point.label not in on_front]
    yield others, "all points", {"color": OTHERS, "size": 5, "opacity": 0.55}
    for index, coefficients in enumerate(sweep.config.search.baselines):
        mine = [p for p in sweep.points if p.trial.number == index and p.trial.coefficients == dict(coefficients)]
        opacity = [1.0 if point.label in labels else 0.35 for point in mine]
        standard = not any(coefficients.get(name) for name in ("alpha", "beta", "gamma"))
        name = "standard training" if standard else f"baseline {coefficients_text(coefficients)}"
        yield (
            mine,
            name,
            {"color": BASELINE, "size": 7, "opacity": opacity, "symbol": "x" if standard else "diamond-open"},
        )


def curves_figure(sweep: Sweep, metric: str) -> Any:
    """A metric over tau for the trials on the front, at the published rule (the smallest threshold)."""
    threshold = min(sweep.config.evaluation.thresholds)
    points = [point for point in sweep.points if point.choice.threshold == threshold]
    return _curves(sweep, points, metric, over="tau", axis=f"tau (threshold {threshold:g})")


def levels_figure(sweep: Sweep, metric: str) -> Any:
    """A metric over the level for the trials on the front."""
    points = [point for point in sweep.points if point.choice.level is not None]
    return _curves(sweep, points, metric, over="level", axis="level")


def _curves(sweep: Sweep, points: Sequence[Point], metric: str, *, over: str, axis: str) -> Any:
    """One curve a trial on the front, through those of its points that are among ``points``."""
    figure = go.Figure()
    for number in sorted({point.trial.number for point in sweep.front}):
        mine = sorted((p for p in points if p.trial.number == number), key=lambda point: point.choice.place)
        figure.add_trace(
            go.Scatter(
                x=[point.choice.values[over] for point in mine],
                y=[point.metrics[metric] for point in mine],
                name=f"trial {number}",
                text=[hover_text(point) for point in mine],
                hovertemplate="%{text}<extra></extra>",
                mode="lines+markers",
            )
        )
    figure.update_layout(
        template="plotly_white",
        xaxis_title=axis,
        yaxis_title=METRIC_TITLES.get(metric, metric),
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        height=380,
    )
    return figure


def hover_text(point: Point) -> str:
    """What the pointer shows at a point."""
    lines = [
        f"<b>{point.label}</b>",
        coefficients_text(point.trial.coefficients),
        str(point.choice),
        f"reuse accuracy {point.metrics['reuse_accuracy']:.4f} ± {point.metrics['reuse_accuracy_error']:.4f}",
        f"module size {point.metrics['module_size']:.4f}, overlap {point.metrics['module_overlap']:.4f}",
        f"accuracy {point.metrics['accuracy']:.4f}",
        ", ".join(
            f"{METRIC_TITLES[name]} {point.metrics[name]:.4f}" for name in OTHER_METRICS if name in point.metrics
        ),
    ]
    if point.test:
        lines.append(f"test: reuse {point.test['reuse_accuracy']:.4f}, accuracy {point.test['accuracy']:.4f}")
    return "<br>".join(filter(None, lines))
