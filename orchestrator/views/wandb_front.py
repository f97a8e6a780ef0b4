"""A sweep's own W&B run: the front as a table and figures whose points lead to their trials' runs, its best modules."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from orchestrator.config import COLUMNS
from orchestrator.results import Link, Sweep, coefficient_column, coefficient_columns
from orchestrator.tracking import FINISH_SECONDS, ModuleArtifact, make_tracker
from orchestrator.views.figures import hover_text, style_axes
from orchestrator.views.pairs import objectives_figure

UPLOAD_RATE = 1e6  # bytes a second: how slowly module sets may be uploaded before the sweep ends without them


def show_sweep(sweep: Sweep, root: str, artifacts: Sequence[ModuleArtifact]) -> None:
    """Show a sweep and its published module sets in W&B. A failure here does not fail the sweep."""
    tracker = make_tracker(
        sweep.config.tracking,
        root,
        run_id=sweep.sweep_id,
        sweep_id=sweep.sweep_id,
        job_type="sweep",
        config=dataclasses.asdict(sweep.config.search),
        finish_seconds=FINISH_SECONDS + sum(artifact.bytes for artifact in artifacts) / UPLOAD_RATE,
    )
    names = [*sweep.config.search.objectives, "accuracy"]
    coefficients = [coefficient_column(name) for name in sweep.coefficient_names]
    columns = ["point", "run", *coefficients, *COLUMNS, *names, *(f"test_{name}" for name in names)]
    tracker.table("front", columns, lambda link: front_rows(sweep, names, link))
    tracker.figure("front_plot", lambda _: objectives_figure(sweep))
    tracker.figure("front_runs", lambda link: runs_figure(sweep, link))
    for artifact in artifacts:
        tracker.artifact(artifact)
    tracker.finish(front_summary(sweep))


def front_summary(sweep: Sweep) -> dict[str, Any]:
    """Return the numbers of a sweep's run; the hypervolume with its reference point, once that is known."""
    counts = {"trials": len(sweep.trials), "front_points": len(sweep.front)}
    if sweep.hypervolume is None:
        return counts
    return {**counts, "hypervolume": sweep.hypervolume, "reference": sweep.reference}


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
