"""Real sweeps with a constraint, a dimension of choices, three objectives and a warm start; extended, judged anew."""

import json
import shutil

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.defaults import THREE_COEFFICIENTS
from tests.integration.sweeps import call_moda, run_moda

pytestmark = pytest.mark.slow
SWEEP = (
    "experiment=digits",
    *THREE_COEFFICIENTS,
    "training.epochs=1",
    "sweep.concurrency=1",
    "search=curve",
    "search.baselines=[]",
    "search.reference.calibrated_reuse_accuracy=0.5",
    "search.space.optimizer={choices: [sgd, adamw]}",
    "search.objectives.flops=min",
    'search.constraints=["cut_size <= 0.6"]',
    "search.warm_start=[tiny]",
    "tracking=none",
)


def run(storage, shared_ray, *overrides):
    done = run_moda("sweep", *SWEEP, *overrides, storage=storage, **shared_ray)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def storage(original, shared_ray, tmp_path_factory):
    """With a sweep of 4 trials run at once, and the same one run as 2 trials and extended to 4 in another process."""
    folder = shutil.copytree(original[0], tmp_path_factory.mktemp("space") / "storage", symlinks=True)
    run(folder, shared_ray, "sweep.name=whole", "sweep.trials=4")
    run(folder, shared_ray, "sweep.name=parts", "sweep.trials=2")
    run(folder, shared_ray, "sweep.name=parts", "sweep.trials=4")
    return folder


def test_an_extended_sweep_proposes_what_the_uninterrupted_one_does(storage):
    """The last two are chosen: the trials of the warm start count as a start."""
    whole, parts = (read_sweep(DeltaStore(str(storage)), name) for name in ("whole", "parts"))
    assert [one.coefficients for one in whole.trials] == [one.coefficients for one in parts.trials]
    assert len(whole.trials) == 4
    assert {one.coefficients["optimizer"] for one in whole.trials} <= {"sgd", "adamw"}
    assert [one.metrics for one in whole.points] == [one.metrics for one in parts.points]


def test_the_front_is_of_this_sweep_s_feasible_points(storage):
    sweep = read_sweep(DeltaStore(str(storage)), "whole")
    assert {one.trial.trial_id[:6] for one in sweep.points} == {"whole-"}
    assert sweep.front
    assert all(one.metrics["cut_size"] <= 0.6 for one in sweep.front)
    assert any(one.metrics["cut_size"] > 0.6 for one in sweep.points)
    assert all(one.test is not None for one in sweep.front)
    rows = DeltaStore(str(storage)).read("trials", "whole").to_pylist()
    assert {type(json.loads(row["coefficients"])["optimizer"]) for row in rows} == {str}


def test_objectives_and_constraints_afterwards(storage, tmp_path):
    done = call_moda("front", "whole", "search.objectives.coupling=min", storage=storage)
    assert done.returncode == 0, done.stderr
    assert "FLOPs %" in done.stdout
    assert "coupling %" in done.stdout
    assert "points violate cut_size <= 0.6" in done.stdout
    assert "sgd" in done.stdout or "adamw" in done.stdout
    done = call_moda("front", "whole", 'search.constraints=["accuracy >= 2"]', storage=storage)
    assert done.returncode == 2
    assert "148 of 148 points violate accuracy >= 2 (accuracy reaches 0." in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    file = tmp_path / "r.html"
    done = call_moda("report", "whole", "~search.objectives.flops", "--to", str(file), storage=storage)
    assert done.returncode == 0, done.stderr
    assert "points that break a constraint" in file.read_text()
    assert "(lower is better), FLOPs" not in file.read_text()


def test_a_constraint_that_nothing_meets_ends_a_sweep_with_a_message(storage):
    overrides = ("sweep.name=whole", "sweep.trials=4", 'search.constraints=["accuracy >= 2"]')
    done = call_moda("sweep", *SWEEP, *overrides, storage=storage)
    assert done.returncode == 1
    assert "no point meets search.constraints: 148 of 148 points violate accuracy >= 2" in done.stderr
