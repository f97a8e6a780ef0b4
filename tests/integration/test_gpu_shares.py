"""Several trials on one GPU: a share of it for each goes through Ray. The GPU is one in name; trials run on the CPU."""

import json
import os
import subprocess
import sys

import pytest

from tests.integration.ray_head import ray_head
from tests.integration.sweeps import ROOT, TINY, run_moda

SHARE = "training.gpus_per_worker"
CONCURRENCY = f"""
import json
from orchestrator.config.composing import load_config
from orchestrator.errors import ConfigError
from orchestrator.runs.cluster import concurrent_trials, connected

def trials(*overrides):
    try:
        return concurrent_trials(load_config(["storage=/tmp/none", "tracking=none", *overrides]))
    except ConfigError as error:
        return str(error)

with connected():
    found = {{share: trials(f"{SHARE}={{share}}") for share in ("0", "0.25", "0.3", "0.5", "0.6", "1", "2")}}
    found["0.25 and 2 CPUs"] = trials("{SHARE}=0.25", "training.cpus_per_worker=2")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def one_gpu():
    with ray_head(cpus=4, gpus=1) as head:
        yield head.environment


@pytest.mark.slow
def test_as_many_trials_run_as_there_are_shares_of_the_gpu(one_gpu):
    environment = os.environ | one_gpu
    done = subprocess.run(
        [sys.executable, "-c", CONCURRENCY], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    refused = found.pop("2")
    assert refused.startswith("one trial needs CPU 1 and GPU 2, each on one node, but the cluster has node ")
    assert "CPU 4, GPU 1; lower training.num_workers" in refused
    assert found == {"0": 4, "0.25": 4, "0.3": 3, "0.5": 2, "0.6": 1, "1": 1, "0.25 and 2 CPUs": 2}


@pytest.mark.slow
def test_a_sweep_on_shares_of_a_gpu_ends_as_any_other(one_gpu, tmp_path):
    done = run_moda("sweep", *TINY, f"{SHARE}=0.25", "tracking=none", storage=tmp_path, **one_gpu)
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stdout
