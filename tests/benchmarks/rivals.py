"""MODA beside MwT, NeMo and standard training: accuracy, sizes, reuse as cut, refitted and tuned, and training time.

One command trains one network and appends its rows to ``tests/benchmarks/data/rivals.arrow``: every choice on
validation and on test, as the product measures them, and the stages of ``STAGED`` (two seeded subsets each of 2, 5 and
all classes, beside random units of equal number treated the same). Without arguments every training that is missing
runs, one after another, so that an interrupted run goes on where it was. ``table`` prints what the rows say about each
network, as means over the seeds; ``plot`` draws the fronts into ``docs/rivals_front.png``.

Every method is measured by its own rule (the activation rate, or the share of open gates) and by ours (contributions
to the logit at target sizes, which is Taylor's first order; with and without the bias of each class). A standard
network is measured by L1 magnitude too. A ratio of training times is that to the standard training of the same network
and seed on the same device; where other processes share the machine it is only rough.

Needs MODA_DATA_DIR. On one CPU core a training of the small VGG takes 5 to 7 minutes, of which half a minute trains;
the stages take most of the rest. With training.gpus_per_worker=1 on an H200 that 14 processes share it takes half a
minute, one of MobileNet up to 4 minutes.

Usage: python tests/benchmarks/rivals.py [table | plot | NETWORK RECIPE SEED [OVERRIDE ...]]
"""

import functools
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from compared_trainings import Recipe, Study, measured, of_network, planned, train_and_keep, trained
from result_rows import Row, read_rows
from rivals_figure import Line, draw_fronts
from rivals_table import sizes_table, stages_table

ROWS = Path(__file__).parent / "data" / "rivals.arrow"
FIGURE = Path(__file__).parents[2] / "docs" / "rivals_front.png"


FASHION = ("data=fashion_mnist", "training=fashion_mnist", "data.limit=6000", "data.test_limit=4000")
CIFAR = ("data=cifar10_table", "training=fashion_mnist", "data.limit=8000", "data.test_limit=4000")
VGG = ("model=vgg_small", "model.widths=[16,M,32,32,M,64,64,M]", "model.hidden=[128]")
NETWORKS = {
    "fashion-vgg": Study((*FASHION, *VGG, "training.epochs=6"), (0.86, 0.89)),
    "fashion-resnet": Study((*FASHION, "model=resnet18", "model.width=16", "training.epochs=6"), (0.86, 0.88)),
    "fashion-mobilenet": Study((*FASHION, "model=mobilenet_v1", "model.width=12", "training.epochs=6"), (0.80, 0.85)),
    "cifar-vgg": Study((*CIFAR, "model=vgg_medium", "training.epochs=12"), (0.65, 0.70), seeds=1),
}
NO_DECAY, DECAY = "training.weight_decay=0", "training.weight_decay=0.01"
TARGETS = "[0.003,0.005,0.008,0.012,0.02,0.03,0.05,0.08,0.12,0.2,0.3,0.5]"
STANDARD = ("method=standard", f"evaluation.magnitude_targets={TARGETS}")
RECIPES = {
    "standard": Recipe((*STANDARD, NO_DECAY)),
    "standard-decay": Recipe((*STANDARD, DECAY)),
    "moda-published": Recipe(("method=moda_published", NO_DECAY), staged=("0.9/0",)),
    "moda": Recipe(
        ("method=moda", "method.alpha=1", "method.beta=0.3", "method.gamma=3", "method.gamma_warmup=0", DECAY)
    ),
    "mwt-published": Recipe(("method=mwt", "method.published=true", NO_DECAY), "gate", ("gate/0.9",)),
    "mwt": Recipe(("method=mwt", NO_DECAY), "gate"),
    "nemo-published": Recipe(("method=nemo", "method.published=true", NO_DECAY), "gate", ("gate/0.9",)),
    "nemo": Recipe(("method=nemo", NO_DECAY), "gate"),
}
EQUAL_SIZE = "size/0.05"
STAGED = ("best", EQUAL_SIZE)  # what is refitted and tuned of every network
ALWAYS = (
    *("training.batch_size=64", "training.learning_rate=0.05", "training.precision=float32", "tracking=none"),
    *("evaluation.thresholds=[0.0,0.2]", "evaluation.levels=[]", f"evaluation.targets={TARGETS}"),
    "evaluation.ranking=contribution",
    *("evaluation.pairs=1000", "evaluation.test_pairs=3000"),
    *("evaluation.stages=[refit,tuned]", "evaluation.tuned_epochs=3", "evaluation.refit_images=500"),
)
BY_MAGNITUDE = {  # lines of the table beside the recipes: L1 magnitude, which knows no class
    f"{recipe} by magnitude": (recipe, "magnitude") for recipe in ("standard", "standard-decay")
}


def main(words: list[str]) -> None:
    match words:
        case ["table"]:
            print_table()
        case ["plot"]:
            draw_fronts(fronts(read_rows(ROWS)), FIGURE)
        case _:
            train_and_keep(words, ROWS, planned(NETWORKS, RECIPES), rows_of)


def rows_of(network: str, recipe: str, seed: int, extra_overrides: Sequence[str] = ()) -> list[Row]:
    """Train one network and measure every choice on validation and on test: a row for each choice, stage and split.

    Args:
        network: one of NETWORKS.
        recipe: one of RECIPES.
        seed: of the training.
        extra_overrides: of the configuration, which come last.
    """
    with trained(
        *(*NETWORKS[network].overrides, *ALWAYS, *RECIPES[recipe].overrides),
        f"evaluation.staged=[{','.join((*STAGED, *RECIPES[recipe].staged))}]",
        f"training.seed={seed}",
        *extra_overrides,
    ) as (sweep, about):
        return [{"network": network, "recipe": recipe, "seed": seed, **about, **row} for row in measured(sweep)]


def print_table() -> None:
    rules = {recipe: (recipe, how.rule) for recipe, how in RECIPES.items()} | BY_MAGNITUDE
    rows = [row for row in read_rows(ROWS) if row["split"] == "test"]
    for network, study in NETWORKS.items():
        seeds = of_network(rows, network, NETWORKS[network].seeds, RECIPES)
        if not seeds:
            continue
        print(f"\n{network}\n\n{sizes_table(seeds, rules, study.wanted)}")
        print(f"\nbest\n\n{stages_table(seeds, lambda row: 'best' in row['role'].split(', '))}")
        for choice in dict.fromkeys((EQUAL_SIZE, *(name for how in RECIPES.values() for name in how.staged))):
            recipes = [recipe for recipe, how in RECIPES.items() if choice in (*STAGED, *how.staged)]
            print(f"\n{choice}\n\n{stages_table(seeds, functools.partial(is_staged, choice, recipes))}")


def is_staged(choice: str, recipes: Sequence[str], row: Row) -> bool:
    return row["choice"] == choice and row["recipe"] in recipes


def fronts(rows: Sequence[Row]) -> dict[str, dict[str, Line]]:
    """By network and recipe the accuracy on test, with bias, of choices that are made on validation, against the size:
    means over the seeds, each interpolated in the logarithm of the size."""
    panels: dict[str, dict[str, Line]] = {}
    for network in NETWORKS:
        for recipe, seeds in of_network(rows, network, NETWORKS[network].seeds, RECIPES).items():
            logarithms, accuracies = zip(*(chosen_on_validation(of_seed) for of_seed in seeds), strict=True)
            first = max(of_seed[0] for of_seed in logarithms)
            places = np.array(sorted(place for of_seed in logarithms for place in of_seed if place >= first))
            mean = np.mean([np.interp(places, *line) for line in zip(logarithms, accuracies, strict=True)], axis=0)
            panels.setdefault(network, {})[recipe] = list(zip(np.exp(places), mean, strict=True))
    return panels


def chosen_on_validation(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    """Of modules as they are cut, the logarithms of the sizes and the accuracies on test of the choices that are better
    on validation than all smaller ones."""
    by_split = {
        split: {row["choice"]: row for row in rows if (row["stage"], row["split"]) == ("cut", split)}
        for split in ("validation", "test")
    }
    logarithms, accuracies, best = [], [], 0.0
    for choice, row in sorted(by_split["validation"].items(), key=lambda item: item[1]["cut_size"]):
        if row["calibrated_reuse_accuracy"] > best:
            best = row["calibrated_reuse_accuracy"]
            logarithms.append(math.log(row["cut_size"]))
            accuracies.append(by_split["test"][choice]["calibrated_reuse_accuracy"])
    return logarithms, accuracies


if __name__ == "__main__":
    main(sys.argv[1:])
