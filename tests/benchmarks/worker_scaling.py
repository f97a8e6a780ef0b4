"""How much faster a training is with two workers than with one: `moda train` on two cores, one torch thread a worker.

Trainings of one and of two workers take turns, at the same batch size, which the two share. What counts is the time of
an epoch, without the first one, in which networks are traced and memory is touched for the first time. Prints images
per second of both and the ratio, for each repeat, and the median ratio; 2 would be perfect.

Usage: python tests/benchmarks/worker_scaling.py [--repeats 3] [override ...]
Time: 4 minutes on 2 CPU cores. Needs MODA_DATA_DIR.
"""

import argparse
import statistics
import tempfile

from rich.console import Console

from orchestrator.config.composing import load_config
from orchestrator.runs.train import train_one
from orchestrator.storage.delta import DeltaStore

TRAINING = (
    *("model=vgg_small", "data=cifar10_table", "data.limit=5000", "data.test_limit=100", "training.epochs=4"),
    *("training.batch_size=128", "training.precision=float32", "evaluation.pairs=100", "tracking=none"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    ratios = []
    for repeat in range(options.repeats):
        one, two = (images_per_second(workers, options.overrides) for workers in (1, 2))
        ratios.append(two / one)
        print(f"repeat {repeat}: 1 worker {one:.0f}, 2 workers {two:.0f} images/s, ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f}")


def images_per_second(workers: int, overrides: list[str]) -> float:
    """Of the epochs after the first."""
    with tempfile.TemporaryDirectory() as storage:
        config = load_config([*TRAINING, *overrides, f"training.num_workers={workers}", f"storage={storage}"])
        train_one(config, Console(quiet=True))
        rows = DeltaStore(storage).read("epochs").to_pylist()
    images = config.data.limit * (1 - config.data.validation_fraction)
    return images / statistics.mean(row["seconds"] for row in rows if row["epoch"] > 1)


if __name__ == "__main__":
    main()
