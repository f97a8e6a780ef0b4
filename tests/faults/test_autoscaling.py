"""A cluster of no workers grows for a sweep, and shrinks towards its end: Ray's own autoscaler, with nodes that are
processes of this machine."""

import os
import subprocess
import sys

import pytest
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FakeMultiNodeProvider

from tests.integration.gates import Gate
from tests.integration.ray_head import ray_head
from tests.integration.sweeps import _started
from tests.integration.waiting import PATIENCE, wait_until

WORKERS = 2
AUTOSCALING = {
    "cluster_name": "moda",
    "max_workers": WORKERS,
    "idle_timeout_minutes": 0.1,
    "provider": {
        "type": "external",  # as "fake_multinode", whose defaults are no part of Ray's wheel
        "module": f"{FakeMultiNodeProvider.__module__}.FakeMultiNodeProvider",
        "launch_multiple": True,
        "head_node_id": FAKE_HEAD_NODE_ID,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": WORKERS},
    },
    "head_node_type": "ray.head.default",
    "upscaling_speed": 1.0,
    **{name: {} for name in ("auth", "docker", "file_mounts")},
    **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands")},
    **{f"{kind}setup_commands": [] for kind in ("", "head_", "worker_")},
    **{f"{kind}_start_ray_commands": [] for kind in ("head", "worker")},
    "file_mounts_sync_continuously": False,
}
HEAD = {  # as Ray's own test cluster has it, with the autoscaler that `ray up` and KubeRay use
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}
ALIVE = """
import ray
ray.init(logging_level="ERROR", log_to_driver=False)
print(sum(node["Alive"] and node["Resources"].get("CPU", 0) for node in ray.nodes()))
"""


def workers(head):
    """How many worker nodes there are now."""
    environment = {**os.environ, **head.environment}
    done = subprocess.run([sys.executable, "-c", ALIVE], env=environment, capture_output=True, text=True, check=True)
    return int(float(done.stdout))


@pytest.mark.slow
def test_a_cluster_grows_from_nothing_and_shrinks_again(tmp_path, monkeypatch):
    for name, value in HEAD.items():
        monkeypatch.setenv(name, value)
    gate = Gate(tmp_path / "gate", 1)
    sweep = ("sweep", "sweep.name=grows", "sweep.trials=3", "training.epochs=2", "tracking=none", *gate.overrides)
    with ray_head(cpus=0, autoscaling=AUTOSCALING) as head:
        assert workers(head) == 0
        process = _started(sweep, tmp_path / "storage", head.environment)
        wait_until(lambda: len(gate.processes) == WORKERS or process.poll() is not None, "two trials at once")
        assert workers(head) == WORKERS, process.communicate()
        gate.let_one_pass()
        gate.let_one_pass()
        assert gate.is_reached_by(process), process.communicate()
        wait_until(lambda: workers(head) == 1, "an idle node to go")
        gate.open()
        printed, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, printed + errors
        assert "3 of 3 trials finished" in printed
        wait_until(lambda: workers(head) == 0, "the last node to go")
