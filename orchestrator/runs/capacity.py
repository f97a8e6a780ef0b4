"""How many trials a cluster holds, node by node, and what of it is free. No worker is spread over nodes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray
from ray._private.state import available_resources_per_node

from orchestrator.config import Config, TrainingConfig

KINDS = ("CPU", "GPU")
Amounts = Mapping[str, float]
SLACK = 1e-9  # fractions of a GPU


@dataclass(frozen=True)
class Node:
    """A node that lives: its address, what it has and what of that is free."""

    address: str
    total: Amounts
    free: Amounts

    def holds(self, needs: Amounts, *, free: bool = False) -> int:
        """Return how many workers with these needs fit: all in all, or beside what runs."""
        has = self.free if free else self.total
        wanted = {kind: amount for kind, amount in needs.items() if amount > 0}
        fits = [math.floor(has.get(kind, 0.0) / amount + SLACK) for kind, amount in wanted.items()]
        return min(fits, default=1)


def nodes_of_cluster() -> list[Node]:
    """Return the nodes that live now."""
    free = available_resources_per_node()  # type: ignore[no-untyped-call]
    return [
        Node(node["NodeManagerAddress"], node["Resources"], free.get(node["NodeID"], {}))
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def worker_needs(training: TrainingConfig) -> dict[str, float]:
    """Return what each worker of a trial needs, on one node."""
    return {"CPU": training.cpus_per_worker, "GPU": training.gpus_per_worker}


def held_trials(config: Config, nodes: Sequence[Node], *, free: bool = False) -> int:
    """Return how many trials the nodes hold at once, at most ``sweep.concurrency``: all in all, or beside what runs."""
    needs = worker_needs(config.training)
    held = sum(node.holds(needs, free=free) for node in nodes) // config.training.num_workers
    return min(held, config.sweep.concurrency or held)


def needs_text(training: TrainingConfig) -> str:
    """Return what a trial needs, for people."""
    needs = _amounts(worker_needs(training))
    return needs if training.num_workers == 1 else f"{training.num_workers} workers with {needs} each"


def nodes_text(nodes: Sequence[Node]) -> str:
    """Return what is free, node by node."""
    texts = []
    for node in nodes:
        kinds = [kind for kind in KINDS if node.total.get(kind)] or ["CPU"]
        free = ", ".join(f"{kind} {node.free.get(kind, 0):g} of {node.total.get(kind, 0):g}" for kind in kinds)
        texts.append(f"node {node.address} {free}")
    return "; ".join(texts) or "there are no nodes"


def _amounts(needs: Amounts) -> str:
    return " and ".join(f"{kind} {amount:g}" for kind, amount in needs.items() if amount > 0)
