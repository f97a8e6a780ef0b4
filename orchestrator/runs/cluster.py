"""The Ray cluster: which one, and how many trials it holds at once."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayError

from orchestrator.config import Config
from orchestrator.errors import ConfigError, ServiceError, reason_of
from orchestrator.results import canonical
from orchestrator.runs.address import cluster_address
from orchestrator.runs.local_ray import local_ray


def concurrent_trials(config: Config) -> int:
    """Return how many trials the cluster can run at once, at most ``sweep.concurrency``.

    Raises:
        ConfigError: not even one.
    """
    training = config.training
    has = ray.cluster_resources()  # type: ignore[no-untyped-call]
    needs = {
        "CPU": training.num_workers * training.cpus_per_worker,
        "GPU": training.num_workers * training.gpus_per_worker,
    }
    fits = min((math.floor(has.get(kind, 0.0) / amount) for kind, amount in needs.items() if amount > 0), default=1)
    if fits < 1:
        raise ConfigError(
            f"one trial needs {canonical(needs)}, but the cluster has CPU {has.get('CPU', 0):g},"
            f" GPU {has.get('GPU', 0):g}; lower training.num_workers, cpus_per_worker or gpus_per_worker"
        )
    return min(fits, config.sweep.concurrency or fits)


def check_cluster() -> None:
    """Refuse a cluster that does not answer, before there is more to do.

    Raises:
        ConfigError: a ``RAY_ADDRESS`` that cannot be one.
        ServiceError: a cluster that does not answer, or asks for another token.
    """
    if not ray.is_initialized():
        cluster_address()


@contextmanager
def connected() -> Iterator[None]:
    """Connect to the cluster of ``RAY_ADDRESS`` (a submitted job has it), or start a local one for the duration.

    Raises:
        ConfigError: a ``RAY_ADDRESS`` that cannot be one.
        ServiceError: a cluster that does not answer, or a local Ray that does not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if ray.is_initialized():
        yield
        return
    address = cluster_address()
    if address is None:
        with local_ray():
            yield
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, RayError) as error:
        raise ServiceError(f"RAY_ADDRESS={address}: the Ray cluster cannot be used: {reason_of(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()
