"""Whether what a sweep costs per trial grows with the number of its trials: 1,000 trials that train nothing.

Everything is a sweep's own but the training: Ray Tune and its processes, the storage, proposals, heartbeats, what a
person is shown, and the rows and events of each trial, of a surface as large as the configuration's. Prints a line per
hundred trials (or another --window): seconds per trial, processor seconds of the driver per trial, and its memory; then
the ratios of the last hundred to the first, which should be at most 1.2.

With --without-ray the driver writes the rows of its trials itself, one trial after another: what is left out is Ray
Tune and its processes, and the time of writing is the driver's.

With --in-turns the last hundred trials of the sweep take turns with the first hundred of another one, in one process
and without Ray: so other work on the machine changes both alike. Prints the processor seconds of each and their ratio.

With --ends only the first and the last window run; the rows of the trials between are written by hundreds, and the
sweep is resumed after them.

Usage: python tests/benchmarks/many_trials.py [--trials 1000] [--window 100] [--without-ray] [--in-turns] [--ends]
    [--profile] [override ...]
Time: 12 minutes on 2 cores; with --without-ray --ends two minutes of processor time
"""

import argparse
import contextlib
import cProfile
import pstats
import random
import statistics
import tempfile
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import psutil
import ray
from rich.console import Console

from orchestrator.config.composing import load_config
from orchestrator.declarations import CUT, METRICS, SHARE
from orchestrator.results import claim_sweep, trial_event, utc_now
from orchestrator.runs import tuning
from orchestrator.runs.cluster import connected
from orchestrator.runs.lease import Lease, only_driver
from orchestrator.runs.proposals import Proposals
from orchestrator.runs.shared_storage import SharedStorage
from orchestrator.search import Coefficients, Status
from orchestrator.storage import DeltaStore
from orchestrator.training import Report, Trial
from orchestrator.training.decompose import grid
from orchestrator.views.progress import Progress

EPOCHS, HUNDRED = 6, 100
SWEEP = (
    *("experiment=digits", "search=sobol", "search.baselines=[]", "search.reference.calibrated_reuse_accuracy=0.5"),
    *("sweep.concurrency=2", "tracking=none"),
)
SHARES = [name for name, metric in METRICS.items() if metric.kind == SHARE]
POINT = {"stage": CUT, "split": "validation", "reuse_images": 1000, "reuse_subsets": 100, "flops": 0.5, "floored": 0}


def instant_trial(trial: Trial, data: Any, *, report: Report) -> None:
    """Write what a trial writes, without training."""
    store, rows = DeltaStore(trial.root), rows_of(trial)
    store.append("trials", [rows["trials"][0]])
    for epoch in range(1, EPOCHS + 1):
        report({"epoch": epoch, "epochs": EPOCHS, "loss": 1.0, "terms": {}})
    for table in ("epochs", "points"):
        store.append(table, rows[table])
    store.append("trials", [rows["trials"][1]])


def rows_of(trial: Trial) -> dict[str, list[dict[str, Any]]]:
    """The rows of a trial after its proposal: two events, some epochs, and a surface of points drawn at random."""
    key, draw = {"sweep_id": trial.sweep_id, "trial_id": trial.trial_id}, random.Random(trial.number)
    spent = {"seconds": 0.0, "evaluation_seconds": 0.0}
    return {
        "trials": [
            trial_event(trial.sweep_id, trial, Status.STARTED, attempt=1, now=utc_now()),
            trial_event(trial.sweep_id, trial, Status.FINISHED, attempt=1, now=utc_now(), **spent),
        ],
        "epochs": [{**key, "epoch": epoch, "loss": 1.0} for epoch in range(1, EPOCHS + 1)],
        "points": [
            {**key, **choice.columns, **POINT, **{name: draw.random() for name in SHARES}}
            for choice in grid(trial.config.evaluation)
        ],
    }


class Clocked(Progress):
    """Prints for each hundred trials what they took, and the processor time and memory of this process."""

    def __init__(self, window: int) -> None:
        super().__init__(Console(quiet=True))
        self._window = window
        self.rows: list[tuple[float, float, float]] = []
        self._ends: list[tuple[float, float, float]] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Look at the clocks after all that the sweep does by itself."""
        super().on_trial_complete(iteration, trials, trial, **info)
        memory = psutil.Process().memory_info().rss / 2**20
        self._ends.append((time.perf_counter(), time.process_time(), memory))
        if len(self._ends) == self._window:
            took, processor = ((self._ends[-1][place] - self._ends[0][place]) / (self._window - 1) for place in (0, 1))
            self.rows.append((took, processor, statistics.median(memory for *_, memory in self._ends)))
            last = trial.config["number"]
            cells = f"{took:.3f} | {processor:.3f} | {self.rows[-1][2]:.0f}"
            print(f"| {last - self._window + 1} to {last} | {cells} |", flush=True)
            self._ends = []


def run(options: argparse.Namespace, profile: cProfile.Profile) -> Clocked:
    """A sweep of instant trials, or of its first and its last hundred."""
    progress = Clocked(options.window)
    with tempfile.TemporaryDirectory() as storage:
        asked = [*SWEEP, f"sweep.trials={options.trials}", f"storage={storage}", *options.overrides]
        config, store = load_config(asked), DeltaStore(storage)
        sweep_id = claim_sweep(store, config, prefix="many", now=utc_now())
        with only_driver(storage, sweep_id, print) as lease:
            if options.ends:
                beginning = replace(config, sweep=replace(config.sweep, trials=options.window))
                run_trials(Proposals(beginning, sweep_id, store), progress, lease, options)
                write_between(Proposals(config, sweep_id, store), options.trials - options.window)
            if options.profile:
                profile.enable()
            run_trials(Proposals(config, sweep_id, store), progress, lease, options)
            profile.disable()
        print(f"{options.trials} trials, {store.read('points', sweep_id).num_rows} points")
    return progress


def run_trials(proposals: Proposals, progress: Clocked, lease: Lease, options: argparse.Namespace) -> None:
    """The trials that a sweep still has to train, by Ray Tune or here."""
    progress.begin(proposals.config, 2, proposals.front)
    if not options.without_ray:
        with connected() as may_grow:
            tuning.run_tracked = instant_trial  # type: ignore[assignment]
            storage = SharedStorage.here(proposals.config.storage)
            tuning.run_trials(proposals, ray.put(None), storage, lease, progress, may_grow=may_grow)
        return
    for _ in range(proposals.missing):
        run_trial(proposals, progress)


def run_trial(proposals: Proposals, progress: Clocked) -> None:
    """The next trial of a sweep, here."""
    number, coefficients = proposals.next()
    tune_trial: Any = SimpleNamespace(trial_id=str(number), config={"number": number, "coefficients": coefficients})
    progress.on_trial_start(0, [], tune_trial)
    instant_trial(trial_of(proposals, number, coefficients), None, report=lambda _: None)
    proposals.over(number, coefficients)
    progress.on_trial_complete(0, [], tune_trial)


def run_in_turns(options: argparse.Namespace) -> None:
    """The last trials of a sweep and the first of another one, in turns."""
    sweeps = []
    with contextlib.ExitStack() as stack:
        for begun in (options.trials - options.window, 0):
            storage = stack.enter_context(tempfile.TemporaryDirectory())
            asked = [*SWEEP, f"sweep.trials={begun + options.window}", f"storage={storage}", *options.overrides]
            config, store, progress = load_config(asked), DeltaStore(storage), Clocked(options.window)
            proposals = Proposals(config, claim_sweep(store, config, prefix="many", now=utc_now()), store)
            progress.begin(config, 2, proposals.front)
            for _ in range(begun):
                run_trial(proposals, progress)
            sweeps.append((proposals, progress))
        seconds: list[list[float]] = [[], []]
        for _ in range(options.window):
            for (proposals, progress), own in zip(sweeps, seconds, strict=True):
                started = time.process_time()
                run_trial(proposals, progress)
                own.append(time.process_time() - started)
    last, first = (statistics.mean(own) for own in seconds)
    print(f"in turns, processor seconds per trial: first {first:.3f}, last {last:.3f}, ratio {last / first:.2f}")
    medians = [statistics.median(own) for own in seconds]
    print(f"medians: first {medians[1]:.3f}, last {medians[0]:.3f}, ratio {medians[0] / medians[1]:.2f}")


def write_between(proposals: Proposals, end: int) -> None:
    """The rows of the trials up to a number, by hundreds."""
    draw, dimensions = random.Random(0), len(proposals.problem.space)
    for start in range(proposals.next_number, end, HUNDRED):
        rows: dict[str, list[dict[str, Any]]] = {}
        for number in range(start, min(start + HUNDRED, end)):
            coefficients = proposals.problem.from_unit([draw.random() for _ in range(dimensions)])
            trial = trial_of(proposals, number, coefficients)
            proposed = trial_event(proposals.sweep_id, trial, Status.PROPOSED, attempt=0, now=utc_now())
            for table, own in [("trials", [proposed]), *rows_of(trial).items()]:
                rows.setdefault(table, []).extend(own)
        for table, own in rows.items():
            proposals.store.append(table, own)


def trial_of(proposals: Proposals, number: int, coefficients: Coefficients) -> Trial:
    config = proposals.config.for_trial(number, coefficients)
    return Trial(proposals.sweep_id, number, coefficients, config, config.storage)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--window", type=int, default=HUNDRED)
    parser.add_argument("--without-ray", action="store_true")
    parser.add_argument("--in-turns", action="store_true")
    parser.add_argument("--ends", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()

    print(
        "| trials | s per trial | driver's processor, s per trial | driver's memory, MiB |\n|---|---|---|---|",
        flush=True,
    )
    if options.in_turns:
        run_in_turns(options)
        return
    profile = cProfile.Profile()
    progress = run(options, profile)
    if progress.rows:
        ratios = [last / first for first, last in zip(progress.rows[0], progress.rows[-1], strict=True)]
        print("| last : first | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
    if options.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)


if __name__ == "__main__":
    main()
