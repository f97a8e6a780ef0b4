"""The report: one self-contained HTML file."""

import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.config import short_name, to_plain, without_method_names
from orchestrator.results import Confirmation, Course, KeptUnits, Origin, Sweep, SweepClasses
from orchestrator.search import Forecast, Status
from orchestrator.views.per_class import class_sections
from orchestrator.views.report_data import report_data
from orchestrator.views.report_front import front_section
from orchestrator.views.stages import (
    SEPARATE_HEAD,
    SEPARATE_TEXT,
    STAGES_TEXT,
    separate_rows,
    stage_head,
    stage_rows,
)
from orchestrator.views.table_row import Row
from orchestrator.views.terminal import (
    coefficient_keys,
    value_text,
)


def render_report(
    sweep: Sweep,
    confirmations: Sequence[Confirmation] = (),
    courses: Mapping[str, Course] | None = None,
    origin: Origin | None = None,
    kept: Sequence[KeptUnits] = (),
    *,
    classes: SweepClasses | None = None,
    recipe: Sequence[str] | None = None,
    address: str | None = None,
    expected: Forecast | None = None,
    refresh: float | None = None,
) -> str:
    """Render the report of a sweep as HTML. It needs no network, and all text is escaped by the template.

    Args:
        sweep: with its trials and points.
        confirmations: of the sweep.
        courses: the losses of its trainings, by trial id.
        origin: when and with which packages it was started.
        kept: which units the classes keep, of the module sets that are published.
        classes: what was measured of the classes.
        recipe: overrides that compose its configuration; None where there are none.
        address: of its run in W&B.
        expected: what its searcher expects of more trials; None where it has no model.
        refresh: after how many seconds a browser loads the page again; None: never.
    """
    templates = Environment(
        loader=PackageLoader("orchestrator.views"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}
    return templates.get_template("report.html.j2").render(
        sweep_id=sweep.sweep_id,
        subtitle=_subtitle(sweep),
        front=front_section(sweep) if sweep.front else None,
        why_no_front="" if sweep.front else sweep.why_no_front,
        confirmations=list(_confirmations(confirmations)) if sweep.front else [],
        has_courses=bool(courses),
        per_class=list(class_sections(sweep, classes or SweepClasses(), kept)),
        stages=list(_stages(sweep)),
        trials=_trials(sweep),
        statuses=list(_statuses(sweep)),
        facts=_facts(sweep),
        versions=_origin_facts(origin or Origin()),
        configuration=yaml.safe_dump(to_plain(sweep.config), sort_keys=False, allow_unicode=True),
        recipe=_recipe_text(sweep, recipe),
        address=address,
        refresh=refresh,
        expected=_expected_text(sweep, expected, is_watched=refresh is not None),
        data={**report_data(sweep, courses or {}), "address": address, "expected": _slices(expected)},
    )


def _plot(figure: Any, *, with_plotly: bool) -> Markup:
    """A figure as HTML; the first one of a page brings plotly along."""
    page = figure.to_html(full_html=False, include_plotlyjs=with_plotly, config={"displaylogo": False})
    return Markup(page)  # plotly escapes what stands in its script


def _subtitle(sweep: Sweep) -> str:
    seconds = sum(trial.seconds or 0 for trial in sweep.trials)
    config = sweep.config
    several = ", ".join(config.search.methods)
    method = f"methods {several}" if several else f"method {config.method.name}"
    return (
        f"{config.model.name} on {config.data.name}, {method},"
        f" {sweep.finished_text}, {seconds:.0f} s of training, {len(sweep.points)} points"
    )


def _confirmations(confirmations: Sequence[Confirmation]) -> Iterator[dict[str, Any]]:
    if not confirmations:
        return  # their figures load plotly
    from orchestrator.views.confirmed import HEAD, confirmation_figure, confirmation_lines, confirmation_rows

    for place, confirmation in enumerate(confirmations):
        yield {
            "sweep_id": confirmation.sweep.sweep_id,
            "lines": confirmation_lines(confirmation),
            "figure": _plot(confirmation_figure(confirmation), with_plotly=place == 0),
            "head": HEAD,
            "rows": [Row(cells, "marked" if cells[0] else "") for cells in confirmation_rows(confirmation)],
        }


def _stages(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """The refitted and tuned modules, and separate networks, on validation and on test."""
    for title, text, head, rows_of in (
        ("Refitted and tuned modules", STAGES_TEXT, stage_head(sweep), stage_rows),
        ("Separate networks", SEPARATE_TEXT, SEPARATE_HEAD, separate_rows),
    ):
        splits = {split: rows_of(sweep, on_test=split == "test") for split in ("validation", "test")}
        tables = [
            {"split": split, "head": head, "rows": [Row(cells) for cells in rows]}
            for split, rows in splits.items()
            if rows
        ]
        if tables:
            yield {"title": title, "text": text, "tables": tables}


def _trials(sweep: Sweep) -> dict[str, Any]:
    names = coefficient_keys(sweep)
    seeds = ["seed"] if sweep.config.search.repeats > 1 else []
    rows = []
    for trial in sweep.trials:
        coefficients = without_method_names(trial.coefficients)
        values = [value_text(coefficients.get(name)) for name in names]
        seconds = "" if trial.seconds is None else f"{trial.seconds:.1f}"
        evaluation = "" if trial.evaluation_seconds is None else f"{trial.evaluation_seconds:.1f}"
        own = [str(sweep.config.for_trial(trial.number, trial.coefficients).training.seed) for _ in seeds]
        cells = [str(trial.number), *values, *own, trial.status, seconds, evaluation, trial.reason or ""]
        rows.append(Row(cells, trial=trial.number))
    return {"head": ["trial", *names, *seeds, "status", "training s", "evaluation s", "reason"], "rows": rows}


STATUSES = {
    Status.FINISHED: "trained and measured",
    Status.STOPPED: "ended by early stopping, without points",
    Status.DIVERGED: "the loss was no longer finite; not tried again",
    Status.FAILED: "ended by an error; the same `moda sweep` tries them again",
    Status.STARTED: "running, or interrupted: the same `moda sweep` goes on with them",
    Status.PROPOSED: "waiting to start",
}


def _statuses(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """How many trials stand how, and what that means."""
    for status, meaning in STATUSES.items():
        if count := sweep.count(status):
            yield f"{count} {status}", meaning


def _origin_facts(origin: Origin) -> dict[str, str]:
    started = {} if origin.created is None else {"started": f"{origin.created:%Y-%m-%d %H:%M} UTC"}
    return {**started, **origin.versions}


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


def _expected_text(sweep: Sweep, expected: Forecast | None, *, is_watched: bool) -> str:
    """What more trials are expected to add to the hypervolume, and why that is not known."""
    if is_watched:
        return "What the searcher expects of more trials is shown when the sweep is over."
    if expected is None or not expected.gains:
        return f"The search {sweep.config.search.name} has no model to say what more trials would add."
    volume = sweep.hypervolume or 0.0
    parts = []
    for count, gain in enumerate(expected.gains, start=1):
        share = f" ({100 * gain / volume:.2g} %)" if volume > 0 else ""
        parts.append(f"{gain:.2g}{share} from {count}" + (" more trial" if count == 1 else ""))
    return f"What the searcher's model expects to be added to the hypervolume: {', '.join(parts)}."


def _slices(expected: Forecast | None) -> dict[str, Any]:
    """What the model expects along each coefficient, for JSON."""
    return {} if expected is None else {name: dataclasses.asdict(each) for name, each in expected.slices.items()}


def _recipe_text(sweep: Sweep, recipe: Sequence[str] | None) -> str:
    """The command that trains the sweep again under another name; empty where there is none."""
    if recipe is None:
        return ""
    return " ".join(["moda sweep", f"sweep.name={shlex.quote(f'{sweep.sweep_id}-again')}", *map(shlex.quote, recipe)])


def _grid_text(grid: Mapping[str, Sequence[float]]) -> str:
    """The values of a rule's parameters."""
    return "; ".join(f"{name}: {', '.join(f'{value:g}' for value in values)}" for name, values in grid.items())
