"""docs/cluster.md, "Your own machines": its commands as they stand there, on one machine, with an empty home.

Packages are installed from the package index, by pip and by the job. The head is started by its path, and nothing but
Ray is installed beside it.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.results.records import read_sweep
from orchestrator.search import Status
from orchestrator.storage.delta import DeltaStore
from tests.cluster.jobs import checkout
from tests.cluster.person import ASK, LONG, blocks_of, end_processes_of, environment_of, shell, succeed
from tests.integration.sweeps import RAY_STARTS
from tests.integration.waiting import PATIENCE

START, COPY_TOKEN, JOIN, SUBMIT, FRONT = blocks_of("Your own machines")
STOP = f"{ASK}.venv/bin/ray job stop "


@pytest.fixture
def machine(tmp_path):
    """A checkout, and the environment of a shell in it: of a person whose home is empty."""
    folder = checkout(tmp_path / "checkout")
    project = folder / "pyproject.toml"  # a version that nothing that is installed has
    project.write_text(project.read_text().replace('version = "0.1.0"', 'version = "9.8.7"'))
    sessions = tempfile.mkdtemp(prefix="moda-ray-")  # a short path: Ray puts sockets below it
    environment = environment_of(tmp_path / "home") | {"RAY_TMPDIR": sessions, "PIP_NO_COMPILE": "1"}
    environment["PATH"] = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if "venv" not in part)
    yield folder, environment
    end_processes_of(environment["HOME"])
    shutil.rmtree(sessions, ignore_errors=True)


def start(machine):
    """The first block, whose last line is typed again where the machine is too busy for Ray's 30 seconds."""
    *before, last = START.splitlines()
    assert ".venv/bin/ray start --head" in last
    succeed(machine, "\n".join(before))
    for _ in range(RAY_STARTS):  # what Ray starts keeps the shell's output open
        process = shell(machine, f"{ASK}{last} > start.log 2>&1")
        process.communicate(timeout=LONG)
        if process.returncode == 0:
            return
        end_processes_of(machine[1]["HOME"])
    raise AssertionError((machine[0] / "start.log").read_text())


def submitted(machine):
    """The sweep, submitted again while the cluster's agent is not there yet: what it printed up to its first trial."""
    end = time.monotonic() + PATIENCE
    while True:
        job, printed = shell(machine, ASK + SUBMIT), ""
        for line in job.stdout:
            printed += line
            if "[1/12] trial" in line:
                break
        if "No available agent" not in printed or time.monotonic() > end:
            return job, printed


def trials(storage):
    with contextlib.suppress(ConfigError):  # no such sweep yet
        return read_sweep(DeltaStore(str(storage)), "digits").trials
    return []


@pytest.mark.slow
def test_from_nothing_to_a_front(machine):
    folder, environment = machine
    storage = Path(environment["HOME"]) / "moda-results"
    start(machine)
    token = Path(environment["HOME"]) / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o077 == 0
    assert subprocess.run([folder / ".venv/bin/python", "-c", "import torch"], capture_output=True).returncode != 0

    job, printed = submitted(machine)
    assert "[1/12] trial" in printed, printed
    (submission,) = re.findall(r"'(raysubmit_\w+)' submitted", printed)
    succeed(machine, STOP + submission)
    assert "terminated; run the same command again to resume" in job.communicate(timeout=LONG)[0]
    before = finished(storage)
    assert 0 < len(before) < 12

    printed = succeed(machine, ASK + SUBMIT)
    assert "12 of 12 trials finished" in printed
    assert [trial.status for trial in trials(storage)] == [Status.FINISHED] * 12
    assert {trial.attempt for trial in trials(storage) if trial.number in before} == {1}
    sweep = read_sweep(DeltaStore(str(storage)), "digits")
    best = sweep.find("best")
    assert re.search(rf"{sweep.mark(best)} +{re.escape(best.label)} ", succeed(machine, ASK + FRONT))
    (row,) = DeltaStore(str(storage)).read("sweeps").to_pylist()
    assert json.loads(row["versions"])["moda-orchestrator"] == "9.8.7"  # of the folder that was sent


def finished(storage):
    return [trial.number for trial in trials(storage) if trial.status == Status.FINISHED]


def test_the_other_nodes_join_with_the_same_token():
    assert COPY_TOKEN.startswith("ssh WORKER 'umask 077;")
    assert JOIN.splitlines()[1:] == [".venv/bin/ray start --address=HEAD:6379"]
    assert JOIN.splitlines()[0] in START.splitlines()  # the token is asked for
