"""What orchestration costs: sweeps beside a bare Ray Tune function that trains and measures the same, in turns.

Each way runs the same trials of digits, two at once on one Ray with two CPUs that has started already: once as
``tune.Tuner`` with a function that trains and measures and keeps nothing, once as a sweep with its checks, tables,
files, heartbeats, display and front on test images. Ray Train is compared with trials of two workers, which only sweeps
run here. Prints of each repeat and way: wall seconds, seconds of training and measuring, and the overhead of a trial,
which is what is left of the wall time for each trial of a slot; the share of the wall time that slots were busy; then
the medians, and the wall time of sweeps over that of bare Tune (goal: 1.1).

Usage: python tests/benchmarks/orchestration.py [--trials 12] [--repeats 3] [--without-train] [override ...]
Time: 14 minutes on 2 CPU cores, 3 of them --without-train; with trials of a minute (training.epochs=650 --trials 8
    --repeats 1 --without-train) 9 minutes.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import ray
import torch
from ray import tune
from rich.console import Console
from trained_network import trained_network

from orchestrator.config import Config
from orchestrator.config.composing import load_config
from orchestrator.runs.cluster import connected
from orchestrator.runs.proposals import search_problem
from orchestrator.runs.sweep import run_sweep
from orchestrator.runs.tuning import SETTINGS
from orchestrator.search.problem import History
from orchestrator.search.quasi_random import SobolSearcher
from orchestrator.training.calibration import CrossFitting, second_half
from orchestrator.training.data import Data, load_data
from orchestrator.training.decompose import grid, measure, prepare
from orchestrator.views.progress import Progress

SLOTS = 2
COMMON = (
    *("experiment=digits", "search=sobol", "search.baselines=[]", "tracking=none"),
    "search.reference.calibrated_reuse_accuracy=0.5",
)
TRAIN = ("training.num_workers=2",)
BARE, DIRECT, WORKERS = "bare Tune", "sweep", "sweep, 2 workers a trial"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--without-train", action="store_true")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    stated = (*COMMON, f"sweep.trials={options.trials}", *options.overrides)
    ways: dict[str, tuple[int, Callable[[], tuple[float, float]]]] = {
        BARE: (SLOTS, lambda: run_bare(load_config([*stated]))),
        DIRECT: (SLOTS, lambda: swept(stated)),
    }
    if not options.without_train:
        ways[WORKERS] = (1, lambda: swept((*stated, *TRAIN)))
    walls: dict[str, list[float]] = {way: [] for way in ways}
    overheads: dict[str, list[float]] = {way: [] for way in ways}
    os.environ.update(SETTINGS)
    with connected():
        for repeat in range(options.repeats):
            for way, (slots, run) in ways.items():
                started = time.perf_counter()
                training, measuring = run()
                wall = time.perf_counter() - started
                busy = (training + measuring) / slots / wall
                walls[way].append(wall)
                overheads[way].append((wall * slots - training - measuring) / options.trials)
                print(
                    f"repeat {repeat}, {way}: wall {wall:.1f} s, training {training:.1f}, measuring {measuring:.1f},"
                    f" overhead {overheads[way][-1]:.2f} s a trial, slots busy {busy:.1%}",
                    flush=True,
                )
    for way in ways:
        print(f"{way}: median overhead {statistics.median(overheads[way]):.2f} s a trial")
    ratios = [wall / bare for wall, bare in zip(walls[DIRECT], walls[BARE], strict=True)]
    print(f"wall of sweeps over bare Tune's, median: {statistics.median(ratios):.2f}")


def swept(overrides: tuple[str, ...]) -> tuple[float, float]:
    """Run a sweep; the seconds of its trials for training, and for counting and measuring."""
    with tempfile.TemporaryDirectory() as storage:
        sweep = run_sweep(load_config([*overrides, f"storage={storage}"]), Progress(Console(quiet=True)))
    return sum(state.seconds for state in sweep.trials), sum(state.evaluation_seconds for state in sweep.trials)


def run_bare(config: Config) -> tuple[float, float]:
    """The same trainings and surfaces by Ray Tune alone; likewise."""
    searcher = SobolSearcher(search_problem(config))
    drawn = [searcher.propose(History(), [], number) for number in range(config.sweep.trials)]
    data = ray.put(load_data(config.data))

    def trainable(given: dict[str, Any]) -> None:
        number = given["number"]
        tune.report(train_and_measure(config.for_trial(number, drawn[number]), ray.get(data)))

    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"number": tune.grid_search(list(range(len(drawn))))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
    rows = [result.metrics for result in results]
    return sum(row["seconds"] for row in rows), sum(row["evaluation_seconds"] for row in rows)


def train_and_measure(config: Config, data: Data) -> dict[str, float]:
    """What a trial computes: the network trained, and its whole surface on validation images."""
    torch.set_num_threads(config.training.cpus_per_worker)
    network, rows = trained_network(config, data)
    started = time.perf_counter()
    trained = prepare(network, data, config)
    split, images = data.judged
    fitting = CrossFitting(second_half(images.labels, config.data.seed))
    measure(trained, images, config.evaluation, split=split, choices=grid(config.evaluation), calibration=fitting)
    spent = sum(row["seconds"] for row in rows)
    return {"seconds": spent, "evaluation_seconds": time.perf_counter() - started}


if __name__ == "__main__":
    main()
