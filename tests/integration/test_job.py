"""``ray job submit`` on a cluster of its own, on loopback, with real processes."""

import os
import re
import subprocess
import urllib.error
import urllib.request

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.ray_head import BIN, ray_head
from tests.integration.sweeps import ROOT
from tests.integration.waiting import PATIENCE, wait_until


@pytest.fixture
def cluster():
    """A head node that takes jobs, and asks for a token."""
    with ray_head(cpus=2, dashboard=True) as head:
        wait_until(lambda: asks_for_a_token(f"{head.dashboard}/api/jobs/"), "a job API that asks for a token")
        yield head


def asks_for_a_token(url):
    try:
        urllib.request.urlopen(url, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:  # not up yet
        return False
    return False


def submit(cluster, *command):
    """Submit, again while the cluster's agent is not there yet; the command's result, and what the job printed."""
    job = [BIN / "ray", "job", "submit", "--address", cluster.dashboard, "--working-dir", ".", "--"]
    environment = {name: value for name, value in cluster.environment.items() if name != "RAY_ADDRESS"}
    submitted = []

    def is_taken():
        submitted[:] = [
            subprocess.run(
                [*job, *command],
                cwd=ROOT,
                env={**os.environ, **environment, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        ]
        return "No available agent" not in submitted[0].stderr

    wait_until(is_taken, "the cluster to take the job")
    return submitted[0]


@pytest.mark.slow
def test_a_submitted_sweep_is_the_same_sweep(cluster, tmp_path):
    sweep = ["python", "-m", "orchestrator", "sweep", "experiment=digits", "sweep.trials=2", "training.epochs=1"]
    sweep += ["sweep.name=submitted", "tracking=none"]
    done = submit(cluster, *sweep, f"storage={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 trials finished" in done.stdout
    assert re.search(r"Job '\w+' succeeded", done.stdout + done.stderr)
    found = read_sweep(DeltaStore(str(tmp_path)), "submitted")
    assert [trial.status for trial in found.trials] == ["finished", "finished"]
    assert found.find("best").test is not None

    wrong = submit(cluster, *sweep, "storage=here")
    assert wrong.returncode != 0
    assert "is relative to a job's temporary folder" in wrong.stdout + wrong.stderr
