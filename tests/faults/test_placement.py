"""Trials that wait for their workers never hold what another trial waits for."""

import json

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.search import Status
from orchestrator.storage.delta import DeltaStore
from tests.integration.ray_head import ray_head
from tests.integration.sweeps import run_moda


@pytest.mark.slow
def test_six_trials_of_two_workers_on_two_cpus(tmp_path):
    """More are asked for at once than there is room for. Drivers hold no CPU, and a trial's workers come together."""
    asked = ("data=digits", "data.limit=200", "model=lenet5", "sweep.trials=6", "sweep.concurrency=3")
    brief = ("training.epochs=1", "training.num_workers=2", "evaluation.taus=[0.9]", "evaluation.targets=[]")
    with ray_head(cpus=2) as cluster:
        done = run_moda(
            "sweep", *asked, *brief, "sweep.name=tight", "tracking=none", storage=tmp_path, **cluster.environment
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 of 6 trials finished" in done.stdout
    trials = read_sweep(DeltaStore(str(tmp_path)), "tight").trials
    assert [(trial.status, trial.attempt) for trial in trials] == [(Status.FINISHED, 1)] * 6


AUTOSCALER = {
    "cluster_name": "fake_multinode",
    "max_workers": 2,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,  # all nodes have the address of this machine
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    "head_node_type": "head",
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 1,
    **{key: {} for key in ("auth", "docker", "file_mounts")},
    **{f"{when}_commands": [] for when in ("initialization", "setup", "head_setup", "worker_setup")},
    **{f"{kind}_start_ray_commands": [] for kind in ("head", "worker")},
    **{key: [] for key in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
    "file_mounts_sync_continuously": False,
}


@pytest.mark.slow
def test_nodes_are_started_for_trials_where_there_are_none(tmp_path, monkeypatch):
    """By Ray's own autoscaler, with its nodes for tests."""
    config = tmp_path / "autoscaler.json"
    config.write_text(json.dumps(AUTOSCALER))
    monkeypatch.setenv("RAY_FAKE_CLUSTER", "1")
    monkeypatch.setenv("AUTOSCALER_UPDATE_INTERVAL_S", "1")
    asked = ("data=digits", "data.limit=200", "model=lenet5", "sweep.name=grown", "sweep.trials=3")
    brief = ("training.epochs=1", "evaluation.taus=[0.9]", "evaluation.targets=[]", "tracking=none")
    with ray_head(cpus=0, options=[f"--autoscaling-config={config}"]) as cluster:
        done = run_moda("sweep", *asked, *brief, storage=tmp_path / "storage", **cluster.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 trials finished" in done.stdout
