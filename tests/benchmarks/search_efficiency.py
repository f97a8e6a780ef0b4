"""How much of the true front a searcher finds with 10, 20 and 40 evaluations, on problems whose front is known.

Our searchers propose coefficients and see the whole surface of an evaluation, over the knots of the free parameter.
Their rivals have it as one more dimension, continuous, and an evaluation is one point: Ray Tune's OptunaSearch with two
samplers, Ax with the reference as objective thresholds, and random points. All run in this process, one evaluation at
a time; a searcher's archive is every point that it has seen. The problems are in search_problems.py.

Prints a table on stdout and progress on stderr: hypervolume of the archive over that of the true front, mean and
standard deviation over the seeds, and the median seconds of a suggestion in the second half of a search. A share that
cannot be is an error. Rivals do not know knots: their tau_6 and tau_21 are the same.

Needs the extra [bench] for Ax, which is left out, and said so, where it is not installed.
Usage: python tests/benchmarks/search_efficiency.py [--searchers sobol ax] [--problems zdt1 tau_6] [--seeds 5]
       [--evaluations 10 20 40] [--out file.json]
Time: hours for everything on one core; seconds for sobol and random, a minute a run for the GPs and Ax.
"""

import argparse
import importlib.util
import json
import logging
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from search_problems import PROBLEMS, KnownProblem

from orchestrator.search import SEARCHERS, make_searcher
from orchestrator.search.pareto import hypervolume
from orchestrator.search.problem import History

TOLERANCE = 1e-5  # of the known hypervolumes, which are given to six digits

Point = dict[str, float]


class Method(Protocol):
    """Something that proposes and is told."""

    def ask(self) -> list[Point]:
        """The points of the next evaluation: one, or a surface."""
        ...

    def tell(self, points: list[Point], values: list[tuple[float, ...]]) -> None:
        """What the evaluation found."""
        ...


class Ours:
    """A searcher of this project behind its History."""

    def __init__(self, name: str, problem: KnownProblem, seed: int) -> None:
        self.problem = problem
        self.stated = problem.stated(seed)
        self.searcher = make_searcher(name, self.stated)
        self.trials: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []

    def ask(self) -> list[Point]:
        history = History(pa.Table.from_pylist(self.trials), pa.Table.from_pylist(self.rows))
        coefficients = self.searcher.propose(history, [], len(self.trials))
        number = len(self.trials)
        self.trials.append({"trial_id": f"t-{number}", "number": number, "status": "finished", **coefficients})
        return [{**coefficients, **choice} for choice in self.stated.choices]

    def tell(self, points: list[Point], values: list[tuple[float, ...]]) -> None:
        for point, found in zip(points, values, strict=True):
            metrics = dict(zip(self.problem.metrics, found, strict=True))
            self.rows.append({"trial_id": self.trials[-1]["trial_id"], **point, **metrics})


class RandomPoints:
    """Uniform points, the free parameter a dimension."""

    def __init__(self, problem: KnownProblem, seed: int) -> None:
        self.names = [*problem.names, *problem.free]
        self.generator = np.random.default_rng(seed)

    def ask(self) -> list[Point]:
        return [dict(zip(self.names, self.generator.random(len(self.names)).tolist(), strict=True))]

    def tell(self, points: list[Point], values: list[tuple[float, ...]]) -> None:
        pass


class RayOptuna:
    """Ray Tune's OptunaSearch, the free parameter a dimension."""

    def __init__(self, sampler: str, problem: KnownProblem, seed: int) -> None:
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.metrics = problem.metrics
        self.search = OptunaSearch(
            space={name: optuna.distributions.FloatDistribution(0, 1) for name in (*problem.names, *problem.free)},
            metric=problem.metrics,
            mode=["min"] * problem.objectives,
            sampler=getattr(optuna.samplers, sampler)(seed=seed),
        )
        self.count = 0

    def ask(self) -> list[Point]:
        self.count += 1
        return [dict(self.search.suggest(str(self.count)))]

    def tell(self, points: list[Point], values: list[tuple[float, ...]]) -> None:
        self.search.on_trial_complete(str(self.count), dict(zip(self.metrics, values[0], strict=True)))


class Ax:
    """Ax with its own choice of strategy, the free parameter a dimension, the reference as objective thresholds."""

    def __init__(self, problem: KnownProblem, seed: int) -> None:
        from ax.api.client import Client
        from ax.api.configs import RangeParameterConfig

        self.metrics = problem.metrics
        self.client = Client(random_seed=seed)
        names = (*problem.names, *problem.free)
        self.client.configure_experiment([RangeParameterConfig(name, (0.0, 1.0), "float") for name in names])
        self.client.configure_optimization(
            ", ".join(f"-{name}" for name in problem.metrics), [f"{name} <= 1.1" for name in problem.metrics]
        )
        self.index = -1

    def ask(self) -> list[Point]:
        ((self.index, parameters),) = self.client.get_next_trials(1).items()
        return [{name: float(str(value)) for name, value in parameters.items()}]

    def tell(self, points: list[Point], values: list[tuple[float, ...]]) -> None:
        self.client.complete_trial(self.index, dict(zip(self.metrics, values[0], strict=True)))


RIVALS: dict[str, Callable[[KnownProblem, int], Method]] = {
    "random_points": RandomPoints,
    "ray_optuna_tpe": lambda problem, seed: RayOptuna("TPESampler", problem, seed),
    "ray_optuna_gp": lambda problem, seed: RayOptuna("GPSampler", problem, seed),
    "ax": Ax,
}


def run(name: str, problem: KnownProblem, seed: int, evaluations: list[int]) -> dict[str, Any]:
    """One search: its shares of the true hypervolume at each number of evaluations, and how long a suggestion took."""
    method = RIVALS[name](problem, seed) if name in RIVALS else Ours(name, problem, seed)
    archive: list[tuple[float, ...]] = []
    seconds, shares = [], {}
    for count in range(1, max(evaluations) + 1):
        start = time.perf_counter()
        points = method.ask()
        seconds.append(time.perf_counter() - start)
        values = [problem.evaluate(point) for point in points]
        method.tell(points, values)
        archive += values
        if count in evaluations:
            shares[count] = share(problem, archive)
    return {"shares": shares, "seconds": statistics.median(seconds[len(seconds) // 2 :])}


def share(problem: KnownProblem, archive: list[tuple[float, ...]]) -> float:
    """Of the true hypervolume. No archive has more than all of it, and none of 20 points more than the best 20."""
    found = hypervolume(archive, ["min"] * problem.objectives, [1.1] * problem.objectives)
    assert found <= problem.hypervolume + TOLERANCE, f"{found} is more than the front's {problem.hypervolume}"
    if problem.best_of_20 is not None and len(archive) <= 20:
        assert found <= problem.best_of_20 + TOLERANCE, f"{found} is more than 20 points can have"
    return found / problem.hypervolume


def print_table(rows: list[Mapping[str, Any]], evaluations: list[int]) -> None:
    """A Markdown line for each problem and searcher."""
    print(f"| problem | searcher | seeds | {' | '.join(f'share at {one}' for one in evaluations)} | s a suggestion |")
    print("|---" * (4 + len(evaluations)) + "|")
    for problem, name in dict.fromkeys((row["problem"], row["searcher"]) for row in rows):
        mine = [row for row in rows if (row["problem"], row["searcher"]) == (problem, name)]
        cells = []
        for count in evaluations:
            found = [row["shares"][count] for row in mine]
            cells.append(f"{statistics.mean(found):.3f} ± {statistics.stdev(found) if len(found) > 1 else 0:.3f}")
        seconds = statistics.median(row["seconds"] for row in mine)
        print(f"| {problem} | {name} | {len(mine)} | {' | '.join(cells)} | {seconds:.3g} |")


def parse() -> argparse.Namespace:
    """The command line."""
    names = [*SEARCHERS, *RIVALS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--searchers", nargs="+", choices=names, default=names)
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", nargs="+", type=int, default=[10, 20, 40])
    parser.add_argument("--out", type=Path, help="a JSON file for the rows behind the table")
    return parser.parse_args()


def main() -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    arguments = parse()
    searchers = list(arguments.searchers)
    if "ax" in searchers and importlib.util.find_spec("ax") is None:
        print("ax is left out: pip install -e '.[bench]'", file=sys.stderr)
        searchers.remove("ax")
    rows: list[dict[str, Any]] = []
    for key in arguments.problems:
        for name in searchers:
            for seed in range(arguments.seeds):
                found = run(name, PROBLEMS[key], seed, arguments.evaluations)
                rows.append({"problem": key, "searcher": name, "seed": seed, **found})
                shares = " ".join(f"{one:.3f}" for one in found["shares"].values())
                print(f"{key} {name} seed {seed}: {shares}, {found['seconds']:.3g} s a suggestion", file=sys.stderr)
                if arguments.out:
                    arguments.out.write_text(json.dumps(rows, indent=1))
    print_table(rows, arguments.evaluations)


if __name__ == "__main__":
    main()
