"""Processor seconds a curve proposal takes on one core, and its model against a Gaussian process of plain rows.

First a proposal with 20, 60 and 200 finished trials of 36 free choices and 8 pending ones, for 2, 3 and 4 objectives,
with the fit of the models and without (as when only the pending trials changed). Then the fit of one metric's model
against BoTorch's SingleTaskGP, to which every choice of every trial is a row, on as many trials as that one can take;
interleaved, median of several, as a ratio.

Usage: python tests/benchmarks/suggestion_time.py [--rows-trials 10]
Time: two minutes on one core.
"""

import argparse
import statistics
import time

import numpy as np
import pyarrow as pa
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood

from orchestrator.search import make_searcher
from orchestrator.search.problem import History, Problem
from orchestrator.search.surface_model import SurfaceModel, make_grid

SPACE = {name: {"low": 0.0, "high": 1.0} for name in ("alpha", "beta", "gamma")}
TAUS, THRESHOLDS = np.linspace(0.1, 0.9, 9).tolist(), [0.0, 0.1, 0.2, 0.3]
METRICS = ("f0", "f1", "f2", "f3")


def surfaces(x_ND: np.ndarray) -> np.ndarray:
    """Smooth metrics (N, G, 4) of which none is best where another is, with a little noise a trial."""
    rng = np.random.default_rng(0)
    tau, threshold = (grid.ravel() for grid in np.meshgrid(TAUS, THRESHOLDS, indexing="ij"))
    centres = rng.random((4, 3))
    far = np.square(x_ND[:, None, None] - centres).sum(-1)
    slopes = np.stack([tau, 1 - tau, threshold, (1 - threshold) * tau], -1)
    return far + 0.3 * slopes + 0.02 * rng.normal(size=(len(x_ND), 1, 4))


def known(trials: int, problem: Problem) -> History:
    """That many finished trials."""
    x_ND = np.random.default_rng(1).random((trials, 3))
    values, names = surfaces(x_ND), list(SPACE)
    rows = [
        {"trial_id": f"t-{n:04d}", "number": n, "status": "finished", **dict(zip(names, x.tolist(), strict=True))}
        for n, x in enumerate(x_ND)
    ]
    points = [
        {**row, **choice, **dict(zip(METRICS, values[n, g].tolist(), strict=True))}
        for n, row in enumerate(rows)
        for g, choice in enumerate(problem.choices)
    ]
    return History(pa.Table.from_pylist(rows), pa.Table.from_pylist(points))


def seconds(action) -> float:  # type: ignore[no-untyped-def]
    started = time.process_time()  # what else the machine does counts less than in time passed
    action()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows-trials", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| objectives | trials | a proposal, s | with models fitted before, s |\n|---|---|---|---|")
    pending = [dict(zip(SPACE, x, strict=True)) for x in np.random.default_rng(2).random((8, 3)).tolist()]
    for count in (2, 3, 4):
        problem = Problem(
            SPACE,
            {"tau": TAUS, "threshold": THRESHOLDS},
            dict.fromkeys(METRICS[:count], "min"),
            reference=dict.fromkeys(METRICS, 1.5),
        )
        for trials in (20, 60, 200):
            history = known(trials, problem)
            times = []
            for _ in range(3):
                searcher = make_searcher("curve", problem)
                times.append(
                    [seconds(lambda s=searcher, h=history, t=trials: s.propose(h, pending, t)) for _ in range(2)]
                )
            first, again = (statistics.median(column) for column in zip(*times, strict=True))
            print(f"| {count} | {trials} | {first:.2f} | {again:.2f} |", flush=True)
    problem = Problem(SPACE, {"tau": TAUS, "threshold": THRESHOLDS}, {"f0": "min", "f1": "min"})
    x_ND = torch.from_numpy(np.random.default_rng(1).random((arguments.rows_trials, 3)))
    y_NG = torch.from_numpy(surfaces(x_ND.numpy()))[..., 0].contiguous()
    choices = torch.tensor([[one["tau"], one["threshold"]] for one in problem.choices], dtype=torch.float64)
    rows = torch.cat([x_ND.repeat_interleave(len(choices), 0), choices.repeat(len(x_ND), 1)], 1)

    def fit_rows() -> None:
        model = SingleTaskGP(rows, (y_NG.reshape(-1, 1) - y_NG.mean()) / y_NG.std())
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))

    grid = make_grid(problem.choices)
    ratios = []
    for _ in range(3):
        ours = seconds(lambda: SurfaceModel.fit(x_ND, y_NG, grid, [False] * 3))
        ratios.append(ours / seconds(fit_rows))
    print(
        f"\nfit of one metric, {len(x_ND)} trials x {len(choices)} choices: ours / rows {statistics.median(ratios):.4f}"
    )


if __name__ == "__main__":
    main()
