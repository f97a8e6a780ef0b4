"""Tables in the terminal: every cell for a sweep that is made by hand."""

import dataclasses

import pytest

from moda_core import ReplacementAccuracy
from moda_core.sets.replacement import ClassAccuracy
from orchestrator.config.choice import Choice
from orchestrator.declarations import METRICS
from orchestrator.results.sweep import Sweep
from orchestrator.views.terminal import (
    front_table,
    metric_cell,
    metric_text,
    replacement_table,
    replacement_verdict,
    shown_metrics,
    spread_of,
    surface_table,
    value_text,
)
from tests.objectives import linear
from tests.orchestrator.results.test_sweep import CONFIG, TRIALS, by_tau, made_point, made_sweep

TEST = {"calibrated_reuse_accuracy": 0.85, "calibrated_reuse_accuracy_error": 0.004, "accuracy": 0.96, "cut_size": 0.75}
OTHERS = {"cut_overlap": 0.125, "accuracy": 0.97, "floored": 2.0}
FRONT = [
    made_point(0, by_tau(0.5), 0.95, 0.75, error=0.012, test=TEST, **OTHERS),
    made_point(0, by_tau(0.9), 0.9, 0.5, error=0.01, **OTHERS),
    made_point(1, Choice.contribution(0.1), 0.8, 0.1, error=0.02, **OTHERS),
]
HEADS = ["", "point", "alpha", "calibrated %", "size %", "overlap %", "acc %"]


def cells(table):
    """The table's heads, and its rows."""
    columns = [list(column.cells) for column in table.columns]
    return [column.header for column in table.columns], [list(row) for row in zip(*columns, strict=True)]


def test_a_front_is_shown_smallest_first_in_per_cent():
    heads, rows = cells(front_table(made_sweep(FRONT)))
    assert heads == [*HEADS, "test calibrated %", "test acc %"]
    assert rows == [
        ["", "1/0.1", "2", "80.0±2.0", "10.0", "12.5", "97.0", "", ""],
        ["knee", "0/0.9/0", "1", "90.0±1.0", "50.0", "12.5", "97.0", "", ""],
        ["best", "0/0.5/0", "1", "95.0±1.2", "75.0", "12.5", "97.0", "85.0±0.4", "96.0"],
    ]
    styles = [row.style for row in front_table(made_sweep(FRONT)).rows]
    assert styles == [None, "bold", "bold"]


def test_test_columns_are_left_out_until_something_was_measured():
    heads, rows = cells(front_table(made_sweep(FRONT[1:]), title="front"))
    assert heads == HEADS
    assert [row[1] for row in rows] == ["1/0.1", "0/0.9/0"]


def test_objectives_and_constrained_metrics_have_columns():
    sweep = made_sweep(FRONT, objectives=linear(accuracy="max", cut_size="min"), constraints=("cut_size <= 0.6",))
    with_kernels = made_sweep(FRONT, objectives=linear(accuracy="max", kernel_retention="min"))
    usual = ["calibrated_reuse_accuracy", "cut_size", "cut_overlap", "accuracy"]
    assert (shown_metrics(sweep), shown_metrics(with_kernels)) == (usual, [*usual, "kernel_retention"])
    table = front_table(sweep)
    assert cells(table)[0] == HEADS
    assert (
        table.caption
        == "point: trial/tau/threshold, trial/size/target or trial/level; 1 of 3 points violate cut_size <= 0.6"
    )


@pytest.mark.parametrize(
    ("rows", "shown"), [(None, [0, 1, 2, 3, 4]), (5, [0, 1, 2, 3, 4]), (3, [0, 1, 4]), (2, [1, 4])]
)
def test_of_a_long_front_best_and_knee_are_shown_and_others_at_even_distances(rows, shown):
    points = [made_point(0, by_tau((9 - n) / 10), 0.6 + n / 20, 0.1 + n / 10, **OTHERS) for n in range(5)]
    assert made_sweep(points).roles == {points[4].label: ["best"], points[1].label: ["knee"]}
    assert [row[1] for row in cells(front_table(made_sweep(points), rows=rows))[1]] == [points[n].label for n in shown]


def test_points_below_the_reference_are_left_out_unless_they_are_asked_for():
    sweep = made_sweep(FRONT, reference={"calibrated_reuse_accuracy": 0.85})
    table = front_table(sweep)
    assert [row[1] for row in cells(table)[1]] == ["0/0.9/0", "0/0.5/0"]
    assert table.caption.endswith("; 1 point below the reference point not shown")
    assert [row[1] for row in cells(front_table(sweep, whole=True))[1]] == ["1/0.1", "0/0.9/0", "0/0.5/0"]


def test_a_narrow_terminal_is_not_given_the_coefficients():
    assert cells(front_table(made_sweep(FRONT), width=200))[0][2] == "alpha"
    heads = [*HEADS, "test calibrated %", "test acc %"]
    broken = [head.replace(" ", "\n") for head in heads]
    assert cells(front_table(made_sweep(FRONT), width=75))[0] == broken
    table = front_table(made_sweep(FRONT), width=60)
    assert cells(table)[0] == [*broken[:2], *broken[3:]]
    assert table.caption.splitlines()[-1] == "coefficients: moda show s/TRIAL, or in a wider terminal"


def test_means_are_shown_with_their_deviation_over_the_seeds():
    pair = [made_point(n, by_tau(0.5), 0.9 - n / 10, 0.5, error=0.3, **OTHERS) for n in range(2)]
    table = front_table(made_sweep(pair, repeats=2))
    assert cells(table)[1] == [["best, knee", "0/0.5/0", "1", "85.0±7.1", "50.0±0.0", "12.5±0.0", "97.0±0.0"]]
    assert table.caption.splitlines()[1] == (
        "mean ± standard deviation over the 2 seeds of a set of coefficients; the trial named is the one nearest to the"
        " mean"
    )


def test_a_surface_is_every_choice_of_a_training():
    sweep = Sweep("s", CONFIG, TRIALS[:1], FRONT[:2])
    heads, rows = cells(surface_table(sweep, title="validation"))
    assert heads == ["", "chosen", "calibrated %", "size %", "overlap %", "acc %", "floored"]
    assert rows == [
        ["best", "tau 0.5, threshold 0", "95.0±1.2", "75.0", "12.5", "97.0", "2"],
        ["knee", "tau 0.9, threshold 0", "90.0±1.0", "50.0", "12.5", "97.0", "2"],
    ]


def test_a_replacement_is_shown_beside_its_control():
    found = ReplacementAccuracy(
        before=ClassAccuracy(0.5, 0.9),
        replaced=ClassAccuracy(0.75, 0.875),
        control=ClassAccuracy(0.625, 0.9),
        gain_error=ClassAccuracy(0.05, 0.02),
        target_images=20,
        other_images=180,
    )
    heads, rows = cells(replacement_table(found, class_name="c[a]t", title="class c[a]t"))
    assert heads == ["", r"c\[a]t acc %", "change", "images", "others acc %", "change", "images"]
    assert rows == [
        ["weak", "50.0", "", "20", "90.0", "", "180"],
        ["replaced", "75.0", "+25.0", "20", "87.5", "-2.5", "180"],
        ["control", "62.5", "+12.5", "20", "90.0", "+0.0", "180"],
    ]
    assert replacement_verdict(found, class_name="cat") == (
        "the module helped: class cat gains 12.5±5.0 points over the control; the mean of the other classes is as"
        " with the control (-2.5±2.0 points)"
    )
    unsure = dataclasses.replace(found, gain_error=ClassAccuracy(0.0625, 0.01))
    assert replacement_verdict(unsure, class_name="cat") == (
        "the module made no difference beyond the error: class cat is as with the control (+12.5±6.2 points); the"
        " mean of the other classes loses 2.5±1.0 points against the control"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.12345, "0.123"), (1e-5, "1e-05"), (1200, "1200"), ("adamw", "adamw"), (True, "True")],
)
def test_values_of_coefficients_are_short(value, text):
    assert value_text(value) == text


def test_numbers_are_shown_with_what_they_may_be_off_by():
    point, reuse = FRONT[0], METRICS["calibrated_reuse_accuracy"]
    assert metric_text(point, reuse) == "95.0±1.2 %"
    assert metric_text(point, METRICS["cut_size"]) == "75.0 %"
    assert (metric_cell(point, reuse), metric_cell(point, reuse, on_test=True)) == ("95.0±1.2", "85.0±0.4")
    assert metric_text(FRONT[1], reuse, on_test=True) == ""
    assert spread_of(FRONT[1], "calibrated_reuse_accuracy", on_test=True) is None
    mean = dataclasses.replace(point, over=(point, point))
    assert spread_of(mean, "calibrated_reuse_accuracy") == 0.0
