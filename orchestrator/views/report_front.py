"""The front in the report: its words, its legend and its table."""

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from orchestrator.results import Sweep
from orchestrator.views.baselines import baseline_name, is_standard, method_hues
from orchestrator.views.table_row import Row
from orchestrator.views.terminal import (
    coefficients_text,
    metric_cell,
    reference_text,
    repeats_text,
    shown_metrics,
    shown_on_test,
)


def front_section(sweep: Sweep) -> dict[str, Any]:
    """Return what the report says of the front beside its figure: words, legend and table."""
    declared = sweep.config.metrics
    objectives = ", ".join(
        f"{declared[name].title} ({'higher' if objective.direction == 'max' else 'lower'} is better)"
        for name, objective in sweep.config.search.objectives.items()
    )
    names, on_test = shown_metrics(sweep), shown_on_test(sweep)
    rows = []
    for point in sweep.front:
        mark = sweep.mark(point)
        cells = [point.label, mark]
        cells += [metric_cell(point, declared[name]) for name in names]
        cells += [metric_cell(point, declared[name], on_test=True) for name in on_test]
        cells.append(coefficients_text(point.trial.coefficients))
        classes = " ".join(filter(None, ["marked" if mark else "", "below" if sweep.is_below(point) else ""]))
        rows.append(Row(cells, classes, point.label))
    heads = [declared[name].head for name in names] + [f"test {declared[name].head}" for name in on_test]
    is_repeated = sweep.config.search.repeats > 1
    return {
        "objectives": objectives,
        "broken": sweep.broken,
        "hypervolume": sweep.hypervolume_text,
        "reference": reference_text(sweep),
        "repeats": repeats_text(sweep) if is_repeated else "",
        "spread": "the standard deviation over the seeds" if is_repeated else "the standard error",
        "legend": list(_legend(sweep)),
        "head": ["point", "", *heads, "coefficients"],
        "rows": rows,
        "example": sweep.front[0].label,
    }


def _legend(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """What the symbols of the front's figure mean; each differs from the others in shape as well as in colour."""
    line = Markup("<path d='M0 7H18' stroke='var(--front)' stroke-width='2'/><circle cx='9' cy='7' r='4.5'")
    yield {"symbol": line + Markup(" fill='var(--front)'/>"), "text": "front"}
    if any(point.test for point in sweep.front):
        yield {
            "symbol": Markup("<circle cx='9' cy='7' r='4' fill='none' stroke='var(--test)' stroke-width='1.5'/>"),
            "text": "the same points on test",
        }
    dot = Markup("<circle cx='9' cy='7' r='2.5' fill='{}'/>")
    colours = method_hues(sweep)
    for method, colour in colours.items():
        yield {"symbol": dot.format(colour), "text": f"points of {method}"}
        if len(sweep.config.search.objectives) == 2:  # of more no line is drawn
            line = Markup("<path d='M0 7H18' stroke='{}' stroke-width='2' stroke-dasharray='2 3'/>").format(colour)
            yield {"symbol": line, "text": f"front of {method}"}
    if not colours:
        yield {"symbol": dot.format("var(--other)"), "text": "all points"}
    if len(sweep.feasible) < len(sweep.candidates):
        yield {"symbol": dot.format("var(--faint)"), "text": "points that break a constraint"}
    for shape, name in _baseline_names(sweep):
        yield {
            "symbol": Markup(f"<path d='{shape}' fill='none' stroke='var(--baseline)' stroke-width='2'/>"),
            "text": name,
        }
    yield {
        "symbol": Markup("<path d='M0 7H18' stroke='var(--ink)' stroke-dasharray='5 3'/>"),
        "text": "the whole network on the same draw of images",
    }


def _baseline_names(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """The symbol of each kind of baseline, and the names of those that are drawn so."""
    kinds: dict[bool, list[str]] = {}
    for coefficients in sweep.config.search.baselines:
        name = baseline_name(sweep.config, coefficients)
        kinds.setdefault(is_standard(sweep.config, coefficients), []).append(name)
    for standard, names in kinds.items():
        shape = "M5 3L13 11M5 11L13 3" if standard else "M9 2L14 7L9 12L4 7Z"
        yield shape, "; ".join(names)
