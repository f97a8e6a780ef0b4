"""``moda reproduce``: trains what a paper has trained, and compares its numbers with those that come out.

Each training is one of its own, as ``moda train`` makes it: what has finished is read from the tables.
"""

import dataclasses
import json
from collections.abc import Mapping

from rich.console import Console

from orchestrator.config import HOURS, SEEDS, Config, Published, PublishedRow
from orchestrator.errors import ConfigError
from orchestrator.results import Compared, Sweep, read_courses
from orchestrator.runs.train import train_one
from orchestrator.storage import DeltaStore, usable_root

SECONDS_PER_HOUR = 3600


def reproduce(config: Config, published: Published, seeds: int, console: Console) -> list[Compared]:
    """Train every set of coefficients of which something is published, with each seed, and compare.

    Args:
        config: of the recipe.
        published: its numbers.
        seeds: how many trainings of each set; their seeds count on from ``training.seed``.
        console: where progress is written.

    Returns:
        One for each published number, in their order.

    Raises:
        ConfigError: validation images, with which it would be another recipe; less than one seed; anything that cannot
            work, before training starts; a training that diverged.
    """
    if config.data.has_validation:
        raise ConfigError(
            f"data.validation_fraction={config.data.validation_fraction}: published trainings hold nothing out and are"
            " measured on test; leave it at 0"
        )
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: must be at least 1")
    if config.sweep.name is not None:
        raise ConfigError(f"sweep.name={config.sweep.name}: every training has a name of its own here; leave it out")
    store = DeltaStore(usable_root(config.storage))
    trained: dict[str, list[tuple[Sweep, Mapping[str, float]]]] = {}
    compared = []
    for row in published.rows:
        key = json.dumps(row.coefficients, sort_keys=True)
        if key not in trained:
            with_coefficients = config.with_coefficients(row.coefficients)
            trained[key] = [_trained(with_coefficients, number, store, console) for number in range(seeds)]
        compared += [
            Compared(row, name, value, tuple(_measured(row, name, *training) for training in trained[key]))
            for name, value in row.values.items()
        ]
    return compared


def _trained(config: Config, number: int, store: DeltaStore, console: Console) -> tuple[Sweep, Mapping[str, float]]:
    """A training with another seed, and the losses of its last epoch."""
    seed = (config.training.seed + number) % SEEDS
    sweep = train_one(dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed)), console)
    return sweep, read_courses(store, sweep.sweep_id)[sweep.trials[0].trial_id][-1]


def _measured(row: PublishedRow, name: str, sweep: Sweep, losses: Mapping[str, float]) -> float:
    """A number as it is published: on test, uncalibrated."""
    if name == HOURS:
        return (sweep.trials[0].seconds or 0.0) / SECONDS_PER_HOUR
    if name in losses:
        return losses[name]
    point = next(point for point in sweep.points if row.choice in (None, point.choice))
    assert point.test is not None
    return point.test[name]
