"""docs/cluster.md, "Machines by ssh": its commands as they stand there, with a head and a worker that have an sshd.

The machines are namespaces of this one (machines.py), whose environment for Ray has the packages already.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.search import Status
from orchestrator.storage.delta import DeltaStore
from tests.cluster.jobs import ROOT, checkout
from tests.cluster.machines import POSSIBLE, machines
from tests.integration.ray_head import BIN
from tests.integration.waiting import PATIENCE, kill_processes_of, wait_until

PAGE = (ROOT / "docs" / "cluster.md").read_text()
SECTION = re.search(r"## Machines by ssh\n(.*?)\n## ", PAGE, re.S)[1]
INSTALL, UP, TUNNEL, SUBMIT, END = re.fullmatch(
    r"(python3 .*?\n)(export .*? up .*?\n)(\S+ray dashboard .*?\n)(export .*?\n)(for machine in .*?\n)",
    "".join(re.findall(r"```sh\n(.*?)```", SECTION, re.S)),
    re.S,
).groups()
ASK = "export RAY_AUTH_MODE=token\n"


@pytest.fixture
def two_machines():
    with machines(2) as found:
        yield found


@pytest.fixture
def person(two_machines, tmp_path):
    """A checkout with the environment of this one, the file with its addresses, user and key, and a shell's variables
    of a person whose home is empty."""
    folder, home = checkout(tmp_path / "checkout"), tmp_path / "home"
    home.mkdir()
    (folder / ".venv").symlink_to(BIN.parent)
    file = folder / "cluster" / "on-premise.yaml"
    file.write_text(completed(file.read_text(), two_machines).replace("~/.ssh/id_ed25519", str(two_machines[0].key)))
    foreign = ("RAY_", "PYTHONPATH", "VIRTUAL_ENV", "MODA_STORAGE", "WANDB_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    yield folder, {**environment, "HOME": str(home)}
    kill_processes_of(str(home))


def completed(text, two_machines):
    """A text with the addresses and the user of these machines."""
    addresses = zip(("HEAD_ADDRESS", "WORKER_ADDRESS"), two_machines, strict=True)
    for name, machine in addresses:
        text = text.replace(name, machine.address)
    return text.replace("USER", "root")


def shell(person, commands):
    folder, environment = person
    return subprocess.Popen(
        ["bash", "-e", "-c", commands], start_new_session=True,
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def succeed(person, commands):
    process = shell(person, commands)
    printed, _ = process.communicate(timeout=4 * PATIENCE)
    assert process.returncode == 0, printed
    return printed


def listed(head, what):
    """What Ray's state has of nodes, or of actors, as the head sees it."""
    command = f". ~/moda/cluster/environment.sh && ray list {what} --format json --limit 1000"
    with contextlib.suppress(subprocess.CalledProcessError):
        return json.loads(head.run(command))
    return []


def tunnel_is_open():
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 8265)):
        return True
    return False


@pytest.mark.slow
@pytest.mark.skipif(not POSSIBLE, reason="needs root, sshd, rsync and namespaces")
def test_from_nothing_to_a_front(two_machines, person):
    head, worker = two_machines
    succeed(person, UP)
    both = {head.address, worker.address}
    wait_until(lambda: {node["node_ip"] for node in listed(head, "nodes")} == both, "both machines to be nodes")
    for machine in two_machines:
        assert machine.run("stat -c %a ~/.ray/auth_token") == "600\n"

    shared = head.common / "shared"
    tunnel = shell(person, ASK + TUNNEL)
    wait_until(tunnel_is_open, "the tunnel to the dashboard")
    assert "/shared/moda" in SUBMIT
    printed = succeed(person, SUBMIT.replace("/shared/moda", str(shared)))
    assert "12 of 12 trials finished" in printed
    sweep = read_sweep(DeltaStore(str(shared)), "digits")
    assert [trial.status for trial in sweep.trials] == [Status.FINISHED] * 12
    addresses = {node["node_id"]: node["node_ip"] for node in listed(head, "nodes")}
    assert {addresses[actor["node_id"]] for actor in listed(head, "actors")} == both  # trials are actors

    os.killpg(tunnel.pid, signal.SIGTERM)
    succeed(person, completed(END, two_machines).replace("ssh ", f"{' '.join(head.ssh)} "))
    for machine in two_machines:
        assert "moda-ray" not in machine.run("ps ax")
