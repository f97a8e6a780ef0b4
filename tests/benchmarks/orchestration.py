"""What orchestration costs: a sweep's wall time over the training time that its slots had to do.

ratio = wall / (sum of the trials' training seconds / slots). 1 would be training and nothing else; the rest is starting
Ray and workers, counting and measuring, writing tables, tracking and the last slot waiting. Prints one line per repeat
and the median.
"""

import statistics
import tempfile
import time

from rich.console import Console

from orchestrator.config.composing import load_config
from orchestrator.runs.sweep import run_sweep
from orchestrator.views.progress import Progress

REPEATS = 3


def main() -> None:
    ratios = []
    for repeat in range(REPEATS):
        with tempfile.TemporaryDirectory() as storage:
            config = load_config(["experiment=digits", f"storage={storage}"])
            started = time.perf_counter()
            sweep = run_sweep(config, Progress(Console(quiet=True)))
            wall = time.perf_counter() - started
        training = sum(one.seconds or 0 for one in sweep.trials)
        evaluation = sum(one.evaluation_seconds or 0 for one in sweep.trials)
        slots = 2
        ratios.append(wall * slots / training)
        print(
            f"repeat {repeat}: {len(sweep.trials)} trials, wall {wall:.1f} s, training {training:.1f} s, evaluation"
            f" {evaluation:.1f} s ({100 * evaluation / training:.0f} %), ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
