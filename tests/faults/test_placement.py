"""Trials that wait for their workers never hold what another trial waits for."""

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.search import Status
from orchestrator.storage.delta import DeltaStore
from tests.integration.ray_head import ray_head
from tests.integration.sweeps import run_moda


@pytest.mark.slow
def test_six_trials_of_two_workers_on_two_cpus(tmp_path):
    """More are asked for at once than there is room for. Drivers hold no CPU, and a trial's workers come together."""
    asked = (
        "data=digits",
        "data.limit=200",
        "model=own",
        "model.name=tests.faults.nets:Faulty",
        "sweep.trials=6",
        "sweep.concurrency=3",
    )
    brief = ("training.epochs=1", "training.num_workers=2", "evaluation.taus=[0.9]", "evaluation.targets=[]")
    with ray_head(cpus=2) as cluster:
        done = run_moda(
            "sweep", *asked, *brief, "sweep.name=tight", "tracking=none", storage=tmp_path, **cluster.environment
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 of 6 trials finished" in done.stdout
    trials = read_sweep(DeltaStore(str(tmp_path)), "tight").trials
    assert [(trial.status, trial.attempt) for trial in trials] == [(Status.FINISHED, 1)] * 6
