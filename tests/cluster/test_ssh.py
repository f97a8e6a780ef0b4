"""docs/cluster.md, "Machines by ssh": its commands as they stand there, with a head and a worker that have an sshd.

The machines are namespaces of this one (machines.py), whose environment for Ray has the packages already.
"""

import contextlib
import json
import re
import socket
import subprocess

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.search import Status
from orchestrator.storage.delta import DeltaStore
from tests.cluster.jobs import checkout
from tests.cluster.machines import POSSIBLE, machines
from tests.cluster.person import ASK, blocks_of, end_processes_of, environment_of, shell, succeed
from tests.integration.ray_head import BIN
from tests.integration.waiting import wait_until

UP, TUNNEL, SUBMIT, END = re.fullmatch(
    r"python3 .*?\n(export .*? up .*?\n)(\S+ray dashboard .*?\n)(export .*?\n)(for machine in .*?\n)",
    "".join(blocks_of("Machines by ssh")),
    re.S,
).groups()


@pytest.fixture
def two_machines():
    with machines(2) as found:
        yield found


@pytest.fixture
def person(two_machines, tmp_path):
    """A checkout with the environment of this one, the file with its addresses, user and key, and a shell's variables
    of a person whose home is empty."""
    folder, environment = checkout(tmp_path / "checkout"), environment_of(tmp_path / "home")
    (folder / ".venv").symlink_to(BIN.parent)
    file = folder / "cluster" / "on-premise.yaml"
    file.write_text(completed(file.read_text(), two_machines).replace("~/.ssh/id_ed25519", str(two_machines[0].key)))
    yield folder, environment
    end_processes_of(environment["HOME"])


def completed(text, two_machines):
    """A text with the addresses and the user of these machines."""
    addresses = zip(("HEAD_ADDRESS", "WORKER_ADDRESS"), two_machines, strict=True)
    for name, machine in addresses:
        text = text.replace(name, machine.address)
    return text.replace("USER", "root")


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
    shell(person, ASK + TUNNEL)
    wait_until(tunnel_is_open, "the tunnel to the dashboard")
    assert "/shared/moda" in SUBMIT
    printed = succeed(person, SUBMIT.replace("/shared/moda", str(shared)))
    assert "12 of 12 trials finished" in printed
    sweep = read_sweep(DeltaStore(str(shared)), "digits")
    assert [trial.status for trial in sweep.trials] == [Status.FINISHED] * 12
    addresses = {node["node_id"]: node["node_ip"] for node in listed(head, "nodes")}
    assert {addresses[actor["node_id"]] for actor in listed(head, "actors")} == both  # trials are actors

    succeed(person, completed(END, two_machines).replace("ssh ", f"{' '.join(head.ssh)} "))
    for machine in two_machines:
        assert "moda-ray" not in machine.run("ps ax")
