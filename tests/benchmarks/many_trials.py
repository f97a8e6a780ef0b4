"""Whether what a sweep costs per trial grows with the number of its trials: 1,000 trials that train nothing.

Everything is a sweep's own but the training: Ray Tune and its processes, the storage, proposals, heartbeats, what a
person is shown, and the rows and events of each trial, of a surface as large as the configuration's. Prints a line per
hundred trials: seconds per trial, processor seconds of the driver per trial, and its memory; then the ratios of the
last hundred to the first, which should be at most 1.2.

Usage: python tests/benchmarks/many_trials.py [--trials 1000] [--profile] [override ...]
Time: 12 minutes on 2 cores
"""

import argparse
import cProfile
import pstats
import random
import statistics
import tempfile
import time
from typing import Any

import psutil
import ray
from rich.console import Console

from orchestrator.config.composing import load_config
from orchestrator.declarations import CUT, METRICS, SHARE
from orchestrator.results import claim_sweep, trial_event, utc_now
from orchestrator.runs import tuning
from orchestrator.runs.cluster import connected
from orchestrator.runs.lease import only_driver
from orchestrator.runs.proposals import Proposals
from orchestrator.runs.shared_storage import SharedStorage
from orchestrator.search import Status
from orchestrator.storage import DeltaStore
from orchestrator.training import Report, Trial
from orchestrator.training.decompose import grid
from orchestrator.views.progress import Progress

EPOCHS, HUNDRED = 6, 100
SHARES = [name for name, metric in METRICS.items() if metric.kind == SHARE]
POINT = {"stage": CUT, "split": "validation", "reuse_images": 1000, "reuse_subsets": 100, "flops": 0.5, "floored": 0}


def instant_trial(trial: Trial, data: Any, *, report: Report) -> None:
    """Write what a trial writes, without training."""
    store, draw = DeltaStore(trial.root), random.Random(trial.number)
    key = {"sweep_id": trial.sweep_id, "trial_id": trial.trial_id}

    def record(event: Status, **more: Any) -> None:
        store.append("trials", [trial_event(trial.sweep_id, trial, event, attempt=1, now=utc_now(), **more)])

    record(Status.STARTED)
    for epoch in range(1, EPOCHS + 1):
        report({"epoch": epoch, "epochs": EPOCHS, "loss": 1.0, "terms": {}})
    store.append("epochs", [{**key, "epoch": epoch, "loss": 1.0} for epoch in range(1, EPOCHS + 1)])
    points = [
        {**key, **choice.columns, **POINT, **{name: draw.random() for name in SHARES}}
        for choice in grid(trial.config.evaluation)
    ]
    store.append("points", points)
    record(Status.FINISHED, seconds=0.0, evaluation_seconds=0.0)


class Clocked(Progress):
    """Notes when a trial has ended, with the processor time and the memory of this process."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.notes: list[tuple[float, float, float]] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note it after all that the sweep does by itself."""
        super().on_trial_complete(iteration, trials, trial, **info)
        memory = psutil.Process().memory_info().rss / 2**20
        self.notes.append((time.perf_counter(), time.process_time(), memory))


def run(overrides: list[str], trials: int, profile: cProfile.Profile | None) -> list[tuple[float, float, float]]:
    """A sweep of instant trials: the notes of their ends."""
    tuning.run_tracked = instant_trial  # type: ignore[assignment]
    progress = Clocked()
    with tempfile.TemporaryDirectory() as storage:
        config = load_config(
            [
                *("experiment=digits", "search=sobol", "search.baselines=[]"),
                *("search.reference.calibrated_reuse_accuracy=0.5", f"sweep.trials={trials}", "sweep.concurrency=2"),
                *("tracking=none", f"storage={storage}", *overrides),
            ]
        )
        store = DeltaStore(storage)
        sweep_id = claim_sweep(store, config, prefix="many", now=utc_now())
        with only_driver(storage, sweep_id, print) as lease, connected():
            proposals = Proposals(config, sweep_id, store)
            progress.begin(config, 2, proposals.sweep)
            if profile is not None:
                profile.enable()
            tuning.run_trials(proposals, ray.put(None), SharedStorage.here(storage), lease, progress)
            if profile is not None:
                profile.disable()
        points = store.read("points", sweep_id).num_rows
    print(f"{trials} trials, {points} points")
    return progress.notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()

    profile = cProfile.Profile() if options.profile else None
    notes = run(options.overrides, options.trials, profile)
    print("| trials | s per trial | driver's processor, s per trial | driver's memory, MiB |\n|---|---|---|---|")
    rows = []
    for start in range(0, options.trials - HUNDRED + 1, HUNDRED):
        part = notes[start : start + HUNDRED]
        took, processor = ((part[-1][place] - part[0][place]) / (HUNDRED - 1) for place in (0, 1))
        rows.append((took, processor, statistics.median(memory for *_, memory in part)))
        print(f"| {start} to {start + HUNDRED - 1} | {took:.3f} | {processor:.3f} | {rows[-1][2]:.0f} |")
    ratios = [last / first for first, last in zip(rows[0], rows[-1], strict=True)]
    print("| last : first | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
    if profile is not None:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)


if __name__ == "__main__":
    main()
