"""Views of the tables."""

import dataclasses
import io
import json
import re
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from rich.console import Console

from orchestrator.config.choice import Choice
from orchestrator.declarations import METRICS
from orchestrator.errors import ConfigError
from orchestrator.modules.publishing import name_of
from orchestrator.results.records import canonical, claim_sweep, history, read_sweep, trial_states
from orchestrator.storage.delta import DeltaStore
from orchestrator.tracking.artifacts import point_alias
from orchestrator.views.figures import front_figure, hover_text
from orchestrator.views.page import render_report
from orchestrator.views.pairs import objectives_figure
from orchestrator.views.report_data import report_data
from orchestrator.views.terminal import coefficients_text, front_table
from tests.objectives import LINEAR, linear

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    return DeltaStore(str(tmp_path))


def event(number, event, attempt, **more):
    coefficients = {"alpha": 1.0 + number, "beta": 1.0, "gamma": 0.1}
    return {
        "sweep_id": "s",
        "trial_id": f"s-{number}",
        "number": number,
        "attempt": attempt,
        "event": event,
        "time": NOW,
        "coefficients": canonical(coefficients),
        **more,
    }


def level_point(number, level, reuse, size, split="validation"):
    return {**point(number, None, reuse, size, split), "threshold": None, "level": level}


def size_point(number, target, reuse, size):
    choice = {"rule": "size", "rule_parameters": json.dumps({"target": target}), "stage": "cut", "target": target}
    return {**point(number, None, reuse, size), "threshold": None, **choice}


def point(number, tau, reuse, size, split="validation"):
    return {
        "sweep_id": "s",
        "trial_id": f"s-{number}",
        "tau": tau,
        "threshold": 0.0,
        "split": split,
        "accuracy": 0.9,
        "reuse_accuracy": reuse,
        "reuse_accuracy_error": 0.02,
        "cut_size": size,
        "cut_overlap": 0.0,
    }


@pytest.fixture
def sweep(store, configured):
    claim_sweep(store, configured("sweep.name=s", "evaluation.levels=[0.03,0.1]", *LINEAR), prefix="x", now=NOW)
    store.append("trials", [event(n, "proposed", 0) for n in range(4)])
    store.append("trials", [event(n, "started", 1) for n in range(4)])
    store.append("trials", [event(0, "finished", 1, seconds=2.0), event(1, "failed", 1, reason="out of memory")])
    store.append("trials", [event(1, "started", 2), event(1, "finished", 2), event(2, "diverged", 1, reason="NaN")])
    store.append("points", [point(0, 0.5, 0.99, 0.5), point(0, 0.9, 0.98, 0.2), point(0, 0.99, 0.90, 0.1)])
    store.append("points", [point(1, 0.5, 0.97, 0.6), point(1, 0.9, 0.90, 0.1), point(0, 0.9, 0.7, 0.2, "test")])
    store.append("points", [point(2, 0.5, 1.0, 0.01), point(3, 0.5, 1.0, 0.01)])  # of trials that never finished
    return read_sweep(store, "s")


def test_states_follow_the_last_event_of_the_last_attempt(sweep):
    assert [(one.status, one.attempt) for one in sweep.trials] == [
        ("finished", 1),
        ("finished", 2),
        ("diverged", 1),
        ("started", 1),
    ]
    assert [one.is_over for one in sweep.trials] == [True, True, True, False]
    assert sweep.trials[2].reason == "NaN"
    assert sweep.trials[3].coefficients["alpha"] == 4.0


def test_a_late_second_attempt_does_not_hide_a_finished_trial(sweep, store):
    store.append("trials", [event(0, "started", 2), event(0, "failed", 2, reason="late"), event(2, "started", 3)])
    states = read_sweep(store, "s").trials
    assert [states[0].status, states[2].status] == ["finished", "diverged"]
    assert len(read_sweep(store, "s").points) == len(sweep.points)


def test_trials_with_different_coefficients_line_up(store, configured):
    claim_sweep(store, configured("sweep.name=s"), prefix="x", now=NOW)
    more = canonical({"alpha": 1.0, "learning_rate": 0.05})
    store.append("trials", [event(0, "finished", 1), {**event(1, "finished", 1), "coefficients": more}])
    store.append("points", [point(0, 0.5, 0.9, 0.1), point(1, 0.5, 0.99, 0.2)])
    sweep = read_sweep(store, "s")
    assert sweep.coefficient_names == ["alpha", "beta", "gamma", "learning_rate"]
    known = history(sweep)
    # What a trial leaves out has the configured value, in what a searcher knows.
    assert known.points["learning_rate"].to_pylist() == [0.1, 0.05]
    assert known.trials["beta"].to_pylist() == [1.0, 0.3]
    assert known.trials["weight_decay"].to_pylist() == [0.01, 0.01]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(front_table(sweep))
    row = next(line for line in console.export_text().splitlines() if " 1/0.5/0 " in line)
    assert re.search(r"1/0.5/0 +1 +0.05 +99.0±2.0", row)


def test_the_front_is_made_of_finished_trials_by_validation(sweep):
    assert [one.label for one in sweep.front] == ["0/0.99/0", "0/0.9/0", "0/0.5/0"]
    assert sweep.front[1].test["reuse_accuracy"] == 0.7  # test changes nothing about who is on it
    assert sweep.front[0].test is None


def test_points_are_found_by_name(sweep):
    assert sweep.find("best").label == "0/0.9/0"  # within 0.02 of the top, and smaller
    assert sweep.find("1/0.5/0").metrics["cut_size"] == 0.6
    with pytest.raises(
        ConfigError, match=r"best, knee, or trial/tau/threshold, trial/size/target or trial/level such as 0/0\.99/0"
    ):
        sweep.find("7/0.5/0")


def judged(sweep, **search):
    """The sweep judged by other objectives or constraints."""
    config = dataclasses.replace(
        sweep.config, search=dataclasses.replace(sweep.config.search, **search).completed(METRICS)
    )
    return dataclasses.replace(sweep, config=config)


def test_front_and_volume_are_of_feasible_points(sweep):
    bound = judged(sweep, constraints=("cut_size >= 0.15", "reuse_accuracy <= 0.985"))
    assert [one.label for one in bound.feasible] == ["0/0.9/0", "1/0.5/0"]
    assert [one.label for one in bound.front] == ["0/0.9/0"]
    assert bound.hypervolume == pytest.approx((0.98 - 0.5) * (1 - 0.2))
    assert bound.find("best") == bound.find("knee") == bound.front[0]
    assert bound.mark(bound.front[0]) == "best, knee"
    assert bound.find("0/0.5/0").metrics["reuse_accuracy"] == 0.99  # any point can be had by its name
    told = "2 of 5 points violate cut_size >= 0.15, 1 of 5 points violate reuse_accuracy <= 0.985"
    assert bound.broken == told
    assert told in front_table(bound).caption
    drawn = {trace.name: len(trace.x) for trace in front_figure(bound).data}
    assert drawn["points that break a constraint"] == 3
    assert drawn["all points"] == 1
    assert "points that break a constraint" not in {trace.name for trace in front_figure(sweep).data}


def test_no_feasible_point_is_said_with_the_best_there_is(sweep):
    strict = judged(sweep, constraints=("accuracy >= 0.95",))
    assert strict.front == []
    assert strict.hypervolume == 0
    remedy = r"5 of 5 points violate accuracy >= 0.95 \(accuracy reaches 0.9\); loosen them or train more"
    with pytest.raises(ConfigError, match=remedy):
        strict.find("best")
    assert "points violate accuracy" in render_report(strict)


@pytest.mark.parametrize("more", [{"accuracy": "max"}, {"accuracy": "min", "cut_overlap": "min"}])
def test_more_objectives_are_shown_in_pairs(sweep, more):
    several = judged(sweep, objectives={**sweep.config.search.objectives, **linear(**more)})
    names = list(several.config.search.objectives)
    figure = objectives_figure(several)
    panels = {(trace.xaxis, trace.yaxis) for trace in figure.data}
    assert len(panels) == len(names) * (len(names) - 1) / 2
    assert sum(trace.name == "front (validation)" and trace.showlegend for trace in figure.data) == 1
    headers = [column.header for column in front_table(several).columns]
    assert "acc %" in headers
    assert "overlap" in render_report(several)


def test_an_objective_that_was_not_measured_is_said(sweep):
    with pytest.raises(ConfigError, match=r"point 0/0\.5/0 was measured before the metric flops existed"):
        judged(sweep, objectives=linear(reuse_accuracy="max", flops="min")).front  # noqa: B018


def test_coefficients_of_numbers_and_text_are_shown():
    assert coefficients_text({"alpha": 1.0, "beta": 0.12345, "epochs": 1200, "optimizer": "adamw"}) == (
        "alpha 1 beta 0.123 epochs 1200 optimizer adamw"
    )


def test_searchers_see_validation_points_and_every_trial(sweep):
    known = history(sweep)
    assert known.trials["status"].to_pylist() == ["finished", "finished", "diverged", "started"]
    assert known.points.num_rows == 5
    assert {"alpha", "beta", "gamma", "tau", "threshold", "reuse_accuracy"} <= set(known.points.column_names)
    assert "split" not in known.points.column_names


def test_points_of_both_ways_to_choose(sweep, store):
    assert history(sweep).points["level"].type == pa.float64()  # although there is none
    store.append("points", [level_point(0, 0.1, 0.95, 0.05), level_point(0, 0.03, 0.99, 0.3)])
    store.append("points", [level_point(0, 0.1, 0.9, 0.05, "test"), level_point(0, 0.1, 0.2, 0.2)])  # there already
    sweep = read_sweep(store, "s")
    labels = ["0/0.5/0", "0/0.9/0", "0/0.99/0", "0/0.03", "0/0.1"]
    assert [one.label for one in sweep.points if one.trial.number == 0] == labels
    found = sweep.find("0/0.1")
    assert (found.metrics["reuse_accuracy"], found.test["reuse_accuracy"]) == (0.95, 0.9)
    assert str(found.choice) == "level 0.1"
    assert found in sweep.front
    known = history(sweep).points.slice(0, 5)
    assert known["tau"].to_pylist() == [0.5, 0.9, 0.99, None, None]
    assert known["threshold"].to_pylist() == [0.0, 0.0, 0.0, None, None]
    assert known["level"].to_pylist() == [None, None, None, 0.03, 0.1]
    rules = [(rule["name"], [one["values"] for one in rule["parameters"]]) for rule in report_data(sweep, {})["rules"]]
    assert rules[:2] == [("activity", [[0.5, 0.9, 0.99], [0.0]]), ("contribution", [[0.03, 0.1]])]
    assert "level 0.1" in hover_text(found, sweep.config.metrics)


def test_points_of_target_sizes(sweep, store):
    store.append("points", [size_point(0, 0.3, 0.97, 0.31), size_point(0, 0.02, 0.94, 0.06)])
    store.append("points", [level_point(0, 0.1, 0.95, 0.08), level_point(0, 0.03, 0.99, 0.3)])
    sweep = read_sweep(store, "s")
    labels = ["0/0.5/0", "0/0.9/0", "0/0.99/0", "0/0.03", "0/0.1", "0/size/0.02", "0/size/0.3"]
    assert [point.label for point in sweep.points if point.trial.number == 0] == labels
    reached, unreached = sweep.find("0/size/0.3"), sweep.find("0/size/0.02")
    assert reached.choice == Choice.size(0.3)
    assert (reached.metrics["cut_size"], unreached.metrics["cut_size"]) == (0.31, 0.06)
    assert "the target size is out of reach" not in hover_text(reached, sweep.config.metrics)
    assert "the target size is out of reach" in hover_text(unreached, sweep.config.metrics)
    assert unreached in sweep.front
    assert history(sweep).points["target"].to_pylist()[3:7] == [None, None, 0.02, 0.3]
    assert history(sweep).points["cut_size"].to_pylist()[5:7] == [0.06, 0.31]
    (rule,) = (rule for rule in report_data(sweep, {})["rules"] if rule["name"] == "size")
    assert rule["parameters"] == [
        {"name": "target", "title": "target size", "isLogarithmic": True, "values": [0.02, 0.3]}
    ]
    assert name_of(unreached) == "s-0-size-target0.02"
    assert point_alias(unreached) == "pareto-0-size-0.02"


def test_the_order_of_objectives_survives_the_table(store, configured):
    config = configured("search.objectives={cut_size: min, accuracy: max}")
    sweep_id = claim_sweep(store, config, prefix="x", now=NOW)
    assert list(read_sweep(store, sweep_id).config.search.objectives) == ["cut_size", "accuracy"]
    assert read_sweep(store, sweep_id).config == config


def test_a_used_name_with_another_configuration_is_refused_with_a_diff(store, configured):
    claim_sweep(store, configured("sweep.name=mine"), prefix="x", now=NOW)
    assert claim_sweep(store, configured("sweep.name=mine", "sweep.trials=3"), prefix="x", now=NOW) == "mine"
    with pytest.raises(ConfigError, match=r"training\.epochs is 30, not 31; choose another name"):
        claim_sweep(store, configured("sweep.name=mine", "training.epochs=31"), prefix="x", now=NOW)


def test_an_unnamed_sweep_is_named_after_what_makes_it_different(store, configured):
    first = claim_sweep(store, configured(), prefix="digits", now=NOW)
    assert first == claim_sweep(store, configured("sweep.trials=3"), prefix="digits", now=NOW)
    assert first != claim_sweep(store, configured("training.seed=1"), prefix="digits", now=NOW)
    assert first.startswith("digits-")
    assert store.read("sweeps").num_rows == 2


def test_an_unknown_sweep_names_the_known_ones(sweep, store):
    with pytest.raises(ConfigError, match=r"'t' is not in the storage; it holds \['s'\]"):
        read_sweep(store, "t")
    assert trial_states(store.read("trials", "t")) == []
