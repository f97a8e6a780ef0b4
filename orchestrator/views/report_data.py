"""What the report's figures are drawn from, as plain data: the page holds it as JSON, and one can download it."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moda_core.rules import RULES
from orchestrator.config import short_name, without_method_names
from orchestrator.declarations import Metric
from orchestrator.results import Course, Point, Sweep, TrialState
from orchestrator.views.baselines import baseline_name, is_standard, method_hues
from orchestrator.views.terminal import coefficient_keys, coefficients_text, spread_of

RULE_TITLES = {
    "activity": "activity: units that are active on a share tau of the class's images",
    "contribution": "contribution: units that contribute at least a level to the class's logit",
    "size": "size: units of the largest contributions, up to a target size",
    "magnitude": "magnitude: units of the largest filters, up to a target size; knows no class",
    "score": "score: units whose trained score lies above a value",
    "gate": "gate: units whose gate is open on a share of the class's images",
}


def report_data(sweep: Sweep, courses: Mapping[str, Course]) -> dict[str, Any]:
    """Return what the report's figures show, by names that need no explanation, for JSON.

    Args:
        sweep: with its trials and points.
        courses: the losses of its trainings, by trial id.

    Returns:
        ``objectives`` and ``metrics`` as declared, ``rules`` with their parameters, ``trials``, ``points`` (validation
        metrics, test metrics where they were measured) and ``front``, the names of its points from the smallest.
    """
    shown = [name for name in metric_names(sweep) if any(name in point.metrics for point in sweep.candidates)]
    feasible = {point.label for point in sweep.feasible}
    rules = list(sweep.config.evaluation.grids)
    rules += sorted({point.choice.rule for point in sweep.candidates} - set(rules))
    return {
        "sweep": sweep.sweep_id,
        "objectives": [
            {"name": name, "direction": objective.direction, "reference": sweep.reference[name]}
            for name, objective in sweep.config.search.objectives.items()
        ],
        "metrics": {name: _metric(sweep, sweep.config.metrics[name]) for name in shown},
        "rules": [_rule(sweep, rule) for rule in rules],
        "coefficients": _coefficients(sweep),
        "trials": _trials(sweep, courses),
        "methods": [
            {"name": name, "colour": colour, "front": [point.label for point in sweep.method_fronts[name]]}
            for name, colour in method_hues(sweep).items()
        ],
        "isRepeated": sweep.config.search.repeats > 1,
        "points": [_point(sweep, point, rules, shown, feasible) for point in sweep.candidates],
        "front": [point.label for point in sweep.front],
        "course": _course_of_hypervolume(sweep),
    }


def metric_names(sweep: Sweep) -> list[str]:
    """Return the metrics that the report offers: the objectives, then the others that have a good direction."""
    declared = sweep.config.metrics
    directed = [name for name, metric in declared.items() if metric.direction]
    return list(dict.fromkeys([*sweep.config.search.objectives, *directed, "reuse_baseline"]))


def _metric(sweep: Sweep, metric: Metric) -> dict[str, Any]:
    objective = sweep.config.search.objectives.get(metric.name)
    return {
        "title": metric.title,
        "what": metric.what,
        "axis": metric.axis,
        "direction": metric.direction,
        "isPercentage": metric.is_percentage,
        "isLogarithmic": metric.is_logarithmic if objective is None else objective.is_logarithmic,
        "baseline": metric.baseline,
    }


def _rule(sweep: Sweep, rule: str) -> dict[str, Any]:
    """A rule as its declaration says: a slider for each parameter, over the values that were measured."""
    declared = {parameter.name: parameter for parameter in RULES[rule].parameters} if rule in RULES else {}
    choices = [point.choice.values for point in sweep.candidates if point.choice.rule == rule]
    names = list(sweep.config.evaluation.grids.get(rule, choices[0] if choices else ()))
    return {
        "name": rule,
        "title": RULE_TITLES.get(rule, short_name(rule)),
        "short": short_name(rule),
        "parameters": [
            {
                "name": name,
                "title": declared[name].title if name in declared else name,
                "isLogarithmic": name in declared and declared[name].is_logarithmic,
                "values": sorted({values[name] for values in choices}),
            }
            for name in names
        ],
    }


def _coefficients(sweep: Sweep) -> list[dict[str, Any]]:
    """What was searched, each with the scale of its axis; what only baselines set is on a linear one."""
    space = without_method_names(sweep.config.search.space)
    return [{"name": name, "isLogarithmic": name in space and space[name].log} for name in coefficient_keys(sweep)]


def _trials(sweep: Sweep, courses: Mapping[str, Course]) -> list[dict[str, Any]]:
    of_trial: dict[int, list[Point]] = {}
    for point in sweep.feasible:
        of_trial.setdefault(point.trial.number, []).append(point)
    return [
        {
            "number": trial.number,
            "id": trial.trial_id,
            "set": sweep.set_of(trial),
            "status": str(trial.status),
            "reason": trial.reason or "",
            "method": sweep.method_of(trial),
            "baseline": _baseline(sweep, trial),
            "coefficients": dict(without_method_names(trial.coefficients)),
            "text": coefficients_text(trial.coefficients),
            "seconds": trial.seconds,
            "hypervolume": _volume(sweep, of_trial.get(trial.number, [])),
            "course": courses.get(trial.trial_id, []),
        }
        for trial in sweep.trials
    ]


def _volume(sweep: Sweep, points: Sequence[Point]) -> float | None:
    """The hypervolume of one trial's points alone."""
    volume = sweep.hypervolume_of(sweep.values(points)) if points else None
    return volume if volume is not None and math.isfinite(volume) else None


def _baseline(sweep: Sweep, trial: TrialState) -> str:
    """What a baseline is called; empty for a trial that was searched."""
    baselines = sweep.config.search.baselines
    number = sweep.set_of(trial)
    if number >= len(baselines) or dict(baselines[number]) != trial.coefficients:
        return ""
    name = baseline_name(sweep.config, baselines[number])
    return name if is_standard(sweep.config, baselines[number]) else name.removeprefix("baseline ")


def _point(
    sweep: Sweep, point: Point, rules: Sequence[str], shown: Sequence[str], feasible: set[str]
) -> dict[str, Any]:
    return {
        "name": point.label,
        "trial": point.trial.number,
        "rule": rules.index(point.choice.rule),
        "values": list(point.choice.values.values()),
        "choice": str(point.choice),
        "metrics": [point.metrics.get(name) for name in shown],
        "errors": _errors(point, shown),
        "test": [point.test.get(name) for name in shown] if point.test else None,
        "testErrors": _errors(point, shown, on_test=True),
        "isFeasible": point.label in feasible,
        "role": sweep.mark(point),
        "notes": list(_notes(point)),
    }


def _errors(point: Point, names: Sequence[str], *, on_test: bool = False) -> dict[str, float]:
    """What metrics may be off by, of those of which it is known."""
    measured = (point.test if on_test else point.metrics) or {}
    spreads = {name: spread_of(point, name, on_test=on_test) for name in names if name in measured}
    return {name: spread for name, spread in spreads.items() if spread is not None}


def _notes(point: Point) -> Iterator[str]:
    if point.over:
        yield "mean ± deviation of trials " + ", ".join(str(single.trial.number) for single in point.over)
    measured = point.metrics or point.test or {}
    if not point.choice.reaches_target(measured["cut_size"]):
        yield "the target size is out of reach"


def _course_of_hypervolume(sweep: Sweep) -> list[dict[str, float]]:
    """The hypervolume after each trial that has points, in the order of their numbers."""
    by_trial = itertools.groupby(
        sorted(sweep.feasible, key=lambda point: point.trial.number), key=lambda point: point.trial.number
    )
    found, values = [], []
    for number, points in by_trial:
        values += sweep.values(list(points))
        volume = sweep.hypervolume_of(values)
        if volume is not None and math.isfinite(volume):
            found.append({"trial": number, "hypervolume": volume})
    return found
