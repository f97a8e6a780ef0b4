"""The Ray of this machine's own: a folder that is too long for its sockets, and a start that takes too long."""

import glob
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.ray_head import free_port
from tests.integration.waiting import PATIENCE, command_line, descendants, wait_for_the_end_of

CONNECT = """
import json, ray
from orchestrator.errors import ServiceError
from orchestrator.runs.cluster import connected
try:
    with connected():
        at = ray.get(ray.remote(lambda: __import__("ray").get_runtime_context().get_node_id()).remote())
        print(json.dumps({"alive": [node["Alive"] for node in ray.nodes()], "at": at}))
except ServiceError as error:
    print(json.dumps({"error": str(error)}))
"""


def started(before="", **environment):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_ADDRESS")}
    return subprocess.Popen(
        [sys.executable, "-c", f"import logging; logging.basicConfig()\n{before}\n{CONNECT}"],
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    printed, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    return json.loads(printed), errors


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_long_folder_is_left_for_a_short_one(tmp_path, name):
    """Job schedulers set such a TMPDIR."""
    folder = tmp_path / ("a" * 70)
    folder.mkdir()
    before = set(glob.glob("/tmp/moda-ray-*"))
    process = started(**{name: str(folder)})
    found, errors = ended(process)
    assert found["alive"] == [True], errors
    assert set(glob.glob("/tmp/moda-ray-*")) - before == set()


def test_a_folder_that_cannot_be_written_to_is_one_line():
    found, errors = ended(started(RAY_TMPDIR="/proc"))
    assert found["error"].startswith("a local Ray cannot start in '/proc': ")
    assert "set RAY_TMPDIR" in found["error"]
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_start_that_takes_too_long_is_tried_again():
    """A raylet that gets no processor for 30 seconds, as on a busy machine; it does not live on beside the next one."""
    process = started()
    stopped = []
    while not stopped and process.poll() is None:
        for pid in descendants(process.pid):
            if Path(command_line(pid).split("\0")[0]).name == "raylet":
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
    found, errors = ended(process)
    assert len(stopped) == 1
    assert found["alive"] == [True], errors
    assert "a local Ray did not start (The current node timed out during startup); trying again, 2 of 5" in errors
    wait_for_the_end_of(stopped)


@pytest.mark.slow
def test_a_ray_that_never_starts_is_one_line():
    """Its port is another's."""
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", free_port()))
        taken.listen()
        fewer = "from orchestrator.runs import local_ray; local_ray.ATTEMPTS = 2"
        process = started(fewer, RAY_GCS_SERVER_PORT=str(taken.getsockname()[1]))
        found, errors = ended(process)
    assert found["error"].startswith("a local Ray did not start (Failed to start GCS")
    assert "session_latest/logs" in found["error"]
    assert errors.count("trying again, 2 of 2") == 1
