"""Rows a second that writers append at once, and seconds of a front query: Delta tables beside plain Parquet files.

Writers are processes that wait for each other and then append to one sweep's epochs, each 10 times 100 rows of its own.
A front query reads a sweep's points and takes the front of reuse accuracy and module size; the points were appended by
10,000, and Delta is asked before and after its files were put together.

Prints two Markdown tables with the ratios Delta : Parquet (of seconds; above 1 Delta is slower). Medians of interleaved
rounds; the queries have one more that warms up.

Usage: python tests/benchmarks/store.py [--writers 1 4 10] [--points 10000 100000 1000000] [--rounds 5]
Time: one minute with --writers 1 4 --points 10000 30000 --rounds 3; most of the whole is appending the million
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier

import numpy as np
from parquet_store import ParquetStore

from orchestrator.search.pareto import on_front
from orchestrator.storage.delta import DeltaStore
from orchestrator.storage.tables import ResultStore

APPENDS, ROWS, PART = 10, 100, 10_000
STORES: dict[str, Callable[[str], ResultStore]] = {"Delta": DeltaStore, "Parquet": ParquetStore}


def write(name: str, root: str, worker: int, barrier: Barrier) -> None:
    store = STORES[name](root)
    barrier.wait()
    for start in range(0, APPENDS * ROWS, ROWS):
        trial = {"sweep_id": "s", "trial_id": f"s-{worker}"}
        store.append("epochs", [{**trial, "epoch": epoch, "loss": 0.5} for epoch in range(start, start + ROWS)])
    barrier.wait()


def seconds_of_writers(name: str, count: int) -> float:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count + 1, timeout=600)
    with tempfile.TemporaryDirectory() as root:
        workers = [context.Process(target=write, args=(name, root, one, barrier)) for one in range(count)]
        for worker in workers:
            worker.start()
        barrier.wait()
        started = time.perf_counter()
        barrier.wait()
        taken = time.perf_counter() - started
        for worker in workers:
            worker.join()
        assert STORES[name](root).read("epochs", "s").num_rows == count * APPENDS * ROWS
    return taken


def append_points(store: ResultStore, count: int) -> None:
    """Trials of 100 taus on a sphere with noise, so that some points are on the front."""
    angles, noise = np.random.default_rng(0).random((2, count))
    for start in range(0, count, PART):
        rows = [
            {
                "sweep_id": "s",
                "trial_id": f"s-{one // 100:06d}",
                "tau": one % 100 / 100,
                "threshold": 0.0,
                "split": "validation",
                "reuse_accuracy": float(np.sin(angles[one]) * (1 - 0.1 * noise[one])),
                "cut_size": float(1 - np.cos(angles[one]) * (1 - 0.1 * noise[one])),
            }
            for one in range(start, min(start + PART, count))
        ]
        store.append("points", rows)


def front(store: ResultStore) -> int:
    points = store.read("points", "s")
    values = np.stack([points[name].to_numpy() for name in ("reuse_accuracy", "cut_size")], 1)
    return int(on_front(values, ["max", "min"]).sum())


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, nargs="*", default=[1, 4, 10])
    parser.add_argument("--points", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    print("| writers | Delta, rows/s | Parquet, rows/s | Delta : Parquet |\n|---|---|---|---|")
    for count in options.writers:
        rounds = [[seconds_of_writers(name, count) for name in STORES] for _ in range(options.rounds)]
        delta, parquet = (statistics.median(column) for column in zip(*rounds, strict=True))
        rows = count * APPENDS * ROWS
        print(f"| {count} | {rows / delta:.0f} | {rows / parquet:.0f} | {delta / parquet:.2f} |", flush=True)

    print(
        "\n| points | Delta, s | compacted, s | Parquet, s | Delta : Parquet | compacted : Parquet |\n"
        + "|---" * 6
        + "|"
    )
    for count in options.points:
        with tempfile.TemporaryDirectory() as root:
            delta_store, compacted_store, parquet_store = (
                DeltaStore(f"{root}/a"),
                DeltaStore(f"{root}/b"),
                ParquetStore(root),
            )
            stores: list[ResultStore] = [delta_store, compacted_store, parquet_store]
            for store in stores:
                append_points(store, count)
            compacted_store.compact("points")
            assert len({front(store) for store in stores}) == 1
            rounds = [[seconds(lambda store=store: front(store)) for store in stores] for _ in range(options.rounds)]
        delta, compacted, parquet = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(
            f"| {count} | {delta:.3f} | {compacted:.3f} | {parquet:.3f} | {delta / parquet:.2f} |"
            f" {compacted / parquet:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
