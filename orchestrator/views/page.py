"""The report: one self-contained HTML file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.config import short_name
from orchestrator.results import Confirmation, Course, Sweep
from orchestrator.views.confirmed import HEAD, confirmation_figure, confirmation_lines, confirmation_rows
from orchestrator.views.figures import courses_figure, curves_figure
from orchestrator.views.pairs import objectives_figure
from orchestrator.views.stages import (
    SEPARATE_HEAD,
    SEPARATE_TEXT,
    STAGES_TEXT,
    separate_rows,
    stage_head,
    stage_rows,
)
from orchestrator.views.terminal import (
    always_shown,
    coefficients_text,
    number_text,
    reference_text,
    repeats_text,
    shown_metrics,
    value_text,
)


def render_report(
    sweep: Sweep, confirmations: Sequence[Confirmation] = (), courses: Mapping[str, Course] | None = None
) -> str:
    """Render the report of a sweep, with its confirmations and the losses of its trainings, as HTML.

    It needs no network, and all text is escaped by the template.
    """
    shown = [*_curves(sweep), *_courses(sweep, courses or {})] if sweep.front else []
    templates = Environment(
        loader=PackageLoader("orchestrator.views"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("report.html.j2").render(
        sweep_id=sweep.sweep_id,
        subtitle=_subtitle(sweep),
        front=_front(sweep) if sweep.front else None,
        why_no_front="" if sweep.front else sweep.why_no_front,
        confirmations=[_confirmation(confirmation) for confirmation in confirmations] if sweep.front else [],
        curves=[{"title": title, "figure": _plot(figure)} for title, figure in shown],
        stages=list(_stages(sweep)),
        trials=_trials(sweep),
        facts=_facts(sweep),
    )


def _plot(figure: Any, *, with_plotly: bool = False) -> Markup:
    """A figure as HTML; the first one of a page brings plotly along."""
    page = figure.to_html(full_html=False, include_plotlyjs=with_plotly, config={"displaylogo": False})
    return Markup(page)  # plotly escapes what stands in its script


def _curves(sweep: Sweep) -> Iterator[tuple[str, Any]]:
    """What each way of choosing gives, with its heading."""
    metrics = {sweep.reuse_metric: "Reuse accuracy", "cut_size": "Module size"}
    for rule, grid in sweep.config.evaluation.grids.items():
        over = next(iter(grid))
        where = {
            "activity": "tau",
            "contribution": "the level",
            "size": "the target size",
            "magnitude": "the target size, by magnitude",
            "score": "the score",
            "gate": "the share",
        }.get(rule, f"{over} ({short_name(rule)})")
        for metric, title in metrics.items():
            yield f"{title} over {where}", curves_figure(sweep, rule, metric)


def _courses(sweep: Sweep, courses: Mapping[str, Course]) -> Iterator[tuple[str, Any]]:
    """How the trials on the front were trained, with a heading; nothing where no epochs are recorded of them."""
    if any(one.trial.trial_id in courses for point in sweep.front for one in point.singles):
        yield "Loss and its terms over the epochs", courses_figure(sweep, courses)


def _subtitle(sweep: Sweep) -> str:
    seconds = sum(trial.seconds or 0 for trial in sweep.trials)
    config = sweep.config
    return (
        f"{config.model.name} on {config.data.name}, method {config.method.name},"
        f" {sweep.finished_text}, {seconds:.0f} s of training, {len(sweep.points)} points"
    )


def _front(sweep: Sweep) -> dict[str, Any]:
    """The front and how it came about."""
    declared = sweep.config.metrics
    objectives = ", ".join(
        f"{declared[name].title} ({'higher' if objective.direction == 'max' else 'lower'} is better)"
        for name, objective in sweep.config.search.objectives.items()
    )
    names = shown_metrics(sweep, always=always_shown(sweep))
    titles = [declared[name].title for name in names]
    rows = []
    for point in sweep.front:
        mark = sweep.mark(point)
        cells = [point.label, mark, coefficients_text(point.trial.coefficients)]
        cells += [number_text(point, name) for name in names]
        cells += [number_text(point, name, on_test=True) for name in (sweep.reuse_metric, "accuracy")]
        rows.append((cells, bool(mark)))
    return {
        "objectives": objectives,
        "broken": sweep.broken,
        "hypervolume": sweep.hypervolume_text,
        "reference": reference_text(sweep),
        "repeats": repeats_text(sweep) if sweep.config.search.repeats > 1 else "",
        "figure": _plot(objectives_figure(sweep), with_plotly=True),
        "head": ["point", "", "coefficients", *titles, "test reuse", "test accuracy"],
        "rows": rows,
        "example": sweep.front[0].label,
    }


def _confirmation(confirmation: Confirmation) -> dict[str, Any]:
    return {
        "sweep_id": confirmation.sweep.sweep_id,
        "lines": confirmation_lines(confirmation),
        "figure": _plot(confirmation_figure(confirmation)),
        "head": HEAD,
        "rows": [(cells, bool(cells[0])) for cells in confirmation_rows(confirmation)],
    }


def _stages(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """The refitted and tuned modules, and separate networks, on validation and on test."""
    for title, text, head, rows_of in (
        ("Refitted and tuned modules", STAGES_TEXT, stage_head(sweep), stage_rows),
        ("Separate networks", SEPARATE_TEXT, SEPARATE_HEAD, separate_rows),
    ):
        splits = {split: rows_of(sweep, on_test=split == "test") for split in ("validation", "test")}
        tables = [
            {"split": split, "head": head, "rows": [(cells, False) for cells in rows]}
            for split, rows in splits.items()
            if rows
        ]
        if tables:
            yield {"title": title, "text": text, "tables": tables}


def _trials(sweep: Sweep) -> dict[str, Any]:
    names = sweep.coefficient_names
    seeds = ["seed"] if sweep.config.search.repeats > 1 else []
    rows = []
    for one in sweep.trials:
        values = [value_text(one.coefficients.get(name)) for name in names]
        seconds = "" if one.seconds is None else f"{one.seconds:.1f}"
        evaluation = "" if one.evaluation_seconds is None else f"{one.evaluation_seconds:.1f}"
        own = [str(sweep.config.for_trial(one.number, one.coefficients).training.seed) for _ in seeds]
        rows.append(([str(one.number), *values, *own, one.status, seconds, evaluation, one.reason or ""], False))
    return {"head": ["trial", *names, *seeds, "status", "training s", "evaluation s", "reason"], "rows": rows}


def _facts(sweep: Sweep) -> dict[str, str]:
    training, evaluation = sweep.config.training, sweep.config.evaluation
    gate_shares = ", ".join(f"{share:g}" for share in evaluation.gate_shares)
    repeats = sweep.config.search.repeats
    return {
        "model": f"{sweep.config.model.name} {dict(sweep.config.model.options) or ''}",
        "training": f"{training.epochs} epochs, batch {training.batch_size}, learning rate {training.learning_rate:g},"
        f" seed {training.seed}",
        "taus": ", ".join(f"{tau:g}" for tau in evaluation.taus),
        "thresholds": ", ".join(f"{threshold:g}" for threshold in evaluation.thresholds),
        "levels": ", ".join(f"{level:g}" for level in evaluation.levels) or "none",
        "target sizes": ", ".join(f"{target:g}" for target in evaluation.targets) or "none",
        "target sizes by magnitude": ", ".join(f"{target:g}" for target in evaluation.magnitude_targets) or "none",
        **({"shares of open gates": gate_shares} if gate_shares else {}),
        **{short_name(rule): _grid_text(grid) for rule, grid in evaluation.rules.items()},
        "search": f"{sweep.config.search.name}, seed {sweep.config.search.seed}, early stopping"
        f" {sweep.config.search.early_stopping}",
        "repeats": "none" if repeats == 1 else f"{repeats} trainings of each set of coefficients",
    }


def _grid_text(grid: Mapping[str, Sequence[float]]) -> str:
    """The values of a rule's parameters."""
    return "; ".join(f"{name}: {', '.join(f'{value:g}' for value in values)}" for name, values in grid.items())
