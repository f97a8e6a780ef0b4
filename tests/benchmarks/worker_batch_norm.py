"""What batch norm with statistics of each worker's own changes: one training on 1, 2 and 4 workers.

Prints a Markdown table for scikit-learn's digits, means and standard deviations over the seeds: accuracy, and module
size and reuse accuracy at tau 0.9 and threshold 0, on the test images. The global batch stays the same, so a worker's
statistics are those of a half or a quarter of it; everything else in a training is the same to rounding.

Usage: python tests/benchmarks/worker_batch_norm.py [epochs]
Time: about 3 minutes for 10 epochs on 2 cores.
"""

import os
import statistics
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.training.batches import Workers
from orchestrator.training.calibration import StoredBiases
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import measure, prepare
from orchestrator.training.loop import train
from orchestrator.training.methods import make_method
from orchestrator.training.trial import make_network

WORLDS, SEEDS, CHOICE = (1, 2, 4), range(6), Choice.activity(0.9, 0.0)
METRICS = ("accuracy", "cut_size", "reuse_accuracy")


def run(rank: int, world: int, folder: str, epochs: int) -> None:
    """All trainings of one worker; the first one of a world keeps the metrics."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store-{world}", rank=rank, world_size=world)
    workers = Workers(rank, world)
    found = []
    for seed in SEEDS:
        config = load_config(
            [
                *("method=moda_published", f"training.epochs={epochs}", f"training.seed={seed}"),
                *(f"training.num_workers={world}", "tracking=none"),
            ]
        )
        data = load_data(config.data)
        network = make_network(config, data)
        options = {"crop": config.data.crop, "flip": config.data.flip, "workers": workers}
        for _ in train(
            network, data.train, config.training, make_method(config.method), num_classes=data.num_classes, **options
        ):
            pass
        trained = prepare(network, data, config, workers=workers)
        if rank == 0:
            found += measure(
                trained, data.test, config.evaluation, split="test", choices=[CHOICE], calibration=StoredBiases({})
            )
    if rank == 0:
        torch.save([[row[name] for name in METRICS] for row in found], f"{folder}/{world}.pt")
    dist.destroy_process_group()


def main(epochs: int) -> None:
    """Every world in turn."""
    print(f"digits, {epochs} epochs, MODA, {len(SEEDS)} seeds\n")
    print("| workers | samples a worker | accuracy | module size | reuse accuracy |\n|---|---|---|---|---|", flush=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    batch = load_config([]).training.batch_size
    with tempfile.TemporaryDirectory() as folder:
        for world in WORLDS:
            mp.spawn(run, args=(world, folder, epochs), nprocs=world)
            columns = zip(*torch.load(f"{folder}/{world}.pt", weights_only=True), strict=True)
            cells = [f"{statistics.mean(one):.4f} ± {statistics.stdev(one):.4f}" for one in columns]
            print(f"| {world} | {batch // world} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
