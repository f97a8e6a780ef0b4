"""Searches that train: what 20 trainings of `curve` find on real networks, among random draws of 20.

A search begins with the four baselines of a pool (search_pool.py) and then trains what is proposed, one after another,
as the pool's trainings were. What it found is the hypervolume of everything that it measured, on the product's
objectives and scales, up to the whole network of the standard training less 5 points. Random draws are the same
baselines with trainings of the pool. `curve` has the other network's experience: in the first five searches without
trainings that collapsed, in the next five with them (search_experience.py). ``run`` keeps each training in
``data/search_live_NETWORK.arrow`` when it ends, and goes on where it was; ``table`` prints the hypervolumes of the
searches that are complete, and the share of DRAWS random draws that are below each ("better than").

Needs MODA_DATA_DIR, and both pools. A quarter of an hour a search on one core.

Usage: python tests/benchmarks/search_live.py run [NETWORK SEARCHER SEED]
       python tests/benchmarks/search_live.py table
"""

import itertools
import statistics
import sys

import numpy as np
import torch
from result_rows import read_rows, write_rows
from search_emulator import METRIC, Floats, Ours, PoolProblem, live_file, read_live, read_pool
from search_pool import NETWORKS, TRAININGS, measured

from orchestrator.search.problem import Coefficients

LENGTH, DRAWS = 20, 10_000
FIRST, LATER = range(5), range(5, 10)  # searches, by the seed: experience without collapsed trainings, and with them
SEARCHERS = ("curve",)


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    if words == ["table"]:
        print_table()
    elif len(words) == 4:
        run_search(words[1], words[2], int(words[3]))
    else:
        for network, name, seed in itertools.product(NETWORKS, SEARCHERS, LATER):
            run_search(network, name, seed)


def first_trainings(network: str) -> list[tuple[Coefficients, Floats | None]]:
    """The coefficients and the surface of each training of the first searches; None for one that diverged."""
    trainings = read_live(network, PoolProblem(network).problem)
    return [(coefficients, surface_G) for search, coefficients, surface_G in trainings if search in FIRST]


def run_search(network: str, searcher: str, seed: int) -> None:
    """Run what is missing of a search; a row for each training that it asked for."""
    problem = PoolProblem(network)
    search = Ours(searcher, problem, seed)
    for coefficients, surface_G in zip(problem.baselines, problem.of_baselines.values(), strict=True):
        search.tell(coefficients, surface_G)
    about = {"network": network, "searcher": searcher, "search": seed}
    for number in range(len(problem.baselines), LENGTH):
        rows = read_rows(live_file(network))
        (row,) = [row for row in rows if row["number"] == number and about.items() <= row.items()] or [None]
        if row is None:
            coefficients = search.ask()
            of_target = {
                row["target"]: row[METRIC]
                for row in measured(network, coefficients, 1000 * (seed + 1) + number)
                if row.get("target") is not None
            }
            surface = [of_target[target] for target in problem.targets] if of_target else None
            row = {**about, "number": number, **coefficients, "surface": surface}
            write_rows(live_file(network), [*rows, row])
            print(f"{network} {searcher} {seed}: training {number + 1} of {LENGTH}", file=sys.stderr, flush=True)
        coefficients = {name: row[name] for name in problem.problem.space}
        search.tell(coefficients, None if row["surface"] is None else np.array(row["surface"]))


def print_table() -> None:
    """Hypervolumes of searches, and where they are among random draws of as many trainings."""
    rows = [row for network in NETWORKS for row in read_rows(live_file(network))]
    print("| network | searcher | experience | baselines | random, median | searches | better than | median |")
    print("|---|---|---|---|---|---|---|---|")
    groups = dict.fromkeys((row["network"], row["searcher"], row["search"] in FIRST) for row in rows)
    for network, searcher, is_first in groups:
        problem, pool = PoolProblem(network), read_pool(network)
        first = [*problem.of_baselines.values()]
        rng = np.random.default_rng(0)
        drawn = []
        for _ in range(DRAWS):
            numbers = rng.choice(TRAININGS, LENGTH - len(first), replace=False)
            drawn.append(problem.volume([*first, *(pool[number] for number in numbers if pool[number] is not None)]))
        volumes, shares = [], []
        for seed in FIRST if is_first else LATER:
            about = {"network": network, "searcher": searcher, "search": seed}
            mine = [row for row in rows if about.items() <= row.items()]
            if len(mine) < LENGTH - len(first):
                continue
            volumes.append(problem.volume([*first, *(np.array(row["surface"]) for row in mine if row["surface"])]))
            shares.append(float(np.mean(np.array(drawn) < volumes[-1])))
        if not volumes:
            continue
        found = " ".join(f"{volume:.4f}" for volume in volumes), " ".join(f"{share:.2f}" for share in shares)
        experience = f"{'without' if is_first else 'with'} collapsed trainings"
        cells = [f"{problem.volume(first):.4f}", f"{np.median(drawn):.4f}", *found, f"{statistics.median(shares):.3f}"]
        print(f"| {network} | {searcher} | {experience} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
