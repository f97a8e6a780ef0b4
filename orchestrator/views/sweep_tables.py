"""Sweeps in the terminal: which there are, how one stands, one of its trials, and two beside each other."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from orchestrator.declarations import Metric
from orchestrator.results import NO_HYPERVOLUME, Point, Sweep, SweepComparison, TrialState
from orchestrator.search import Status
from orchestrator.views.terminal import (
    coefficients_text,
    duration_text,
    metric_cell,
    metrics_text,
    reference_text,
    shown_metrics,
    shown_on_test,
    value_text,
)

SHOWN_DIFFERENCES = 20
LONGEST_VALUE = 60  # characters of a value that differs


def sweeps_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Build a table with a row for each sweep of a storage.

    Args:
        rows: of :func:`orchestrator.sweeps`.
    """
    table = _plain("sweep", "created", "model", "data", "method", "finished", "confirms")
    for row in rows:
        created, finished = row["created"].strftime("%Y-%m-%d %H:%M"), f"{row['finished']} of {row['trials']}"
        names = [row[name] for name in ("model", "data", "method")]
        table.add_row(*(escape(str(text)) for text in (row["sweep"], created, *names, finished, row["confirms"] or "")))
    return table


def status_lines(sweep: Sweep, written: datetime | None, now: datetime) -> list[str]:
    """Describe how a sweep stands.

    Args:
        sweep: the sweep.
        written: when its last event was recorded.
        now: the time.
    """
    config = sweep.config
    counts = [f"{sweep.count(status)} {status}" for status in Status if sweep.count(status)]
    asked = config.sweep.trials - len(sweep.trials)
    counts += [f"{asked} not proposed yet"] if asked > 0 else []
    lines = [
        f"sweep {sweep.sweep_id}: {config.model.name} on {config.data.name}, method"
        f" {', '.join(config.search.methods) or config.method.name}, search={config.search.name}",
        f"trials: {', '.join(counts) or 'none yet'}",
        f"front: {len(sweep.front)} points, hypervolume {sweep.hypervolume_text}",
        f"reference point: {reference_text(sweep)}",
    ]
    for label, roles in sweep.roles.items():
        lines.append(f"{', '.join(roles)}: {label}, {_point_text(sweep, sweep.find(label))}")
    if written is not None:
        lines.append(f"last event: {duration_text((now - written).total_seconds())} ago")
    taken = [trial.seconds + (trial.evaluation_seconds or 0.0) for trial in sweep.trials if trial.seconds is not None]
    if taken:
        lines.append(
            f"a training takes {duration_text(sum(taken) / len(taken))}, the longest {duration_text(max(taken))}"
        )
    for trial in sweep.trials:
        if trial.status in (Status.FAILED, Status.DIVERGED, Status.STOPPED):
            lines.append(f"trial {trial.number} {trial.status}: {trial.reason}")
    return lines


def _point_text(sweep: Sweep, point: Point) -> str:
    """Describe a point by what a table of the front shows of it."""
    text = metrics_text(sweep, point, shown_metrics(sweep))
    return f"{text}; on test {metrics_text(sweep, point, shown_on_test(sweep), on_test=True)}" if point.test else text


def trial_lines(
    sweep: Sweep, trial: TrialState, events: Sequence[Mapping[str, Any]], losses: Sequence[Any]
) -> list[str]:
    """Describe a trial: its coefficients, state, time and losses.

    Args:
        sweep: its sweep.
        trial: the trial.
        events: its events, as the table has them.
        losses: its epochs, as :func:`orchestrator.results.read_courses` gives them; none before it has finished.
    """
    lines = [
        f"trial {trial.number} of {sweep.sweep_id} ({trial.trial_id}): {trial.status}, attempt {trial.attempt}",
        f"coefficients: {coefficients_text(trial.coefficients)}",
    ]
    for event in sorted(events, key=lambda row: row["time"]):
        reason = f": {event['reason']}" if event["reason"] else ""
        lines.append(f"  {event['time']:%Y-%m-%d %H:%M:%S} {event['event']}{reason}")
    if trial.seconds is not None:
        measuring = f", {duration_text(trial.evaluation_seconds)} measuring" if trial.evaluation_seconds else ""
        lines.append(f"took {duration_text(trial.seconds)} training{measuring}")
    if losses:
        first, last = losses[0], losses[-1]
        changes = [
            f"{name} {first[name]:.3f} to {last[name]:.3f}" for name in last if name != "epoch" and name in first
        ]
        lines.append(f"epochs 1 to {int(last['epoch'])}: {', '.join(changes)}")
    return lines


def comparison_tables(comparison: SweepComparison) -> Iterator[Table]:
    """Build the tables of two sweeps beside each other: numbers, what each attains, and what differs."""
    first, second = comparison.first, comparison.second
    numbers = _plain("", first.sweep_id, second.sweep_id)
    numbers.add_row("trials finished", *(str(sweep.count(Status.FINISHED)) for sweep in (first, second)))
    numbers.add_row("points on the front", *(str(len(sweep.front)) for sweep in (first, second)))
    numbers.add_row("of these, dominated by the other", *(str(count) for count in comparison.dominated))
    volumes = [NO_HYPERVOLUME if volume is None else f"{volume:.4f}" for volume in comparison.hypervolumes]
    numbers.add_row("hypervolume", *volumes)
    for role in ("best", "knee"):
        numbers.add_row(
            role, *(next((label for label, has in sweep.roles.items() if role in has), "") for sweep in (first, second))
        )
    yield numbers
    yield _attained(comparison)
    if differences := comparison.differences():
        table = _plain("what differs", first.sweep_id, second.sweep_id)
        for key, before, after in differences[:SHOWN_DIFFERENCES]:
            table.add_row(key, *(escape(_short(value)) for value in (before, after)))
        if len(differences) > SHOWN_DIFFERENCES:
            table.caption = f"and {len(differences) - SHOWN_DIFFERENCES} more; --json has all"
        yield table


def _attained(comparison: SweepComparison) -> Table:
    """What the best point of each front is within some sizes, or other bounds of the last objective."""
    objectives, metrics = comparison.first.config.search.objectives, comparison.first.config.metrics
    best, bound = metrics[next(iter(objectives))], metrics[list(objectives)[-1]]
    table = _plain(f"{bound.head}", *(sweep.sweep_id for sweep in (comparison.first, comparison.second)))
    table.title, table.title_justify = f"best {best.head} within", "left"
    sign = "≤" if objectives[bound.name].direction == "min" else "≥"
    for level, *points in comparison.attained():
        table.add_row(f"{sign} {bound.cell(level)}", *(_reached(point, best) for point in points))
    return table


def _reached(point: Point | None, metric: Metric) -> str:
    """Of a point its value, that on test where it was measured, and its name."""
    if point is None:
        return ""
    tested = metric_cell(point, metric, on_test=True)
    return f"{metric_cell(point, metric)}{f', test {tested}' if tested else ''}  ({point.label})"


def _short(value: Any) -> str:
    text = value_text(value) if not isinstance(value, list | dict) else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _plain(*heads: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(escape(head), overflow="fold")
    return table
