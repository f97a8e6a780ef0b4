"""What recipes are worth over seeds: published MODA, ours, compactness alone, standard training with and without decay.

One command trains one network and appends its rows to ``tests/benchmarks/data/recipes.arrow``: every choice on
validation and on test, as the product measures them. Without arguments every training that is missing runs, one after
another, so that an interrupted run goes on where it was. ``table`` prints what the rows say: the accuracy of the whole
network on test, the smallest size at which reuse accuracy on test reaches a value (interpolated in the logarithm of the
size: units chosen by rate, by contribution at target sizes, and so with the bias of each class), and the points *best*
and *knee*, chosen on validation, on test.

Needs MODA_DATA_DIR. About half a minute for a VGG, some minutes for a ResNet, on one core.

Usage: python tests/benchmarks/recipes.py [table | NETWORK RECIPE SEED]
"""

import itertools
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from compact_modules import smallest_size
from result_rows import read_rows, write_rows
from rich.console import Console

from orchestrator.config import Config
from orchestrator.config.composing import load_config
from orchestrator.results.records import read_sweep
from orchestrator.results.sweep import Sweep
from orchestrator.runs.train import train_one
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import grid
from orchestrator.training.trial import Trial, measure_on_test

ROWS = Path(__file__).parent / "data" / "recipes.arrow"
FASHION = ["data=fashion_mnist", "training=fashion_mnist", "data.limit=6000", "data.test_limit=4000"]
CIFAR = ["data=cifar10_table", "training=fashion_mnist"]
VGG = ["model=vgg_small", "model.widths=[16,M,32,32,M,64,64,M]", "model.hidden=[128]"]


@dataclass(frozen=True)
class Study:
    """Trainings of one network on one data set.

    Attributes:
        overrides: of the configuration.
        wanted: the reuse accuracies that the table asks for the sizes of.
        recipes: which are trained.
        seeds: how many seeds of each.
    """

    overrides: list[str]
    wanted: tuple[float, ...]
    recipes: tuple[str, ...] = ("published", "ours", "default", "compactness", "standard", "standard-decay")
    seeds: int = 3


ABLATIONS = ("warmed-no-decay", "warmed-decay-0.003", "warmed-decay-0.01", "warmed-for-a-quarter")
LARGE = {"recipes": ("published", "ours", "default"), "seeds": 1}  # minutes on a GPU, an hour and more on a core
ALL_OF_CIFAR = [*CIFAR, "training.epochs=20", "training.batch_size=128"]
CIFAR100 = ["data=cifar100", "training=fashion_mnist", "training.epochs=15", "training.batch_size=128"]
NETWORKS = {
    "digits": Study([], (0.95, 0.98), ("published", "ours", "milder", "default", "warmed")),
    "fashion-vgg": Study([*FASHION, *VGG, "training.epochs=6"], (0.86, 0.89)),
    "fashion-vgg-60": Study(
        [*FASHION, *VGG, "training.epochs=60"], (0.86, 0.89), ("published", "ours", "default"), seeds=1
    ),
    "fashion-resnet": Study([*FASHION, "model=resnet18", "model.width=16", "training.epochs=6"], (0.86, 0.88)),
    "cifar-vgg16-small": Study(  # as deep as the paper's, and minutes on a core
        [
            *(*CIFAR, "data.limit=8000", "data.test_limit=2000", "model=vgg16", "model.width=8", "training.epochs=12"),
            *("training.memory_format=channels_last", "evaluation.pairs=1000", "evaluation.test_pairs=1000"),
        ],
        (0.50, 0.55),
        ("published", "published-decay", "ours", "default", "warmed", *ABLATIONS),
        seeds=1,
    ),
    "cifar-vgg": Study(
        [
            *(*CIFAR, "data.limit=8000", "data.test_limit=4000", "model=vgg_medium", "training.epochs=12"),
            *("evaluation.pairs=1000", "evaluation.test_pairs=2000"),
        ],
        (0.65, 0.70),
        ("published", "default", "standard", "standard-decay"),
    ),
    "cifar-vgg16": Study([*ALL_OF_CIFAR, "model=vgg16", "model.width=16"], (0.80, 0.85), **LARGE),
    "cifar-resnet": Study([*ALL_OF_CIFAR, "model=resnet18", "model.width=16"], (0.80, 0.85), **LARGE),
    "cifar100-resnet": Study([*CIFAR100, "model=resnet18", "model.width=32"], (0.60, 0.65), **LARGE),
}


def moda(alpha: float, beta: float, gamma: float, *, decay: float, warmup: float = 0.0) -> list[str]:
    """Coefficients, weight decay and the share of the training over which gamma grows from 0."""
    coefficients = {"alpha": alpha, "beta": beta, "gamma": gamma, "gamma_warmup": warmup}
    return [*(f"method.{name}={value}" for name, value in coefficients.items()), f"training.weight_decay={decay}"]


RECIPES = {
    "published": moda(1, 1, 0.3, decay=0),
    "published-decay": moda(1, 1, 0.3, decay=0.01),
    "ours": moda(1, 0.3, 3, decay=0.01),
    "milder": moda(2, 0.1, 1, decay=0.01),
    "compactness": moda(0, 0, 3, decay=0.01),
    "default": ["method=moda"],
    "warmed": moda(1, 0.3, 3, decay=0.001, warmup=0.5),
    "warmed-no-decay": moda(1, 0.3, 3, decay=0, warmup=0.5),
    "warmed-decay-0.003": moda(1, 0.3, 3, decay=0.003, warmup=0.5),
    "warmed-decay-0.01": moda(1, 0.3, 3, decay=0.01, warmup=0.5),
    "warmed-for-a-quarter": moda(1, 0.3, 3, decay=0.001, warmup=0.25),
    "warmed-gamma-10": moda(1, 0.3, 10, decay=0.003, warmup=0.5),
    "standard": ["method=standard", "training.weight_decay=0"],
    "standard-decay": ["method=standard", "training.weight_decay=0.01"],
}
WAYS = {  # to choose units and to judge them: the rule and the metric
    "by rate": ("activity", "reuse_accuracy"),
    "by size": ("size", "reuse_accuracy"),
    "with bias": ("size", "calibrated_reuse_accuracy"),
}
ALWAYS = [
    *("training.batch_size=64", "training.learning_rate=0.05", "training.precision=float32"),
    *(
        "evaluation.levels=[]",
        "evaluation.ranking=contribution",
        "tracking=none",
        f"training.gpus_per_worker={int(torch.cuda.is_available())}",
    ),
]


def main(words: list[str]) -> None:
    if words == ["table"]:
        print_table()
    elif words:
        network, recipe, seed = words
        train_and_keep(network, recipe, int(seed))
    else:
        done = {(row["network"], row["recipe"], row["seed"]) for row in read_rows(ROWS)}
        for network, study in NETWORKS.items():
            for seed, recipe in itertools.product(range(study.seeds), study.recipes):
                if (network, recipe, seed) not in done:
                    subprocess.run([sys.executable, __file__, network, recipe, str(seed)], check=True)


def train_and_keep(network: str, recipe: str, seed: int) -> None:
    """Train one and append its rows."""
    rows = rows_of(network, recipe, seed)
    write_rows(ROWS, [*read_rows(ROWS), *rows])
    print(f"{network} {recipe} {seed}: {len(rows)} rows", flush=True)


def rows_of(network: str, recipe: str, seed: int) -> list[dict]:
    """Train, on a GPU if there is one, and measure every choice on validation and on test."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            *ALWAYS,
            *NETWORKS[network].overrides,
            *RECIPES[recipe],
            f"training.seed={seed}",
            f"storage={folder}",
        ]
        sweep = train_and_test(load_config(overrides))
    (state,) = sweep.trials
    about = {"network": network, "recipe": recipe, "seed": seed, "seconds": state.seconds, "device": device_name()}
    return [
        {
            **about,
            "point": point.label.partition("/")[2],
            "rule": point.choice.rule,
            "role": sweep.mark(point),
            "split": split,
            **{name: float(value) for name, value in metrics.items() if isinstance(value, int | float)},
        }
        for point in sweep.points
        for split, metrics in (("validation", point.metrics), ("test", point.test or {}))
    ]


def train_and_test(config: Config) -> Sweep:
    """Train once, and measure every choice on validation and on test."""
    sweep = train_one(config, Console(stderr=True))
    (state,) = sweep.trials
    trial = Trial(sweep.sweep_id, 0, state.coefficients, sweep.config, config.storage)
    measure_on_test(trial, load_data(config.data), grid(sweep.config.evaluation))
    return read_sweep(DeltaStore(config.storage), sweep.sweep_id)


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def staircase(rows: list[dict], rule: str, metric: str) -> list[tuple[float, float]]:
    """The (size, accuracy) of each choice by a rule that is better than all smaller ones."""
    best: list[tuple[float, float]] = []
    for size, accuracy in sorted((row["cut_size"], row[metric]) for row in rows if row["rule"] == rule):
        if not best or accuracy > best[-1][1]:
            best.append((size, accuracy))
    return best


def print_table() -> None:
    rows = [row for row in read_rows(ROWS) if row["split"] == "test"]
    for network, study in NETWORKS.items():
        heads = [f"s@{value:.2f} {name}" for value in study.wanted for name in WAYS]
        print(f"\n{network}\n\n| recipe | seeds | whole | {' | '.join(heads)} | best | knee |")
        print("|---|---|---|" + "---|" * (len(heads) + 2))
        for recipe in study.recipes:
            seeds = [
                [row for row in rows if (row["network"], row["recipe"], row["seed"]) == (network, recipe, seed)]
                for seed in range(study.seeds)
            ]
            seeds = [found for found in seeds if found]
            if seeds:
                print(f"| {recipe} | {len(seeds)} | {' | '.join(cells(seeds, study.wanted))} |")


def cells(seeds: list[list[dict]], wanted: tuple[float, ...]) -> list[str]:
    """A recipe's cells: means over the seeds, sizes as geometric means."""
    found = [f"{statistics.mean(rows[0]['reuse_baseline'] for rows in seeds):.4f}"]
    for value in wanted:
        for rule, metric in WAYS.values():
            sizes = [smallest_size(staircase(rows, rule, metric), value) for rows in seeds]
            found.append("-" if None in sizes else f"{statistics.geometric_mean(sizes):.4f}")
    for role in ("best", "knee"):
        named = [row for rows in seeds for row in rows if role in row["role"].split(", ")]
        found.append(" ".join(f"{row['cut_size']:.3f}:{row['reuse_accuracy']:.3f}" for row in named))
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
