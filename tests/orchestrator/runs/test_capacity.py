"""Trials are counted node by node; what waits says what it needs and what is free."""

import pytest
from ray.tune.experiment import Trial as TuneTrial

from orchestrator.runs import waiting
from orchestrator.runs.capacity import Node, held_trials, needs_text, nodes_text
from orchestrator.runs.waiting import AGAIN, FIRST, Waiting
from tests.clock import Clock


def node(cpus, gpus=0, free=None, address="10.0.0.1"):
    total = {"CPU": float(cpus), **({"GPU": float(gpus)} if gpus else {})}
    return Node(address, total, total if free is None else {"CPU": float(free)})


@pytest.mark.parametrize(
    ("nodes", "overrides", "held"),
    [
        ([node(4)], [], 4),
        ([node(1), node(1)], ["training.cpus_per_worker=2"], 0),  # fits the sum of the nodes and none of them
        ([node(3), node(3)], ["training.cpus_per_worker=2"], 2),
        ([node(3), node(3)], ["training.num_workers=2"], 3),
        ([node(3), node(3)], ["training.num_workers=2", "training.cpus_per_worker=2"], 1),
        ([node(8, gpus=1), node(8, gpus=2)], ["training.gpus_per_worker=1"], 3),
        ([node(8, gpus=1)], ["training.gpus_per_worker=0.1", "training.cpus_per_worker=1"], 8),
        ([node(16, gpus=1)], ["training.gpus_per_worker=0.1", "training.cpus_per_worker=1"], 10),
        ([node(8)], ["training.gpus_per_worker=1"], 0),
        ([node(8)], ["sweep.concurrency=3"], 3),
        ([], [], 0),
    ],
)
def test_trials_are_counted_node_by_node(configured, nodes, overrides, held):
    assert held_trials(configured(*overrides), nodes) == held


def test_what_is_said_of_needs_and_nodes(configured):
    assert needs_text(configured("training.gpus_per_worker=0.5").training) == "CPU 1 and GPU 0.5"
    assert needs_text(configured("training.num_workers=4").training) == "4 workers with CPU 1 each"
    nodes = [node(4, gpus=1, free=1), node(2, address="10.0.0.2")]
    assert nodes_text(nodes) == "node 10.0.0.1 CPU 1 of 4, GPU 0 of 1; node 10.0.0.2 CPU 2 of 2"
    assert nodes_text([]) == "there are no nodes"


@pytest.fixture
def clock():
    return Clock()


def trial(status):
    made = TuneTrial("trainable", stub=True)
    made.status = status
    return made


@pytest.fixture
def said(monkeypatch, configured, clock):
    """What a sweep whose nodes are held by others says, second by second, while its trials have a status."""
    monkeypatch.setattr(waiting, "nodes_of_cluster", lambda: [node(2, free=0)])
    lines = []
    callback = Waiting(configured(), lines.append, clock)

    def wait(status, seconds):
        lines.clear()
        for _ in range(int(seconds)):
            clock.now += 1
            callback.on_step_begin(0, [trial(status)])
        return list(lines)

    return wait


def test_it_says_so_after_a_while_and_again(said):
    assert said(TuneTrial.PENDING, FIRST - 1) == []
    (line,) = said(TuneTrial.PENDING, 2)
    assert line.startswith(
        "nothing has run for 30 s: a trial needs CPU 1; free: node 10.0.0.1 CPU 0 of 2; other programs"
    )
    assert said(TuneTrial.PENDING, AGAIN - 3) == []
    assert len(said(TuneTrial.PENDING, 3)) == 1
    assert said(TuneTrial.RUNNING, 1000) == []
    assert said(TuneTrial.PENDING, FIRST - 1) == []
    assert len(said(TuneTrial.PENDING, 1)) == 1
    assert said(TuneTrial.TERMINATED, 1000) == []


def test_it_says_that_no_node_can_hold_a_trial(monkeypatch, configured, clock):
    monkeypatch.setattr(waiting, "nodes_of_cluster", lambda: [node(1), node(1, address="10.0.0.2")])
    lines = []
    callback = Waiting(configured("training.cpus_per_worker=2"), lines.append, clock)
    clock.now = FIRST
    callback.on_step_begin(0, [trial(TuneTrial.PENDING)])
    (line,) = lines
    assert "free: node 10.0.0.1 CPU 1 of 1; node 10.0.0.2 CPU 1 of 1; these nodes have room for 0 of 1 workers" in line
    assert line.endswith("add nodes, or lower training.num_workers, cpus_per_worker or gpus_per_worker")
