"""Nothing runs: the sweep says why, goes on when there is room, and grows with the cluster."""

import os
import subprocess
import sys

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.ray_head import ray_head
from tests.integration.sweeps import CHOICES, _started
from tests.integration.waiting import PATIENCE

TINY = (
    "sweep",
    "experiment=digits",
    "sweep.name=waits",
    "sweep.trials=2",
    "training.epochs=1",
    "tracking=none",
    *CHOICES,
)
HOLD = """
import sys, time, ray
ray.init(logging_level="ERROR")
@ray.remote(num_cpus=1)
def hold():
    time.sleep(3600)
held = hold.remote()
time.sleep(2)
print("held", flush=True)
sys.stdin.read()
"""


def line_of(process, start):
    """The first line that a process prints with this start."""
    for line in process.stdout:
        if line.startswith(start):
            return line.strip()
    raise AssertionError(process.stderr.read())


@pytest.mark.slow
def test_another_job_holds_the_cpus(tmp_path):
    with ray_head(cpus=1) as head:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD],
            env={**os.environ, **head.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout.readline() == "held\n"
        process = _started(TINY, tmp_path, head.environment)
        line = line_of(process, "nothing has run for")
        assert "a trial needs CPU 1; free: node " in line
        assert "CPU 0 of 1; other programs hold it" in line
        holder.kill()
        printed, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, printed + errors


@pytest.mark.slow
def test_a_trial_that_no_node_holds_waits_for_one_that_does(tmp_path):
    """Two nodes with one CPU each, and a trial that needs two; then a node with two joins."""
    with ray_head(cpus=1) as head:
        nodes = [head.join(cpus=1)]
        process = _started((*TINY, "training.cpus_per_worker=2"), tmp_path, head.environment)
        assert "as many at once as the cluster will hold" in line_of(process, "2 trials")
        line = line_of(process, "nothing has run for")
        assert line.count("CPU 1 of 1") == 2
        assert "these nodes have room for 0 of 1 workers even when they are idle: add nodes, or lower" in line
        nodes.append(head.join(cpus=2))
        printed, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, printed + errors
        for node in nodes:
            node.kill()
    trials = read_sweep(DeltaStore(str(tmp_path)), "waits").trials
    assert [trial.status for trial in trials] == ["finished"] * 2
