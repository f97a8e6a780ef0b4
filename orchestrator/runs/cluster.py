"""The Ray cluster: which one, and how many trials it holds at once."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from orchestrator.config import Config
from orchestrator.errors import ConfigError, ServiceError, shown
from orchestrator.results import canonical


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


@contextmanager
def connected() -> Iterator[None]:
    """Connect to the cluster of ``RAY_ADDRESS`` (a submitted job has it), or start a local one for the duration.

    Raises:
        ServiceError: a cluster that does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "local")
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except ConnectionError as error:
        raise ServiceError(f"RAY_ADDRESS={address}: the Ray cluster does not answer ({shown(str(error))})") from error
    try:
        yield
    finally:
        ray.shutdown()
