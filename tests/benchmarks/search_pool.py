"""Pools of trainings over the default search space, which searchers are compared on.

Of each network 64 trainings of a scrambled Sobol sequence over the space of `method=moda`, then the first 8 of them
once more with another seed, which show the noise, then the baselines of that space with two seeds. Each is a training
of the product: 4,000 Fashion-MNIST images, 4 epochs, and every target size (and two tau) measured on 4,000 held-out
images with 4,000 (image, subset) pairs. One command trains one network and appends its rows to
``tests/benchmarks/data/search_pool_NETWORK.arrow``; without a number every training that is missing runs, so that an
interrupted run goes on where it was. A training that diverged has one row, without metrics.

Needs MODA_DATA_DIR. Not quite a minute a training on one core, half of it measuring.

Usage: python tests/benchmarks/search_pool.py [NETWORK [NUMBER]]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import result_rows
import torch
from rich.console import Console

from orchestrator.config.composing import load_config
from orchestrator.errors import ConfigError
from orchestrator.results.records import read_sweep
from orchestrator.runs.proposals import search_problem
from orchestrator.runs.train import train_one
from orchestrator.search.problem import History, Problem
from orchestrator.search.quasi_random import SobolSearcher
from orchestrator.storage.delta import DeltaStore

DATA = Path(__file__).parent / "data"
TRAININGS, AGAIN, OF_OTHERS = 64, 8, 20
COMMON = [
    "data.validation_fraction=0.5",
    "evaluation.ranking=contribution",
    "search.baselines=["  # of the default space when the pools were trained
    "{alpha: 1.0, beta: 1.0, gamma: 0.3, weight_decay: 0.0},"
    "{alpha: 0.0, beta: 0.0, gamma: 0.0, weight_decay: 0.0},"
    "{alpha: 0.0, beta: 0.0, gamma: 0.0, weight_decay: 0.01},"
    "{alpha: 1.0, beta: 0.3, gamma: 3.0, weight_decay: 0.01}]",
    *("data.test_limit=100", "training.batch_size=64", "training.precision=float32"),
    *(
        "evaluation.pairs=4000",
        "evaluation.test_pairs=100",
        "evaluation.taus=[0.5,0.9]",
        "evaluation.thresholds=[0]",
        "tracking=none",
        f"training.gpus_per_worker={int(torch.cuda.is_available())}",
    ),
]
FASHION = ["data=fashion_mnist", "training=fashion_mnist", "data.limit=8000", "training.epochs=4"]
CIFAR = ["data=cifar10_table", "training=fashion_mnist", "data.limit=8000", "training.epochs=4"]
VGG = ["model=vgg_small", "model.widths=[16,M,32,32,M,64,64,M]", "model.hidden=[128]"]
RESNET = ["model=resnet18", "model.width=8"]
FROM_START, WARMED_UP = "method.gamma_warmup=0", "method.gamma_warmup=0.5"
NETWORKS = {"vgg": [*FASHION, *VGG, FROM_START], "resnet": [*FASHION, *RESNET, FROM_START]}
# A few trainings each of other data, and as deep networks are trained by default: what pools teach is tried on them.
OTHERS = {
    "digits": ["training.epochs=20", FROM_START],
    "cifar": [*CIFAR, *VGG, FROM_START],
    "resnet_warmed_up": [*FASHION, *RESNET, WARMED_UP],
}
EACH = {**NETWORKS, **OTHERS}
METRICS = (
    *("accuracy", "reuse_baseline", "reuse_accuracy", "reuse_accuracy_error"),
    *("calibrated_reuse_accuracy", "calibrated_reuse_accuracy_error", "cut_size", "module_size"),
)


def main(words: list[str]) -> None:
    if len(words) == 2:
        train_and_keep(words[0], int(words[1]))
        return
    for network in words or NETWORKS:
        for number in range(len(planned(network))):
            if number not in {row["number"] for row in read_rows(network)}:
                subprocess.run([sys.executable, __file__, network, str(number)], check=True)


def planned(network: str) -> list[tuple[dict[str, float], int]]:
    """The coefficients and the seed of every training."""
    config = load_config([*COMMON, *EACH[network]])
    problem = Problem(search_problem(config).space, {}, {}, seed=0)
    count = TRAININGS if network in NETWORKS else OF_OTHERS
    drawn = [SobolSearcher(problem).propose(History(), [], number) for number in range(count)]
    configured = {name: config.coefficient(name) for name in problem.space}
    baselines = [{**configured, **baseline} for baseline in config.search.baselines]
    seeded = [(drawn, 1), (drawn[:AGAIN], 2), (baselines, 1), (baselines, 2)]
    seeded = seeded if network in NETWORKS else [(baselines, 1), (drawn, 1)]
    return [(coefficients, seed) for of_seed, seed in seeded for coefficients in of_seed]


def train_and_keep(network: str, number: int) -> None:
    """Train one and append its rows."""
    rows = rows_of(network, number)
    result_rows.write_rows(file_of(network), [*read_rows(network), *rows])
    print(f"{network} {number}: {rows[0]['status']}, {len(rows)} rows, {rows[0]['seconds']} s", flush=True)


def rows_of(network: str, number: int) -> list[dict]:
    """The rows of a planned training."""
    coefficients, seed = planned(network)[number]
    return [{"number": number, **row} for row in measured(network, coefficients, seed)]


def measured(network: str, coefficients: dict[str, float], seed: int) -> list[dict]:
    """Train, on a GPU if there is one, and measure every choice on held-out images. Of a training that diverged one
    row, without metrics."""
    of_method = ("alpha", "beta", "gamma")
    stated = [f"{'method' if name in of_method else 'training'}.{name}={value}" for name, value in coefficients.items()]
    with tempfile.TemporaryDirectory() as folder:
        run = [f"training.seed={seed}", f"storage={folder}"]
        try:
            sweep = train_one(load_config([*COMMON, *EACH[network], *stated, *run]), Console(stderr=True))
        except ConfigError:  # it diverged, and that is recorded
            store = DeltaStore(folder)
            sweep = read_sweep(store, store.read("sweeps")["sweep_id"][0].as_py())
    (state,) = sweep.trials
    about = {"network": network, "seed": seed, **coefficients, "status": state.status.value}
    times = {"seconds": state.seconds, "evaluation_seconds": state.evaluation_seconds}
    rows = [
        {
            **about,
            **times,
            "rule": point.choice.rule,
            **dict(point.choice.parameters),
            **{name: point.metrics[name] for name in METRICS},
        }
        for point in sweep.points
    ]
    return rows or [{**about, **times}]


def file_of(network: str) -> Path:
    return DATA / f"search_pool_{network}.arrow"


def read_rows(network: str) -> list[dict]:
    """The rows of a network's trainings so far."""
    return result_rows.read_rows(file_of(network))


if __name__ == "__main__":
    main(sys.argv[1:])
