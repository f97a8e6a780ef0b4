"""What W&B shows of a sweep: its numbers, and its front, whose points lead to their trials' runs."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from orchestrator.config import COLUMNS
from orchestrator.results import Link, Sweep, coefficient_column, coefficient_columns
from orchestrator.search import Status
from orchestrator.views.figures import hover_text, style_axes


def shown_metric_names(sweep: Sweep) -> list[str]:
    """Return the metrics that the front's table has: the objectives, and the accuracy of the whole network."""
    return list(dict.fromkeys([*sweep.config.search.objectives, "accuracy"]))


def front_columns(sweep: Sweep, names: Sequence[str]) -> list[str]:
    """Return the columns of the front's table, by the metrics in it."""
    coefficients = [coefficient_column(name) for name in sweep.coefficient_names]
    return ["point", "run", *coefficients, *COLUMNS, *names, *(f"test_{name}" for name in names)]


def sweep_numbers(sweep: Sweep) -> dict[str, Any]:
    """Return how a sweep stands: how many trials are over and how they ended, the hypervolume once its reference point
    is known, and the metrics of best and knee on validation."""
    numbers: dict[str, Any] = {
        "trials": sum(trial.is_over or trial.status == Status.FAILED for trial in sweep.trials),
        "front_points": len(sweep.front),
        "hypervolume": sweep.hypervolume,
    }
    for status in (Status.FINISHED, Status.STOPPED, Status.DIVERGED, Status.FAILED):
        numbers[str(status)] = sweep.count(status)
    for label, roles in sweep.roles.items():
        point = sweep.find(label)
        for role in roles:
            numbers |= {f"{role}/{name}": point.metrics[name] for name in shown_metric_names(sweep)}
    return numbers


def front_summary(sweep: Sweep) -> dict[str, Any]:
    """Return what a sweep's run keeps beside its last numbers; the hypervolume with its reference point, once that is
    known."""
    found: dict[str, Any] = {"front_points": len(sweep.front)}
    if sweep.hypervolume is None:
        return found
    return {**found, "hypervolume": sweep.hypervolume, "reference": sweep.reference}


def roles_summary(sweep: Sweep) -> dict[str, Any]:
    """Return the names of best and knee, and their metrics on test where they were measured."""
    summary: dict[str, Any] = {}
    for label, roles in sweep.roles.items():
        test = sweep.find(label).test or {}
        for role in roles:
            summary[f"{role}/point"] = label
            summary |= {f"{role}/test_{name}": test[name] for name in shown_metric_names(sweep) if name in test}
    return summary


def front_rows(sweep: Sweep, names: Sequence[str], link: Link) -> list[dict[str, Any]]:
    """Return the front's points with some of their metrics, and links to their trials' runs."""
    return [
        {
            **coefficient_columns(sweep.coefficient_names, point.trial.coefficients),
            "point": point.label,
            "run": link(point.trial.trial_id),
            **point.choice.columns,
            **{name: point.metrics[name] for name in names},
            **{f"test_{name}": point.test[name] for name in names if point.test},
        }
        for point in sweep.front
    ]


def runs_figure(sweep: Sweep, link: Link) -> Any:
    """Draw the front over its first and last objective, each point labelled with a link to its trial's run."""
    vertical, *_, horizontal = sweep.config.search.objectives
    points = sweep.front
    labels = [(point.label, link(point.trial.trial_id)) for point in points]
    figure = go.Figure(
        go.Scatter(
            x=[point.metrics[horizontal] for point in points],
            y=[point.metrics[vertical] for point in points],
            mode="markers+text",
            text=[f'<a href="{url}">{label}</a>' if url else label for label, url in labels],
            textposition="top center",
            customdata=[hover_text(point, sweep.config.metrics) for point in points],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    style_axes(figure, sweep.config, horizontal, vertical)
    return figure
