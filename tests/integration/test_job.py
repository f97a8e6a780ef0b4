"""``ray job submit`` on a cluster of its own, on loopback, with real processes."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from orchestrator.records import read_sweep
from orchestrator.store import DeltaStore
from tests.integration.sweeps import ROOT


def free_port():
    """Below the range that Ray gives to its workers."""
    for _ in range(100):
        port = 7000 + secrets.randbelow(2500)
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no free port")


@pytest.fixture
def cluster():
    """A head node that asks for a token; ended by its own process group, so that no other Ray is touched."""
    folder = Path(tempfile.mkdtemp(prefix="moda-ray-"))  # short: Ray puts sockets below it
    (folder / "token").write_text(secrets.token_hex(32))
    bin_folder = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
    }
    port, dashboard = free_port(), free_port()
    command = [f"{bin_folder}/ray", "start", "--head", f"--port={port}", "--dashboard-host=127.0.0.1"]
    command += [f"--dashboard-port={dashboard}", f"--temp-dir={folder}/ray", "--num-cpus=2", "--block"]
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{dashboard}"
    try:
        wait_for_jobs_api(address, folder / "head.log")
        yield address, environment, bin_folder
    finally:
        end_everything(head, str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def end_everything(head, folder):
    """The head's process group, and whatever still runs out of the cluster's own folder."""
    os.killpg(head.pid, signal.SIGKILL)
    head.wait(60)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if folder in (entry / "cmdline").read_bytes().decode(errors="replace"):
                os.kill(int(entry.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended by itself


def wait_for_jobs_api(address, log):
    """Until it answers; without a token the answer is 401."""
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api/jobs/", timeout=5)
        except urllib.error.HTTPError as error:
            if error.code == 401:
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.5)
    pytest.fail(f"the job API does not ask for a token\n{log.read_text()}")


def submit(command, environment):
    """Submit, again while the new cluster's agent is not there yet."""
    for _ in range(30):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        if "No available agent" not in done.stderr:
            break
        time.sleep(1)
    return done


def test_a_submitted_sweep_is_the_same_sweep(cluster, tmp_path):
    address, environment, bin_folder = cluster
    job = [f"{bin_folder}/ray", "job", "submit", "--address", address, "--working-dir", ".", "--"]
    sweep = ["python", "-m", "orchestrator", "sweep", "experiment=digits", "sweep.trials=2", "training.epochs=1"]
    sweep += ["sweep.name=submitted", "tracking=none"]
    done = submit([*job, *sweep, f"storage={tmp_path}"], environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 trials finished" in done.stdout
    assert re.search(r"Job '\w+' succeeded", done.stdout + done.stderr)
    found = read_sweep(DeltaStore(str(tmp_path)), "submitted")
    assert [one.status for one in found.trials] == ["finished", "finished"]
    assert found.find("best").test is not None

    wrong = submit([*job, *sweep, "storage=here"], environment)
    assert wrong.returncode != 0
    assert "is relative to a job's temporary folder" in wrong.stdout + wrong.stderr
