"""cluster/on-premise.yaml: what it starts asks for a token and ends nobody else's Ray."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"
ON_PREMISE = yaml.safe_load((CLUSTER / "on-premise.yaml").read_text())
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
COMMANDS = [*ON_PREMISE["setup_commands"], *(command for key in STARTS for command in ON_PREMISE[key])]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_of_a_shell(command):
    subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.parametrize("key", STARTS)
def test_ray_asks_for_a_token_and_nobody_else_s_is_ended(key):
    (start,) = [command for command in ON_PREMISE[key] if "ray start" in command]
    assert start.startswith(". ~/moda/cluster/environment.sh && ")
    assert not [command for command in ON_PREMISE[key] if "ray stop" in command]
    assert ON_PREMISE["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_the_environment_of_a_node(tmp_path):
    """As its commands find it, with an empty home."""
    (tmp_path / "moda" / "cluster").mkdir(parents=True)
    shutil.copy(CLUSTER / "environment.sh", tmp_path / "moda" / "cluster")
    command = '. ~/moda/cluster/environment.sh && echo "$PATH $RAY_AUTH_MODE"'
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/moda/.venv/bin:{os.environ['PATH']} token\n"


@pytest.mark.parametrize("key", STARTS)
def test_what_runs_below_its_folder_is_ended_and_nothing_else(key, tmp_path):
    """The command is tried on processes that name a folder of this test."""
    command = (
        ON_PREMISE[key][0].replace("/]tmp/moda-ray/", f"/]{str(tmp_path)[1:]}/moda-ray/").replace("sleep 2", "true")
    )
    own, other = (
        subprocess.Popen(["sh", "-c", "while :; do sleep 1; done", f"{tmp_path}/{name}/raylet"])
        for name in ("moda-ray", "another-ray")
    )
    for _ in range(2):
        subprocess.run(["bash", "-c", command], check=True)
        own.wait(timeout=60)
    assert other.poll() is None
    other.kill()
    other.wait()
