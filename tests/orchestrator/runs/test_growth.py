"""When a sweep asks for nodes: only for trials that the cluster has no room for, and never in their way."""

from types import SimpleNamespace

import pytest

from orchestrator.runs import growth
from orchestrator.runs.capacity import Node
from orchestrator.runs.growth import AT_ONCE, Growth
from tests.clock import Clock


class Cluster:
    """A node, and the placement groups that were asked for."""

    def __init__(self):
        self.cores, self.free = 2.0, 2.0
        self.own = []
        self.trials = {}  # by id, the state of the group of a trial that waits for its place or has it

    def nodes(self):
        return [Node("a", {"CPU": self.cores}, {"CPU": self.free})] if self.cores else []

    def make(self, bundles, name):
        group = SimpleNamespace(id=SimpleNamespace(hex=lambda: name), name=name, state="PENDING", bundles=bundles)
        self.own.append(group)
        return group

    def table(self):
        own = {group.name: (group.name, group.state) for group in self.own}
        return {
            key: {"placement_group_id": key, "name": name, "state": state, "bundles": {0: {"CPU": 1.0}}}
            for key, (name, state) in {**own, **{key: ("", state) for key, state in self.trials.items()}}.items()
        }


@pytest.fixture
def cluster(monkeypatch):
    found = Cluster()
    monkeypatch.setattr(growth, "nodes_of_cluster", found.nodes)
    monkeypatch.setattr(growth, "placement_group", found.make)
    monkeypatch.setattr(growth, "placement_group_table", found.table)
    monkeypatch.setattr(growth, "remove_placement_group", found.own.remove)
    return found


@pytest.fixture
def asked(cluster, configured):
    """How many trials a sweep of forty asks room for, as its driver looks again."""
    clock = Clock()
    asking = Growth(SimpleNamespace(config=configured(), left=40), clock)

    def look():
        clock.now += 3
        asking.on_step_begin(0, [])
        return len(cluster.own)

    return look


def test_nothing_is_asked_for_while_there_is_room(cluster, asked):
    """A group would take the place of a trial that is about to start."""
    assert asked() == 0
    cluster.trials["t0"], cluster.free = "CREATED", 1.0
    assert asked() == 0
    cluster.trials["t1"], cluster.free = "CREATED", 0.0
    assert asked() == AT_ONCE


def test_a_cluster_without_nodes_grows(cluster, asked):
    cluster.cores = cluster.free = 0.0
    assert asked() == AT_ONCE
    cluster.cores = 12.0
    cluster.own[0].state = "CREATED"
    assert asked() == 0  # the trials come first
    cluster.trials = dict.fromkeys(map(str, range(12)), "CREATED")
    assert asked() == 12  # as many again


def test_nothing_is_asked_for_while_a_trial_waits(cluster, asked):
    cluster.free = 0.0
    cluster.trials["t0"] = "PENDING"
    assert asked() == 0
