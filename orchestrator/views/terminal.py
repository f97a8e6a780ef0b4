"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.config import without_method_names
from orchestrator.declarations import MARGIN, METRICS, Metric, percent
from orchestrator.results import CERTAIN, POINT_NAME, Point, Sweep
from orchestrator.search import Constraint

if TYPE_CHECKING:  # looking at a sweep loads no PyTorch
    from moda_core import ReplacementAccuracy

WIDEST = 1000  # columns in which any table fits


def duration_text(seconds: float) -> str:
    """Format a duration: ``2 h 5 min``, ``3 min 10 s`` or ``7 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def bytes_text(count: float) -> str:
    """Format bytes: ``512 B``, ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def coefficients_text(coefficients: Mapping[str, Any]) -> str:
    """Format coefficients: ``alpha 1 beta 1 gamma 0.3 optimizer adamw``."""
    return " ".join(f"{name} {value_text(value)}" for name, value in without_method_names(coefficients).items())


def coefficient_keys(sweep: Sweep) -> list[str]:
    """Return the keys of the coefficients of all trials: of several methods, one for all that have it."""
    return list(without_method_names(dict.fromkeys(sweep.coefficient_names)))


def value_text(value: Any) -> str:
    """Format a coefficient, a float with three digits; empty for None."""
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def losses_text(loss: float, terms: Mapping[str, float]) -> str:
    """Format the loss and its terms: ``loss 0.532``, or ``loss 0.532 (affinity 0.104, dispersion 0.212)``."""
    text = ", ".join(f"{name} {value:.3f}" for name, value in terms.items())
    return f"loss {loss:.3f}" + (f" ({text})" if text else "")


def always_shown(sweep: Sweep) -> tuple[str, ...]:
    """Return the metrics that a table of points always shows."""
    return sweep.reuse_metric, "cut_size", "cut_overlap", "accuracy"


def shown_on_test(sweep: Sweep) -> tuple[str, ...]:
    """Return the metrics that a table of the front also shows on test, where they were measured."""
    return sweep.reuse_metric, "accuracy"


def shown_metrics(sweep: Sweep) -> list[str]:
    """Return the metrics that a table of the front shows: the usual ones, the objectives and the constrained ones."""
    constrained = [Constraint.parse(text).metric for text in sweep.config.search.constraints]
    return list(dict.fromkeys([*always_shown(sweep), *sweep.config.search.objectives, *constrained]))


def reference_text(sweep: Sweep) -> str:
    """Describe the reference point: ``reuse accuracy 85.3 % (of trial 1, a standard training, less 5 points), module
    size 100.0 % (on a logarithmic scale)``.
    """
    search, baseline = sweep.config.search, sweep.baseline_reference
    parts = []
    for name, value in sweep.reference.items():
        metric, notes = sweep.config.metrics[name], []
        if search.reference.get(name) is None:
            numbers = {trial.trial_id: trial.number for trial in sweep.trials}
            which = f"trial {numbers[baseline.trial_id]}, a" if baseline else "the first"
            notes.append(
                f"of {which} standard training, less {_margin_text(metric)}" + ("" if baseline else "; not known yet")
            )
        if search.objectives[name].is_logarithmic:
            notes.append("on a logarithmic scale")
        shown = "" if value is None else f" {metric.text(value)}"
        parts.append(f"{metric.title}{shown}" + (f" ({', '.join(notes)})" if notes else ""))
    return ", ".join(parts)


def _margin_text(metric: Metric) -> str:
    """By how much a metric may be worse than its baseline."""
    return f"{100 * MARGIN:g} points" if metric.is_percentage else f"{MARGIN:g}"


def repeats_text(sweep: Sweep) -> str:
    """Explain how to read a front of means."""
    return (
        f"mean ± standard deviation over the {sweep.config.search.repeats} seeds of a set of coefficients; the trial"
        " named is the one nearest to the mean"
    )


def metric_text(point: Point, metric: Metric, *, on_test: bool = False) -> str:
    """Format a metric with its unit and :func:`spread_of`; empty where it was not measured on test."""
    metrics = point.test if on_test else point.metrics
    return "" if metrics is None else metric.text(metrics[metric.name], spread_of(point, metric.name, on_test=on_test))


def metrics_text(sweep: Sweep, point: Point, names: Sequence[str], *, on_test: bool = False) -> str:
    """Describe a point: ``calibrated reuse accuracy 97.2±0.8 %, module size 2.0 %``."""
    metrics = (sweep.config.metrics[name] for name in names)
    return ", ".join(f"{metric.title} {metric_text(point, metric, on_test=on_test)}" for metric in metrics)


def metric_cell(point: Point, metric: Metric, *, on_test: bool = False) -> str:
    """Format a metric as :func:`metric_text` does, under a head that says its unit."""
    metrics = point.test if on_test else point.metrics
    return "" if metrics is None else metric.cell(metrics[metric.name], spread_of(point, metric.name, on_test=on_test))


def spread_of(point: Point, name: str, *, on_test: bool = False) -> float | None:
    """Return the standard deviation of a metric over seeds or, for a single training, its standard error if it is
    known.
    """
    if point.over:
        return point.deviation(name, on_test=on_test)
    return ((point.test if on_test else point.metrics) or {}).get(f"{name}_error")


def front_table(
    sweep: Sweep,
    *,
    rows: int | None = None,
    title: str | None = None,
    width: int | None = None,
    whole: bool = False,
    coefficients: bool = True,
) -> Table:
    """Build the table of the front, smallest modules first, in per cent: validation metrics, and test metrics where
    they were measured.

    Args:
        sweep: the sweep.
        rows: how many rows to show of a longer front: best and knee, and others at even distances.
        title: above the table.
        width: columns of the terminal; in a narrow one heads take several lines, and in a narrower one the coefficients
            are left out. None: as wide as it gets.
        whole: whether points below the reference point are shown too.
        coefficients: whether those of the trials are shown.
    """
    names = coefficient_keys(sweep) if coefficients else []
    table = _front_table(sweep, names, rows, title, whole)
    if width is None or _width_of(table) <= width:
        return table
    _break_heads(table)
    if not coefficients or _width_of(table) <= width:
        return table
    table = _front_table(sweep, [], rows, title, whole)
    _break_heads(table)
    table.caption = f"{table.caption}\ncoefficients: moda show {sweep.sweep_id}/TRIAL, or in a wider terminal"
    return table


def _width_of(table: Table) -> int:
    return Console(width=WIDEST).measure(table).maximum


def _break_heads(table: Table) -> None:
    """Put the words of each head on lines of their own."""
    for column in table.columns:
        column.header = str(column.header).replace(" ", "\n").replace("_", "_\n")


def _front_table(sweep: Sweep, names: list[str], rows: int | None, title: str | None, whole: bool) -> Table:
    above = [point for point in sweep.front if whole or not sweep.is_below(point) or sweep.mark(point)]
    front = above or sweep.front
    metrics, declared = shown_metrics(sweep), sweep.config.metrics
    tested = any(point.test for point in front)
    stated = {name for point in front for name in without_method_names(point.trial.coefficients)}
    names = [name for name in names if name in stated]
    table = _table(title, ["", "point", *names, *(declared[name].head for name in metrics)])
    hidden = len(sweep.front) - len(front)
    below = f"{hidden} {'point' if hidden == 1 else 'points'} below the reference point not shown" if hidden else ""
    table.caption = "; ".join(filter(None, [f"point: {POINT_NAME}", sweep.broken, below]))
    if sweep.config.search.repeats > 1:
        table.caption += f"\n{repeats_text(sweep)}"
    table.caption_justify = "left"
    on_test = shown_on_test(sweep) if tested else ()
    for name in on_test:
        table.add_column(f"test {declared[name].head}", justify="right", no_wrap=True)
    for point in _some(sweep, front, rows):
        cells = [sweep.mark(point), point.label]
        coefficients = without_method_names(point.trial.coefficients)
        cells += [value_text(coefficients.get(name)) for name in names]
        cells += [metric_cell(point, declared[name]) for name in metrics]
        cells += [metric_cell(point, declared[name], on_test=True) for name in on_test]
        table.add_row(*cells, style="bold" if sweep.mark(point) else None)
    return table


def surface_table(sweep: Sweep, *, title: str, on_test: bool = False) -> Table:
    """Build the table of every choice of a sweep of one trial, in per cent: on validation, or ``on_test``."""
    declared, shown = sweep.config.metrics, always_shown(sweep)
    table = _table(title, ["", "chosen", *(declared[name].head for name in shown), "floored"])
    for point in sweep.points:
        cells = [sweep.mark(point), str(point.choice)]
        cells += [metric_cell(point, declared[name], on_test=on_test) for name in shown]
        floored = ((point.test if on_test else point.metrics) or {})["floored"]
        table.add_row(*cells, f"{floored:.0f}", style="bold" if sweep.mark(point) else None)
    return table


def replacement_table(found: ReplacementAccuracy, *, class_name: str, title: str) -> Table:
    """Build the table of what replacing a class changed on test, in per cent and points, with the control beside it."""
    columns = ["", f"{class_name} acc %", "change", "images", "others acc %", "change", "images"]
    table = _table(escape(title), [escape(column) for column in columns])
    for name, accuracy in (("weak", found.before), ("replaced", found.replaced), ("control", found.control)):
        cells = [name]
        for after, before, images in (
            (accuracy.target, found.before.target, found.target_images),
            (accuracy.others, found.before.others, found.other_images),
        ):
            change = "" if accuracy is found.before else METRICS["accuracy"].difference(after, before)
            cells += [percent(after), change, str(images)]
        table.add_row(*cells, style="bold" if name == "replaced" else None)
    return table


def replacement_verdict(found: ReplacementAccuracy, *, class_name: str) -> str:
    """Say in words whether the module helped, and what it cost the other classes: against the control, and by more than
    two standard errors."""
    replaced, control, error = found.replaced, found.control, found.gain_error
    effect, target = _against_control(replaced.target - control.target, error.target)
    _, others = _against_control(replaced.others - control.others, error.others)
    return f"{effect}: class {class_name} {target}; the mean of the other classes {others}"


def _against_control(gain: float, error: float) -> tuple[str, str]:
    size, error = f"{100 * abs(gain):.1f}", 100 * error
    if abs(gain) <= CERTAIN * error / 100:
        effect = "the module made no difference beyond the error"
        return effect, f"is as with the control ({100 * gain:+.1f}±{error:.1f} points)"
    if gain > 0:
        return "the module helped", f"gains {size}±{error:.1f} points over the control"
    return "the module hurt", f"loses {size}±{error:.1f} points against the control"


def _table(title: str | None, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in ("", "point", "chosen") else "right", no_wrap=True)
    return table


def _some(sweep: Sweep, front: list[Point], rows: int | None) -> list[Point]:
    """So many points: those that have names, and of the others some at even distances."""
    if rows is None or len(front) <= rows:
        return front
    marked = [place for place, point in enumerate(front) if sweep.mark(point)]
    others = [place for place in range(len(front)) if place not in marked]
    room = max(0, rows - len(marked))
    step = (len(others) - 1) / max(1, room - 1)
    return [front[place] for place in sorted({*marked, *(others[round(index * step)] for index in range(room))})]
