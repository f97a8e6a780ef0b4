"""The table of refitted and tuned modules, for a sweep that is made by hand."""

import dataclasses

from orchestrator.config.choice import Choice
from orchestrator.views.page import render_report
from orchestrator.views.stages import tables_beside
from tests.orchestrator.results.test_sweep import by_tau, made_sweep, staged_point
from tests.orchestrator.views.test_page import Tables
from tests.orchestrator.views.test_terminal import FRONT, cells


def only_table(sweep):
    (table,) = tables_beside(sweep)
    return table


def metrics(size, cut, control):
    """What both stages of a choice share, and the control after a stage."""
    return {
        "composed_size": size,
        "cut_accuracy": cut,
        "control_cut_accuracy": 0.25,
        "control_accuracy": control,
        "reuse_baseline": 0.96,
        "reuse_accuracy_error": 0.01,
    }


def point(stage, reuse, choice, **values):
    made = staged_point(stage, reuse, choice, reuse_accuracy=reuse, **values)
    return dataclasses.replace(made, test={**made.metrics, "reuse_accuracy": 0.5} if stage == "tuned" else None)


STAGED = [
    point("tuned", 0.95, by_tau(0.9), **metrics(0.5, 0.8, 0.7)),
    point("refit", 0.9, by_tau(0.9), **metrics(0.5, 0.8, 0.6)),
    point("refit", 0.85, Choice.size(0.1), **metrics(0.25, 0.75, 0.5)),
]
SWEEP = dataclasses.replace(made_sweep(FRONT), staged=STAGED)
HEADS = [
    *("point", "size %", "cut %", "refit %", "tuned %"),
    *("random cut %", "random refit %", "random tuned %", "whole network %", "coefficients"),
]


def test_a_choice_has_a_row_with_its_stages_and_its_control_smallest_first():
    heads, rows = cells(only_table(SWEEP))
    assert heads == HEADS
    assert rows == [
        ["0/size/0.1", "25.0", "75.0", "85.0±1.0", "", "25.0", "50.0", "", "96.0", "alpha 1"],
        ["0/0.9/0", "50.0", "80.0", "90.0±1.0", "95.0±1.0", "25.0", "60.0", "70.0", "96.0", "alpha 1"],
    ]


def test_only_stages_that_were_measured_have_columns():
    heads, rows = cells(only_table(dataclasses.replace(SWEEP, staged=STAGED[1:])))
    assert heads == [
        "point",
        "size %",
        "cut %",
        "refit %",
        "random cut %",
        "random refit %",
        "whole network %",
        "coefficients",
    ]
    assert [row[0] for row in rows] == ["0/size/0.1", "0/0.9/0"]


def test_the_report_has_them_under_a_heading_of_their_own_on_both_splits():
    page = render_report(SWEEP)
    assert page.count("<h2>Refitted and tuned modules</h2>") == 1
    (_, validation, test, _) = Tables(page).found
    assert validation == [HEADS, *cells(only_table(SWEEP))[1]]
    assert test[1:] == [["0/0.9/0", "50.0", "80.0", "", "50.0±1.0", "25.0", "", "70.0", "96.0", "alpha 1"]]
    assert "Refitted" not in render_report(made_sweep(FRONT))


def test_separate_networks_have_a_table_of_their_own():
    values = {"composed_size": 5.8, "reuse_accuracy_error": 0.01, "reuse_baseline": 0.96}
    made = staged_point("separate", 0.9, Choice.score(0.0), reuse_accuracy=0.9, **values)
    sweep = dataclasses.replace(SWEEP, staged=[*STAGED, made])
    staged, separate = tables_beside(sweep)
    assert cells(staged) == cells(only_table(SWEEP))
    assert cells(separate) == (
        ["point", "size %", "separate %", "whole network %", "coefficients"],
        [["0/score/0/separate", "580.0", "90.0±1.0", "96.0", "alpha 1"]],
    )
    page = render_report(sweep)
    assert page.index("<h2>Refitted and tuned modules</h2>") < page.index("<h2>Separate networks</h2>")
    assert made.why_no_set.endswith("take 0/score/0, which is one network with the same masks")
    assert tables_beside(made_sweep(FRONT)) == []
