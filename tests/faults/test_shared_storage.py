"""A storage that workers do not share with the driver: said at once with the node and the remedy, and mended."""

import json

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.sweeps import CHOICES, ROOT, run_moda

# The working folder of the process that looks: the test's folder for the driver, the checkout for workers of Ray.
OWN_TO_EACH_PROCESS = "/proc/self/cwd/moda-test-storage"
NOT_SEEN = "does not see the storage of node"
TINY = ("experiment=digits", "sweep.name=apart", "sweep.trials=2", "training.epochs=1", "tracking=none", *CHOICES)


@pytest.fixture(autouse=True)
def nothing_in_the_checkout():
    yield
    assert not (ROOT / "moda-test-storage").exists()


@pytest.mark.slow
def test_a_sweep_whose_trials_see_another_storage(shared_ray, tmp_path):
    done = run_moda(
        "sweep", *TINY, "training.max_failures=0", storage=OWN_TO_EACH_PROCESS, folder=tmp_path, **shared_ray
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "interrupted" not in done.stderr
    storage = tmp_path / "moda-test-storage"
    trials = read_sweep(DeltaStore(str(storage)), "apart").trials
    assert [(trial.status, trial.attempt) for trial in trials] == [("failed", 1)] * 2
    for trial in trials:
        assert NOT_SEEN in trial.reason
        assert f"storage='{OWN_TO_EACH_PROCESS}': there is no storage there; give a folder that" in trial.reason
        assert f"trial {trial.number} failed: {trial.reason}" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr

    done = run_moda("sweep", *TINY, storage=storage, **shared_ray)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 resumed" in done.stdout
    trials = read_sweep(DeltaStore(str(storage)), "apart").trials
    assert [(trial.status, trial.attempt) for trial in trials] == [("finished", 2)] * 2


@pytest.mark.slow
def test_a_training_whose_workers_see_another_storage(shared_ray, tmp_path):
    alone = [word for word in TINY if not word.startswith("sweep.")]
    done = run_moda(
        *("train", *alone, "training.num_workers=2", "training.max_failures=0"),
        storage=OWN_TO_EACH_PROCESS,
        folder=tmp_path,
        **shared_ray,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("moda train: worker ")
    assert NOT_SEEN in line


@pytest.mark.slow
def test_processes_that_cannot_begin(shared_ray, tmp_path):
    """On nodes that have another package of this name, so that nothing of ours can be imported."""
    (tmp_path / "broken" / "orchestrator").mkdir(parents=True)
    (tmp_path / "broken" / "orchestrator" / "__init__.py").write_text("raise ImportError('not this one')\n")
    (tmp_path / "elsewhere").mkdir()
    of_trials = {"runtime_env": {"env_vars": {"PYTHONPATH": str(tmp_path / "broken")}}}
    done = run_moda(
        *("sweep", *TINY, "training.max_failures=0"),
        storage=tmp_path / "storage",
        folder=tmp_path / "elsewhere",
        RAY_JOB_CONFIG_JSON_ENV_VAR=json.dumps(of_trials),
        **shared_ray,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "interrupted" not in done.stderr
    trials = read_sweep(DeltaStore(str(tmp_path / "storage")), "apart").trials
    assert [trial.status for trial in trials] == ["failed"] * 2
    for trial in trials:
        assert "ImportError: not this one" in trial.reason
    assert "Traceback" not in done.stdout + done.stderr
