"""Searches that train: what 20 trainings of `curve` find on real networks, among random draws of 20.

A search begins with the four baselines of a pool (search_pool.py) and then trains what is proposed, one after another,
as the pool's trainings were. What it found is the hypervolume of everything that it measured, on the product's
objectives and scales, up to the whole network of the standard training less 5 points. Random draws are the same
baselines with trainings of the pool. ``run`` appends a search's trainings to ``data/search_live.arrow``; ``table``
prints the hypervolumes, and the share of DRAWS random draws that are below each.

Needs MODA_DATA_DIR, and both pools. A quarter of an hour a search on one core.

Usage: python tests/benchmarks/search_live.py run [NETWORK SEARCHER SEED]
       python tests/benchmarks/search_live.py table
"""

import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from result_rows import read_rows, write_rows
from search_emulator import METRIC, Ours, PoolProblem, read_pool
from search_pool import NETWORKS, TRAININGS, measured

ROWS = Path(__file__).parent / "data" / "search_live.arrow"
LENGTH, SEEDS, DRAWS = 20, 5, 10_000
SEARCHERS = ("curve",)


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    if words == ["table"]:
        print_table()
    elif len(words) == 4:
        write_rows(ROWS, [*read_rows(ROWS), *rows_of(words[1], words[2], int(words[3]))])
    else:
        done = {(row["network"], row["searcher"], row["search"]) for row in read_rows(ROWS)}
        for key in [(network, name, seed) for network in NETWORKS for name in SEARCHERS for seed in range(SEEDS)]:
            if key not in done:
                write_rows(ROWS, [*read_rows(ROWS), *rows_of(*key)])


def rows_of(network: str, searcher: str, seed: int) -> list[dict]:
    """Run a search; a row for each training that it asked for."""
    problem = PoolProblem(network)
    search = Ours(searcher, problem, seed)
    for coefficients, surface_G in zip(problem.baselines, problem.of_baselines.values(), strict=True):
        search.tell(coefficients, surface_G)
    rows = []
    for number in range(len(problem.baselines), LENGTH):
        coefficients = search.ask()
        of_target = {
            row["target"]: row[METRIC]
            for row in measured(network, coefficients, 1000 * (seed + 1) + number)
            if row.get("target") is not None
        }
        surface = [of_target[target] for target in problem.targets] if of_target else None
        search.tell(coefficients, None if surface is None else np.array(surface))
        about = {"network": network, "searcher": searcher, "search": seed, "number": number}
        rows.append({**about, **coefficients, "surface": surface})
        print(f"{network} {searcher} {seed}: training {number + 1} of {LENGTH}", file=sys.stderr, flush=True)
    return rows


def print_table() -> None:
    """Hypervolumes of searches, and where they are among random draws of as many trainings."""
    rows = read_rows(ROWS)
    print(
        "| network | searcher | baselines | random, median | searches | better than (share of random draws) | median |"
    )
    print("|---|---|---|---|---|---|---|")
    for network, searcher in dict.fromkeys((row["network"], row["searcher"]) for row in rows):
        problem, pool = PoolProblem(network), read_pool(network)
        first = [*problem.of_baselines.values()]
        rng = np.random.default_rng(0)
        drawn = []
        for _ in range(DRAWS):
            numbers = rng.choice(TRAININGS, LENGTH - len(first), replace=False)
            drawn.append(problem.volume([*first, *(pool[number] for number in numbers if pool[number] is not None)]))
        volumes, shares = [], []
        for seed in sorted({row["search"] for row in rows if (row["network"], row["searcher"]) == (network, searcher)}):
            mine = [
                row for row in rows if (row["network"], row["searcher"], row["search"]) == (network, searcher, seed)
            ]
            volumes.append(problem.volume([*first, *(np.array(row["surface"]) for row in mine if row["surface"])]))
            shares.append(float(np.mean(np.array(drawn) < volumes[-1])))
        found = " ".join(f"{volume:.4f}" for volume in volumes), " ".join(f"{share:.2f}" for share in shares)
        cells = [f"{problem.volume(first):.4f}", f"{np.median(drawn):.4f}", *found, f"{statistics.median(shares):.2f}"]
        print(f"| {network} | {searcher} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
