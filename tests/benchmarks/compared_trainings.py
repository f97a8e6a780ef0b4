"""Trainings of several recipes on several networks: rivals.py and vision_transformers.py compare them."""

import itertools
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from recipes import train_and_test
from result_rows import Row, read_rows, write_rows

from orchestrator.config.composing import load_config
from orchestrator.results.sweep import Sweep
from orchestrator.training.loop import choose_device

Key = tuple[str, str, int]  # network, recipe and seed
Seeds = dict[str, list[list[Row]]]  # by recipe, for each seed its rows


@dataclass(frozen=True)
class Study:
    """Trainings of one network on one data set.

    Attributes:
        overrides: of the configuration.
        wanted: the reuse accuracies that the table asks for the sizes of.
        seeds: how many seeds of each recipe.
    """

    overrides: tuple[str, ...]
    wanted: tuple[float, float]
    seeds: int = 3


@dataclass(frozen=True)
class Recipe:
    """A way to train.

    Attributes:
        overrides: of the configuration.
        rule: the method's own.
        staged: choices beside ``STAGED``: of published recipes the published one.
    """

    overrides: tuple[str, ...]
    rule: str = "activity"
    staged: tuple[str, ...] = ()


def planned(networks: Mapping[str, Study], recipes: Mapping[str, Recipe]) -> list[Key]:
    """Every training of some networks, for each seed every recipe."""
    return [
        (network, recipe, seed)
        for network, study in networks.items()
        for seed, recipe in itertools.product(range(study.seeds), recipes)
    ]


def train_and_keep(
    words: Sequence[str], file: Path, keys: Sequence[Key], rows_of: Callable[[str, str, int, Sequence[str]], list[Row]]
) -> None:
    """Train the network that the words of the command line name, and append its rows; without words every one that is
    missing, each in a process of its own.

    Args:
        words: network, recipe, seed and further overrides, or none.
        file: of the rows.
        keys: what is to be there.
        rows_of: trains one and measures it.
    """
    if words:
        network, recipe, seed, *overrides = words
        rows = rows_of(network, recipe, int(seed), overrides)
        write_rows(file, [*read_rows(file), *rows])
        print(f"{network} {recipe} {seed}: {len(rows)} rows, {rows[0]['seconds']:.0f} s of training", flush=True)
        return
    done = {_key_of(row) for row in read_rows(file)}
    for network, recipe, number in keys:
        if (network, recipe, number) not in done:
            subprocess.run([sys.executable, sys.argv[0], network, recipe, str(number)], check=True)


@contextmanager
def trained(*overrides: str) -> Iterator[tuple[Sweep, Row]]:
    """Train in a storage that is there within the context; yields what was found, and device and seconds of it."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config([*overrides, f"storage={folder}"])
        sweep = train_and_test(config)
        (state,) = sweep.trials
        device = _device_name(choose_device(config.training))
        yield sweep, {"device": device, "seconds": state.seconds, "evaluation_seconds": state.evaluation_seconds}


def measured(sweep: Sweep) -> Iterator[Row]:
    """A row for each point and split; points of later stages have the role of the choice that they come from."""
    roles = {point.choice: sweep.mark(point) for point in sweep.points}
    for point in (*sweep.points, *sweep.staged):
        for split, metrics in (("validation", point.metrics), ("test", point.test or {})):
            yield {
                "choice": point.choice.name,
                "rule": point.choice.rule,
                "role": roles[point.choice],
                "stage": point.stage,
                "split": split,
                **{name: float(value) for name, value in metrics.items() if isinstance(value, int | float)},
            }


def of_network(rows: Sequence[Row], network: str, seeds: int, recipes: Mapping[str, Recipe]) -> Seeds:
    """The rows of a network by recipe, for each seed; of recipes that have any."""
    by_key: dict[Key, list[Row]] = {}
    for row in rows:
        by_key.setdefault(_key_of(row), []).append(row)
    keys = {recipe: [(network, recipe, seed) for seed in range(seeds)] for recipe in recipes}
    found = {recipe: [by_key[key] for key in of_recipe if key in by_key] for recipe, of_recipe in keys.items()}
    return {recipe: of_recipe for recipe, of_recipe in found.items() if of_recipe}


def _key_of(row: Row) -> Key:
    return row["network"], row["recipe"], row["seed"]


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU {platform.machine()}"
