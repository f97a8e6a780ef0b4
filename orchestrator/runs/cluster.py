"""The Ray cluster: which one, and how many trials it holds at once."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private import worker as ray_worker
from ray.exceptions import RayError

from orchestrator.config import Config
from orchestrator.errors import ConfigError, ServiceError, reason_of
from orchestrator.runs.address import cluster_address
from orchestrator.runs.capacity import KINDS, Node, held_trials, needs_text, nodes_of_cluster
from orchestrator.runs.interrupts import ray_may_not_take_sigterm
from orchestrator.runs.local_ray import local_ray


def concurrent_trials(config: Config) -> int:
    """Return how many trials the cluster can run at once, at most ``sweep.concurrency``.

    Raises:
        ConfigError: not even one.
    """
    nodes = nodes_of_cluster()
    held = held_trials(config, nodes)
    if held < 1:
        has = "; ".join(f"node {node.address} {_total(node)}" for node in nodes)
        raise ConfigError(
            f"one trial needs {needs_text(config.training)}, each on one node, but the cluster has {has}; lower"
            " training.num_workers, cpus_per_worker or gpus_per_worker"
        )
    return held


def _total(node: Node) -> str:
    return ", ".join(f"{kind} {node.total.get(kind, 0):g}" for kind in KINDS)


def check_cluster() -> None:
    """Refuse a cluster that does not answer, before there is more to do.

    Raises:
        ConfigError: a ``RAY_ADDRESS`` that cannot be one.
        ServiceError: a cluster that does not answer, or asks for another token.
    """
    if not ray.is_initialized():
        cluster_address()


@contextmanager
def connected() -> Iterator[bool]:
    """Connect to the cluster of ``RAY_ADDRESS`` (a submitted job has it), or start a local one for the duration.

    Yields:
        Whether it is a cluster, which may grow; False for a Ray of this machine's own.

    Raises:
        ConfigError: a ``RAY_ADDRESS`` that cannot be one.
        ServiceError: a cluster that does not answer, or a local Ray that does not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with _without_pushed_errors(), _connection() as may_grow:
        yield may_grow


@contextmanager
def _connection() -> Iterator[bool]:
    if ray.is_initialized():
        yield True
        return
    address = cluster_address()
    if address is None:
        with local_ray():
            yield False
        return
    try:
        with ray_may_not_take_sigterm():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, RayError) as error:
        raise ServiceError(f"RAY_ADDRESS={address}: the Ray cluster cannot be used: {reason_of(error)}") from error
    try:
        yield True
    finally:
        ray.shutdown()


@contextmanager
def _without_pushed_errors() -> Iterator[None]:
    """Keep Ray from printing what its processes push to drivers, even with ``log_to_driver=False``: each death of a
    process as a line of the raylet's, and tracebacks of what was raised around it. A sweep says on a line of its own
    what died and why.
    """
    before = ray_worker._worker_logs_enabled
    ray_worker._worker_logs_enabled = False
    try:
        yield
    finally:
        ray_worker._worker_logs_enabled = before
