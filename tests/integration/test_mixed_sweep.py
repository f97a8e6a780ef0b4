"""A real sweep over three methods on digits: searched, resumed, looked at, trained again, confirmed and pulled."""

import json

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.sweeps import call_moda, run_moda

pytestmark = pytest.mark.slow
SWEEP = (
    "experiment=digits",
    "search.space.method={choices: [moda, mwt, standard]}",
    "search.space.method.moda.alpha.high=2.0",
    "~search.space.method.moda.beta",
    "search.baselines=[{method: standard, weight_decay: 0.0}, {method: moda, beta: 1.0}, {method: mwt, beta: 0.5}]",
    "sweep.name=mixed",
    "sweep.concurrency=2",
    "training.epochs=2",
    "data.limit=600",
    "evaluation.taus=[0.9]",
    "evaluation.thresholds=[0.0]",
    "evaluation.targets=[0.05, 0.2]",
    "search.methods.mwt.evaluation.gate_shares=[0.5, 0.9]",
    "evaluation.pairs=200",
    "evaluation.test_pairs=200",
    "tracking=none",
)


@pytest.fixture(scope="module")
def storage(shared_ray, tmp_path_factory):
    """With a sweep of 9 trials, run as 4 and then as 9; the searcher looks at results for the last one alone."""
    folder = tmp_path_factory.mktemp("mixed") / "storage"
    for trials in (4, 9):
        done = run_moda("sweep", *SWEEP, f"sweep.trials={trials}", storage=folder, **shared_ray)
        assert done.returncode == 0, done.stderr + done.stdout
    return folder


def test_both_methods_are_trained_each_with_its_own_coefficients(storage):
    sweep = read_sweep(DeltaStore(str(storage)), "mixed")
    assert [trial.status.value for trial in sweep.trials] == ["finished"] * 9
    assert [trial.coefficients for trial in sweep.trials[:3]] == [
        {"method": "standard", "weight_decay": 0.0},
        {"method": "moda", "method.moda.beta": 1.0},
        {"method": "mwt", "method.mwt.beta": 0.5},
    ]
    own = {
        "moda": {"method", "learning_rate", "weight_decay", "method.moda.alpha", "method.moda.gamma"},
        "mwt": {"method", "learning_rate", "weight_decay", "method.mwt.alpha", "method.mwt.beta"},
        "standard": {"method", "learning_rate", "weight_decay"},
    }
    searched = [trial.coefficients for trial in sweep.trials[3:]]
    assert all(set(coefficients) == own[coefficients["method"]] for coefficients in searched)
    assert len({coefficients["method"] for coefficients in searched}) > 1
    of_method = {
        method: {trial.trial_id for trial in sweep.trials if sweep.method_of(trial) == method} for method in own
    }
    rows = DeltaStore(str(storage)).read("epochs", "mixed").to_pylist()
    assert {row["trial_id"] for row in rows if row["compactness"] is not None} == of_method["moda"]
    gated = {point.trial.trial_id for point in sweep.points if point.choice.rule == "gate"}
    assert gated == of_method["mwt"]
    assert sweep.baseline_reference.trial_id == "mixed-0000"
    assert all(sweep.method_fronts.values())
    assert all(point.test is not None for point in sweep.front)


def test_it_is_shown_by_method(storage, tmp_path):
    done = call_moda("front", "mixed", storage=storage)
    assert done.returncode == 0, done.stderr
    assert "method" in done.stdout
    file = tmp_path / "report.html"
    done = call_moda("report", "mixed", "--to", str(file), storage=storage)
    assert done.returncode == 0, done.stderr
    page = file.read_text()
    assert "methods moda, mwt, standard" in page
    assert "front of moda" in page
    assert "front of standard" in page


@pytest.mark.parametrize("number", [1, 2])
def test_a_trial_trains_to_the_same_bits_again(storage, number):
    done = call_moda("rerun", f"mixed/{number}", storage=storage)
    assert done.returncode == 0, done.stderr + done.stdout


def test_its_points_are_confirmed_and_pulled(storage, shared_ray, tmp_path):
    done = run_moda("confirm", "mixed", "--points", "best", "--seeds", "1", storage=storage, **shared_ray)
    assert done.returncode == 0, done.stderr + done.stdout
    sweep = read_sweep(DeltaStore(str(storage)), "mixed")
    (name,) = [
        row["sweep_id"] for row in DeltaStore(str(storage)).read("sweeps").to_pylist() if "confirm" in row["sweep_id"]
    ]
    (again,) = read_sweep(DeltaStore(str(storage)), name).trials
    assert again.coefficients == sweep.find("best").trial.coefficients
    done = call_moda("pull", "sweep:mixed/best", "--to", str(tmp_path / "set"), storage=storage)
    assert done.returncode == 0, done.stderr + done.stdout
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert sweep.find("best").trial.coefficients["method"] in json.dumps(manifest)
