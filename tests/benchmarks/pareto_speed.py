"""Front and hypervolume of many points, and a decision at a rung: ours beside plain NumPy and beside BoTorch.

Points of 2 and 3 metrics: uniform in a cube, of which few are on the front, and on a sphere, where every one is on it.
The alternatives run on fewer points: for the front, comparing every point with all others in NumPy, and BoTorch's
is_non_dominated; for the hypervolume BoTorch's, in Python, of the front. All must give the same.

Prints three Markdown tables. First ours at 100,000 points in seconds. Then the alternatives at 1,000 points, in
seconds, and the ratios alternative / ours. Last the seconds of one decision at a rung of 32, 128 and 512 trials with
120 points each, none of which another point of its trial dominates. Medians of 5 interleaved rounds, after one that
warms up.

Usage: python tests/benchmarks/pareto_speed.py
Time: about 2 minutes on one core
"""

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume
from botorch.utils.multi_objective.pareto import is_non_dominated

from orchestrator.search.halving import keeps
from orchestrator.search.pareto import Floats, contributions, hypervolume, on_front, ranks

MANY, FEW, ROUNDS, SURFACE = 100_000, 1_000, 5, 120
REFERENCE = 1.1


def cube(count: int, metrics: int) -> Floats:
    return np.random.default_rng(0).random((count, metrics))


def sphere(count: int, metrics: int) -> Floats:
    values = cube(count, metrics)
    return 1 - values / np.linalg.norm(values, axis=1, keepdims=True)


KINDS = {"cube": cube, "sphere": sphere}


def all_pairs(values_PM: Floats) -> np.ndarray:
    """The front, a row at a time, so that memory stays small."""
    return np.array([not ((values_PM <= row).all(1) & (values_PM < row).any(1)).any() for row in values_PM])


def botorch_front(values_PM: Floats) -> np.ndarray:
    return is_non_dominated(torch.from_numpy(-values_PM), deduplicate=False).numpy()


def botorch_volume(values_PM: Floats) -> float:
    points = torch.from_numpy(-values_PM)
    reference = torch.full((values_PM.shape[1],), -REFERENCE, dtype=torch.float64)
    return float(Hypervolume(reference).compute(points[is_non_dominated(points)]))


def medians(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of each call, over interleaved rounds; one round before them warms up."""
    times: dict[str, list[float]] = {title: [] for title in calls}
    for repeat in range(ROUNDS + 1):
        for title, call in calls.items():
            started = time.perf_counter()
            call()
            if repeat:
                times[title].append(time.perf_counter() - started)
    return {title: statistics.median(found) for title, found in times.items()}


def ours(values_PM: Floats) -> dict[str, Callable[[], object]]:
    directions, reference = ["min"] * values_PM.shape[1], [REFERENCE] * values_PM.shape[1]
    return {
        "front": lambda: on_front(values_PM, directions),
        "hypervolume": lambda: hypervolume(values_PM, directions, reference),
        "contributions": lambda: contributions(values_PM, directions, reference),
        "ranks": lambda: ranks(values_PM, directions),
    }


def print_many() -> None:
    print(f"\n{MANY:,} points, seconds\n")
    print("| metrics | points | on the front | front | hypervolume | contributions | ranks |")
    print("|---" * 7 + "|")
    for metrics in (2, 3):
        for kind, make in KINDS.items():
            values_PM = make(MANY, metrics)
            found = medians(ours(values_PM))
            cells = [f"{seconds:.3f}" for seconds in found.values()]
            size = int(on_front(values_PM, ["min"] * metrics).sum())
            print(f"| {metrics} | {kind} | {size:,} | " + " | ".join(cells) + " |", flush=True)


def print_few() -> None:
    print(f"\n{FEW:,} points: seconds of the alternatives (times ours)\n")
    print("| metrics | points | front, all pairs | front, BoTorch | hypervolume, BoTorch |")
    print("|---" * 5 + "|")
    for metrics in (2, 3):
        for kind, make in KINDS.items():
            values_PM = make(FEW, metrics)
            own = ours(values_PM)
            others: dict[str, Callable[[], object]] = {
                "all pairs": lambda values_PM=values_PM: all_pairs(values_PM),
                "BoTorch front": lambda values_PM=values_PM: botorch_front(values_PM),
                "BoTorch volume": lambda values_PM=values_PM: botorch_volume(values_PM),
            }
            mask = own["front"]()
            assert np.array_equal(mask, all_pairs(values_PM))
            assert np.array_equal(mask, botorch_front(values_PM))
            assert np.isclose(own["hypervolume"](), botorch_volume(values_PM))
            found = medians({"front": own["front"], "hypervolume": own["hypervolume"], **others})
            beside = {"all pairs": "front", "BoTorch front": "front", "BoTorch volume": "hypervolume"}
            cells = [f"{found[title]:.4f} ({found[title] / found[same]:.0f})" for title, same in beside.items()]
            print(f"| {metrics} | {kind} | " + " | ".join(cells) + " |", flush=True)


def print_rungs() -> None:
    print(f"\nA decision at a rung, {SURFACE} points a trial, seconds\n\n| metrics | trials | seconds |\n|---|---|---|")
    for metrics in (2, 3):
        for trials in (32, 128, 512):
            # Surfaces that cross: pieces of spheres, a radius each.
            radii = np.random.default_rng(1).uniform(0.9, 1.0, trials)
            pieces = np.split(sphere(trials * SURFACE, metrics), trials)
            surfaces = {
                f"{i:04d}": 1 - (1 - piece) * radius
                for i, (piece, radius) in enumerate(zip(pieces, radii, strict=True))
            }
            directions, reference = ["min"] * metrics, [REFERENCE] * metrics

            def decide(surfaces=surfaces, directions=directions, reference=reference) -> bool:
                return keeps(surfaces, "0000", directions, reference=reference, reduction=3)

            print(f"| {metrics} | {trials} | {medians({'decide': decide})['decide']:.3f} |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    print_many()
    print_few()
    print_rungs()


if __name__ == "__main__":
    main()
