"""What the report's figures are drawn from, for a sweep that is made by hand."""

import dataclasses
import json

import pytest

from orchestrator.config.choice import Choice
from orchestrator.views.report_data import report_data
from tests.orchestrator.results.test_sweep import TRIALS, by_tau, made_point, made_sweep
from tests.orchestrator.views.test_terminal import FRONT

COURSES = {"s-1": [{"epoch": 1, "loss": 2.5, "affinity": 0.25}]}


@pytest.fixture(scope="module")
def data():
    sweep = made_sweep([*FRONT, made_point(1, Choice.size(0.02), 0.3, 0.5)], baselines=({"alpha": 2.0},))
    return json.loads(json.dumps(report_data(sweep, COURSES), allow_nan=False))


def test_objectives_have_their_direction_and_reference(data):
    assert data["objectives"] == [
        {"name": "calibrated_reuse_accuracy", "direction": "max", "reference": 0.5},
        {"name": "cut_size", "direction": "min", "reference": 1.0},
    ]
    assert list(data["metrics"]) == ["calibrated_reuse_accuracy", "cut_size", "accuracy", "cut_overlap"]
    size = data["metrics"]["cut_size"]
    assert (size["title"], size["isPercentage"], size["isLogarithmic"]) == ("module size", True, False)
    assert data["metrics"]["calibrated_reuse_accuracy"]["baseline"] == "reuse_baseline"


def test_sliders_are_the_parameters_of_the_rules_over_what_was_measured(data):
    rules = {rule["name"]: rule["parameters"] for rule in data["rules"]}
    assert list(rules) == ["activity", "size", "contribution"]
    assert [(one["title"], one["values"], one["isLogarithmic"]) for one in rules["activity"]] == [
        ("tau", [0.5, 0.9], False),
        ("threshold", [0.0], False),
    ]
    assert [(one["title"], one["values"], one["isLogarithmic"]) for one in rules["size"]] == [
        ("target size", [0.02], True)
    ]


def test_points_hold_their_metrics_in_the_order_of_the_metrics(data):
    first = data["points"][0]
    assert first["name"] == "0/0.5/0"
    assert (first["trial"], data["rules"][first["rule"]]["name"], first["values"]) == (0, "activity", [0.5, 0.0])
    assert first["metrics"] == [0.95, 0.75, 0.97, 0.125]
    assert first["test"] == [0.85, 0.75, 0.96, None]
    assert first["errors"] == {"calibrated_reuse_accuracy": 0.012}
    assert (first["role"], first["isFeasible"], first["notes"]) == ("best", True, [])
    assert data["points"][-1]["notes"] == ["the target size is out of reach"]
    assert data["front"] == ["1/0.1", "0/0.9/0", "0/0.5/0"]


def test_trials_say_how_they_stand_and_what_they_are_worth_alone(data):
    first, second = data["trials"][:2]
    assert first["hypervolume"] == pytest.approx((0.95 - 0.5) * 0.25 + (0.9 - 0.5) * 0.25)
    assert second["hypervolume"] == pytest.approx((0.8 - 0.5) * 0.9)
    assert [trial["hypervolume"] for trial in data["trials"][2:]] == [None] * 4
    assert [trial["status"] for trial in data["trials"]] == [str(trial.status) for trial in TRIALS]
    assert (first["coefficients"], first["text"]) == ({"alpha": 1.0}, "alpha 1")
    assert (first["course"], second["course"]) == ([], COURSES["s-1"])


def test_the_hypervolume_grows_with_the_trials(data):
    whole = (0.95 - 0.5) * 0.25 + (0.9 - 0.5) * 0.25 + (0.8 - 0.5) * 0.4
    assert [(row["trial"], row["hypervolume"]) for row in data["course"]] == [
        (0, pytest.approx(0.2125)),
        (1, pytest.approx(whole)),
    ]


def test_points_that_break_a_constraint_are_kept_and_said():
    data = report_data(made_sweep(FRONT, constraints=("cut_size <= 0.6",)), {})
    assert [point["isFeasible"] for point in data["points"]] == [False, True, True]
    assert data["front"] == ["1/0.1", "0/0.9/0"]


def test_without_a_reference_nothing_has_a_hypervolume():
    sweep = made_sweep(FRONT, reference={"cut_size": 1.0})
    data = report_data(sweep, {})
    assert data["objectives"][0]["reference"] is None
    assert data["course"] == []
    assert {trial["hypervolume"] for trial in data["trials"]} == {None}


def test_baselines_are_named_by_what_they_are():
    trials = [dataclasses.replace(TRIALS[0], coefficients={"alpha": 0.0, "beta": 0.0, "gamma": 0.0}), TRIALS[1]]
    baselines = ({"alpha": 0.0, "beta": 0.0, "gamma": 0.0}, {"alpha": 2.0})
    data = report_data(made_sweep([made_point(0, by_tau(0.5), 0.9, 0.5)], trials, baselines=baselines), {})
    assert [trial["baseline"] for trial in data["trials"]] == ["standard training", "alpha 2"]
