"""The report: one self-contained HTML file."""

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.results import Confirmation, Course, Point, Sweep
from orchestrator.views.confirmed import confirmation_html
from orchestrator.views.figures import courses_figure, curves_figure, levels_figure
from orchestrator.views.pairs import objectives_figure
from orchestrator.views.terminal import (
    METRIC_TITLES,
    SHOWN,
    coefficients_text,
    number_text,
    repeats_text,
    shown_metrics,
    value_text,
)

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.sub { color: #5b6b7b; margin-top: .2rem; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid #e6eaee; }
th:first-child, td:first-child, td.text { text-align: left; } tr.marked { background: #fdf1f1; }
td { white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; } dt { color: #5b6b7b; } dd { margin: 0; }
code { background: #f2f4f6; padding: .1rem .3rem; border-radius: 3px; }
div.scroll { overflow-x: auto; }
"""


def render_report(
    sweep: Sweep, confirmations: Sequence[Confirmation] = (), courses: Mapping[str, Course] | None = None
) -> str:
    """The report of a sweep, with its confirmations and the courses of its trainings, as HTML; needs no network."""
    front = sweep.front
    title = html.escape(f"Sweep {sweep.sweep_id}")
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>",
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>",
        f"<p class='sub'>{html.escape(_subtitle(sweep))}</p>",
    ]
    if not front:
        parts.append(f"<p>{html.escape(sweep.why_no_front)}</p>")
    else:
        first = True
        parts += ["<h2>The front</h2>", _explanation(sweep)]
        for heading, figure in ((None, objectives_figure(sweep)), *_curves(sweep), *_courses(sweep, courses or {})):
            if heading:
                parts.append(f"<h2>{heading}</h2><p class='sub'>The trials on the front.</p>")
            parts.append(figure.to_html(full_html=False, include_plotlyjs=first, config={"displaylogo": False}))
            if first:
                parts += ["<h2>Its points</h2>", _front_html(sweep, front), _how_to_pull(sweep, front)]
                parts += [confirmation_html(one) for one in confirmations]
            first = False
    parts += ["<h2>Trials</h2>", _trials_html(sweep), "<h2>Configuration</h2>", _facts(sweep), "</body></html>"]
    return "\n".join(parts)


def _curves(sweep: Sweep) -> Iterator[tuple[str, Any]]:
    """What each way of choosing gives, with its heading."""
    metrics = {"reuse_accuracy": "Reuse accuracy", "module_size": "Module size"}
    for metric, title in metrics.items():
        yield f"{title} over tau", curves_figure(sweep, metric)
    for metric, title in metrics.items() if sweep.config.evaluation.levels else ():
        yield f"{title} over the level", levels_figure(sweep, metric)


def _courses(sweep: Sweep, courses: Mapping[str, Course]) -> Iterator[tuple[str, Any]]:
    """How the trials on the front were trained, with a heading; nothing where no epochs are recorded of them."""
    if any(one.trial.trial_id in courses for point in sweep.front for one in point.singles):
        yield "Loss and its terms over the epochs", courses_figure(sweep, courses)


def _subtitle(sweep: Sweep) -> str:
    seconds = sum(one.seconds or 0 for one in sweep.trials)
    config = sweep.config
    return (
        f"{config.model.name} on {config.data.name}, method {config.method.name},"
        f" {sweep.finished_text}, {seconds:.0f} s of training, {len(sweep.points)} points"
    )


def _explanation(sweep: Sweep) -> str:
    objectives = ", ".join(
        f"{METRIC_TITLES.get(name, name)} ({'more' if direction == 'max' else 'less'} is better)"
        for name, direction in sweep.config.search.objectives.items()
    )
    broken = html.escape(f" {sweep.broken}." if sweep.broken else "")
    repeated = f" Points are {html.escape(repeats_text(sweep))}." if sweep.config.search.repeats > 1 else ""
    return (
        f"<p>Objectives: {html.escape(objectives)}.{broken} Points are chosen on validation images; test is only"
        " reported."
        f" Hypervolume {sweep.hypervolume:.4f}. Hover a point for its trial's coefficients.{repeated}</p>"
    )


def _front_html(sweep: Sweep, front: Sequence[Point]) -> str:
    names = shown_metrics(sweep, always=SHOWN)
    titles = [METRIC_TITLES[name] for name in names]
    head = ["point", "", "coefficients", *titles, "test reuse", "test accuracy"]
    rows = []
    for point in front:
        mark = sweep.mark(point)
        cells = [point.label, mark, coefficients_text(point.trial.coefficients)]
        cells += [number_text(point, name) for name in names]
        cells += [number_text(point, name, on_test=True) for name in ("reuse_accuracy", "accuracy")]
        rows.append((cells, bool(mark)))
    return _table(head, rows)


def _how_to_pull(sweep: Sweep, front: Sequence[Point]) -> str:
    sweep_id = html.escape(sweep.sweep_id)
    return (
        f"<p>Pull one: <code>moda pull sweep:{sweep_id}/best --to modules</code>, or any by its name:"
        f" <code>sweep:{sweep_id}/{html.escape(front[0].label)}</code>.</p>"
    )


def _trials_html(sweep: Sweep) -> str:
    names = sweep.coefficient_names
    seeds = ["seed"] if sweep.config.search.repeats > 1 else []
    rows = []
    for one in sweep.trials:
        values = [value_text(one.coefficients.get(name)) for name in names]
        seconds = "" if one.seconds is None else f"{one.seconds:.1f}"
        evaluation = "" if one.evaluation_seconds is None else f"{one.evaluation_seconds:.1f}"
        own = [str(sweep.config.for_trial(one.number, one.coefficients).training.seed) for _ in seeds]
        rows.append(([str(one.number), *values, *own, one.status, seconds, evaluation, one.reason or ""], False))
    return _table(["trial", *names, *seeds, "status", "training s", "evaluation s", "reason"], rows)


def _facts(sweep: Sweep) -> str:
    training, evaluation = sweep.config.training, sweep.config.evaluation
    repeats = sweep.config.search.repeats
    facts = {
        "model": f"{sweep.config.model.name} {dict(sweep.config.model.options) or ''}",
        "training": f"{training.epochs} epochs, batch {training.batch_size}, learning rate {training.learning_rate:g},"
        f" seed {training.seed}",
        "taus": ", ".join(f"{tau:g}" for tau in evaluation.taus),
        "thresholds": ", ".join(f"{one:g}" for one in evaluation.thresholds),
        "levels": ", ".join(f"{one:g}" for one in evaluation.levels) or "none",
        "search": f"{sweep.config.search.name}, seed {sweep.config.search.seed}, early stopping"
        f" {sweep.config.search.early_stopping}",
        "repeats": "none" if repeats == 1 else f"{repeats} trainings of each set of coefficients",
    }
    rows = "".join(f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>" for key, value in facts.items())
    return f"<dl>{rows}</dl>"


def _table(head: Iterable[str], rows: Iterable[tuple[Sequence[str], bool]]) -> str:
    top = "".join(f"<th>{html.escape(one)}</th>" for one in head)
    body = "".join(
        f"<tr{' class=marked' if marked else ''}>" + "".join(f"<td>{html.escape(one)}</td>" for one in cells) + "</tr>"
        for cells, marked in rows
    )
    return f"<div class='scroll'><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
