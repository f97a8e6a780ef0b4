"""A sweep of several methods in its tables: what is proposed, recorded, known to the searcher, and drawn."""

import json
import math
from datetime import UTC, datetime

import pytest

from orchestrator.api.columns import sweeps_table, trials_table
from orchestrator.results.records import canonical, claim_sweep, history, read_sweep
from orchestrator.runs.proposals import Proposals, search_problem
from orchestrator.runs.warm_start import earlier_points
from orchestrator.storage.delta import DeltaStore
from orchestrator.training import Trial
from orchestrator.views.baselines import baseline_name, method_colours
from orchestrator.views.figures import background, front_figure
from orchestrator.views.page import render_report
from orchestrator.views.pairs import pairs_figure
from orchestrator.views.terminal import coefficient_keys, coefficients_text
from tests.objectives import LINEAR

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MIXED = "search.space.method={choices: [moda, standard]}"
BASELINES = "search.baselines=[{method: standard}, {method: moda, alpha: 1.0}]"
METRICS = {"accuracy": 0.95, "reuse_accuracy": 0.9, "cut_overlap": 0.1, "reuse_baseline": 0.95}


@pytest.fixture
def store(tmp_path):
    return DeltaStore(str(tmp_path / "storage"))


def event(sweep_id, number, coefficients, status="finished"):
    return {
        "sweep_id": sweep_id,
        "trial_id": f"{sweep_id}-{number:04d}",
        "number": number,
        "attempt": 1,
        "event": status,
        "time": NOW,
        "coefficients": canonical(coefficients),
    }


def points(sweep_id, number, reuse, size):
    """Of one choice of the rule size for each of two targets."""
    choices = ((0.1, reuse, size), (0.5, reuse + 0.02, 2 * size))
    return [
        {
            "sweep_id": sweep_id,
            "trial_id": f"{sweep_id}-{number:04d}",
            "rule": "size",
            "rule_parameters": json.dumps({"target": target}),
            "stage": "cut",
            "target": target,
            "split": "validation",
            **METRICS,
            "calibrated_reuse_accuracy": accuracy,
            "cut_size": share,
        }
        for target, accuracy, share in choices
    ]


@pytest.fixture
def swept(store, configured):
    """Two baselines and a trial of each method: moda has the smallest modules, standard the most accurate ones."""
    config = configured(MIXED, BASELINES, *LINEAR, "sweep.name=s", "sweep.trials=9", "evaluation.targets=[0.1, 0.5]")
    claim_sweep(store, config, prefix="x", now=NOW)
    proposals = Proposals(config, "s", store)
    found = [(0.90, 0.30), (0.85, 0.10), (0.80, 0.05), (0.70, 0.45)]
    sets = [
        *(dict(baseline) for baseline in config.search.baselines),
        {"method": "moda", "method.moda.alpha": 0.5, "method.moda.beta": 0.0, "method.moda.gamma": 3.0,
         "learning_rate": 0.1, "weight_decay": 0.01},
        {"method": "standard", "learning_rate": 0.2, "weight_decay": 0.001},
    ]  # fmt: skip
    assert [proposals.next()[1] for _ in range(2)] == sets[:2]
    for number, (coefficients, (reuse, size)) in enumerate(zip(sets, found, strict=True)):
        store.append("trials", [event("s", number, coefficients)])
        store.append("points", points("s", number, reuse, size))
    return config


def test_a_proposal_has_the_method_and_its_own_dimensions_and_trains_with_its_files_defaults(store, swept):
    proposals = Proposals(swept, "s", store)
    shared = {"method", "learning_rate", "weight_decay"}
    own = {"moda": {f"method.moda.{name}" for name in ("alpha", "beta", "gamma")}, "standard": set()}
    for _ in range(5):
        number, coefficients = proposals.next()
        assert set(coefficients) == shared | own[coefficients["method"]]
        trial = Trial("s", number, coefficients, swept.for_trial(number, coefficients), swept.storage)
        assert trial.config.method.name == coefficients["method"]
        assert trial.config.training.weight_decay == coefficients["weight_decay"]
    recorded = {state.number: state.coefficients for state in read_sweep(store, "s").trials}
    assert set(recorded[8]) == set(coefficients)


def test_the_searcher_knows_what_is_active(store, swept):
    known = history(read_sweep(store, "s"))
    trials = known.trials.to_pylist()
    assert [row["method"] for row in trials] == ["standard", "moda", "moda", "standard"]
    # A baseline leaves out what its method's file says; another method's dimensions have no value.
    assert [row["weight_decay"] for row in trials] == [0.0, 0.01, 0.01, 0.001]
    assert [row["method.moda.gamma"] for row in trials] == [None, 3.0, 3.0, None]
    problem = search_problem(swept)
    units = [problem.to_nearest_unit(row) for row in trials]
    place = list(problem.space).index("method.moda.alpha")
    assert [math.isnan(unit[place]) for unit in units] == [True, False, False, True]
    assert problem.space["method.moda.alpha"]["where"] == {"method": "moda"}
    assert "where" not in problem.space["learning_rate"]


def test_a_small_space_is_trained_once(store, configured):
    config = configured(
        MIXED, "sweep.name=t", "sweep.trials=40", "search.baselines=[{method: standard, epochs: 2}]",
        *(f"~search.space.{key}" for key in ("learning_rate", "weight_decay")),
        *(f"~search.space.method.moda.{key}" for key in ("beta", "gamma")),
        "~search.space.method.moda.alpha", "search.space.epochs={choices: [1, 2]}",
        "search.space.method.moda.batch_size={choices: [32, 64]}",
    )  # fmt: skip
    claim_sweep(store, config, prefix="x", now=NOW)
    proposals, begun = Proposals(config, "t", store), []
    assert (proposals.problem.size, proposals.budget) == (6, 6)
    for _ in range(6):
        number, coefficients = proposals.next()
        begun.append(canonical(coefficients))
        store.append("trials", [event("t", number, coefficients)])
        proposals.over(number, coefficients)
    assert len(set(begun)) == 6
    assert Proposals(config, "t", store).missing == 0


def test_fronts_of_methods_and_of_all(store, swept):
    sweep = read_sweep(store, "s")
    assert {name: [point.label for point in front] for name, front in sweep.method_fronts.items()} == {
        "moda": ["2/size/0.1", "1/size/0.1", "1/size/0.5"],
        "standard": ["0/size/0.1", "0/size/0.5"],
    }
    assert [point.label for point in sweep.front] == [
        "2/size/0.1", "1/size/0.1", "1/size/0.5", "0/size/0.1", "0/size/0.5",
    ]  # fmt: skip
    assert sweep.baseline_reference.trial_id == "s-0000"


def test_figures_have_a_colour_and_a_front_for_each_method(store, swept):
    sweep = read_sweep(store, "s")
    colours = method_colours(sweep)
    assert len(set(colours.values())) == 2
    drawn = {name: (points, marker["color"]) for points, name, marker in background(sweep)}
    assert "all points" not in drawn
    assert [point.label for point in drawn["all points of moda"][0]] == ["2/size/0.5"]
    assert {point.trial.number for point in drawn["all points of standard"][0]} == {3}
    assert drawn["all points of standard"][1] == colours["standard"]
    assert drawn["standard training, method standard"][1] == colours["standard"]
    traces = {trace.name: trace for trace in front_figure(sweep).data}
    assert list(traces["front of moda"].x) == [0.05, 0.1, 0.2]
    assert traces["front of moda"].line.color == colours["moda"]
    assert list(traces["front (validation)"].x) == [0.05, 0.1, 0.2, 0.3, 0.6]
    assert {"front of moda", "front of standard"} <= {trace.name for trace in pairs_figure(sweep).data}


def test_texts_name_the_method_first_and_its_coefficients_by_their_keys(store, swept):
    sweep = read_sweep(store, "s")
    assert coefficient_keys(sweep)[0] == "method"
    assert set(coefficient_keys(sweep)) == {"method", "alpha", "beta", "gamma", "learning_rate", "weight_decay"}
    assert coefficients_text({"learning_rate": 0.1, "method": "moda", "method.moda.alpha": 0.5}) == (
        "method moda learning_rate 0.1 alpha 0.5"
    )
    assert baseline_name(swept, {"method": "moda", "method.moda.alpha": 1.0}) == "baseline method moda alpha 1"
    page = render_report(sweep)
    assert "methods moda, standard" in page
    assert "method.moda.alpha" not in page.replace('"', "'").split("<table")[1]


def test_tables_record_the_method_and_its_coefficients(store, swept):
    (row,) = sweeps_table(store).to_pylist()
    assert row["method"] == "moda, standard"
    rows = trials_table(read_sweep(store, "s")).to_pylist()
    assert [row["method"] for row in rows] == ["standard", "moda", "moda", "standard"]
    assert [row["method.moda.alpha"] for row in rows] == [None, 1.0, 0.5, None]


def test_a_sweep_of_several_methods_learns_from_sweeps_of_one(store, configured):
    for name in ("moda", "standard"):
        claim_sweep(store, configured(f"method={name}", f"sweep.name={name}"), prefix="x", now=NOW)
    rate = {"learning_rate": 0.05}
    store.append("trials", [event("moda", 0, {"alpha": 0.3, **rate}), event("standard", 0, {"weight_decay": 0.002})])
    for name in ("moda", "standard"):
        store.append("points", points(name, 0, 0.9, 0.1))
    config = configured(MIXED, "sweep.name=both", "search.warm_start=[moda, standard]")
    found = {point.trial.trial_id: point.trial.coefficients for point in earlier_points(config, "both", store)}
    assert found["moda-0000"] == {
        "method": "moda", "method.moda.alpha": 0.3, "method.moda.beta": 0.3, "method.moda.gamma": 3.0,
        "learning_rate": 0.05, "weight_decay": 0.01,
    }  # fmt: skip
    assert found["standard-0000"] == {"method": "standard", "learning_rate": 0.1, "weight_decay": 0.002}
