"""Searchers on real trainings: a pool of Fashion-MNIST trainings, replayed.

The pool (data/fashion_pool.arrow) holds the whole validation surfaces of 64 quasi-random coefficient sets, trained once
(`moda sweep experiment=fashion_mnist_pool`). A searcher proposes coefficients anywhere in the space; what it gets is
the nearest training of the pool that it has not had yet. Hypervolume of all points it has seen, as a share of the whole
pool's, after 10, 20 and 30 trainings, over seeds.

Prints a table on stdout and progress on stderr; --plot writes the means and their spread as an HTML page.
Usage: python tests/benchmarks/search_replay.py [--searchers curve sobol] [--seeds 20] [--plot replay.html]
       python tests/benchmarks/search_replay.py --export STORAGE SWEEP     (make the pool anew from a finished sweep)
Time: 20 minutes on one core, most of it the Gaussian processes.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import torch

from orchestrator.results.records import history, read_sweep
from orchestrator.search import SEARCHERS, make_searcher
from orchestrator.search.pareto import hypervolume
from orchestrator.search.problem import History, Problem
from orchestrator.storage.delta import DeltaStore

POOL = Path(__file__).parent / "data" / "fashion_pool.arrow"
SPACE = {
    "alpha": {"low": 0.1, "high": 10.0, "log": True},
    "beta": {"low": 0.1, "high": 10.0, "log": True},
    "gamma": {"low": 0.01, "high": 3.0, "log": True},
}
OBJECTIVES = {"reuse_accuracy": "max", "cut_size": "min"}
REFERENCE = {"reuse_accuracy": 0.5, "cut_size": 1.0}
AFTER = (10, 20, 30)


def export(storage: str, sweep_id: str) -> None:
    """The validation points of a sweep's trials in the space, as the pool."""
    points = history(read_sweep(DeltaStore(storage), sweep_id)).points
    inside = [row for row in points.to_pylist() if Problem(SPACE, {}, OBJECTIVES).to_unit(row) is not None]
    published = {"alpha": 1.0, "beta": 1.0, "gamma": 0.3}
    table = pa.Table.from_pylist([row for row in inside if {name: row[name] for name in SPACE} != published])
    POOL.parent.mkdir(exist_ok=True)
    with (
        pa.OSFile(str(POOL), "wb") as sink,
        pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer,
    ):
        writer.write_table(table)
    print(f"{POOL}: {len(set(table['trial_id'].to_pylist()))} trainings, {len(table)} points")


def read_pool() -> dict[str, list[dict[str, float]]]:
    """The rows of each training."""
    with pa.memory_map(str(POOL)) as source:
        rows = pa.ipc.open_file(source).read_all().to_pylist()
    trainings: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        trainings.setdefault(row["trial_id"], []).append(row)
    return trainings


def make_problem(trainings: dict[str, list[dict[str, float]]], seed: int) -> Problem:
    """The search problem that the pool's sweep had."""
    first = next(iter(trainings.values()))
    values = {
        name: sorted({row[name] for row in first if row[name] is not None}) for name in ("tau", "threshold", "level")
    }
    free = [{name: values[name] for name in ("tau", "threshold")}, {"level": values["level"]}]
    return Problem(SPACE, free, OBJECTIVES, reference=REFERENCE, seed=seed)


def volume(rows: list[dict[str, float]]) -> float:
    """Hypervolume of points."""
    values = [[row[name] for name in OBJECTIVES] for row in rows]
    return hypervolume(values, list(OBJECTIVES.values()), list(REFERENCE.values()))


def replay(name: str, trainings: dict[str, list[dict[str, float]]], seed: int) -> list[float]:
    """Hypervolume after each training, as a share of the pool's."""
    problem = make_problem(trainings, seed)
    searcher = make_searcher(name, problem)
    places = {trial_id: np.array(problem.to_unit(rows[0])) for trial_id, rows in trainings.items()}
    whole = volume([row for rows in trainings.values() for row in rows])
    trials: list[dict[str, object]] = []
    points: list[dict[str, float]] = []
    shares = []
    for number in range(max(AFTER)):
        known = History(pa.Table.from_pylist(trials), pa.Table.from_pylist(points)) if trials else History()
        asked = np.array(problem.to_unit(searcher.propose(known, [], number)))
        chosen = min(places, key=lambda one: float(np.linalg.norm(places[one] - asked)))
        del places[chosen]
        row = {name: trainings[chosen][0][name] for name in SPACE}
        trials.append({"trial_id": chosen, "number": number, "status": "finished", "reason": None, **row})
        points += trainings[chosen]
        shares.append(volume(points) / whole)
    return shares


def plot(results: dict[str, np.ndarray], path: str) -> None:
    """Mean over the seeds with a band of one standard deviation of the mean."""
    figure = go.Figure()
    colors = ["#d62728", "#1f77b4", "#9467bd", "#7f7f7f", "#2ca02c"]
    for color, (name, shares) in zip(colors, results.items(), strict=False):
        x = list(range(1, shares.shape[1] + 1))
        mean, error = shares.mean(0), shares.std(0) / np.sqrt(len(shares))
        band = {"x": x + x[::-1], "y": [*(mean + error), *(mean - error)[::-1]]}
        figure.add_trace(
            go.Scatter(**band, fill="toself", line={"width": 0}, fillcolor=color, opacity=0.15, showlegend=False)
        )
        figure.add_trace(go.Scatter(x=x, y=mean, name=name, line={"color": color}))
    figure.update_layout(
        template="plotly_white", xaxis_title="trainings", yaxis_title="share of the whole pool's hypervolume",
        height=480, width=820, margin={"l": 70, "r": 20, "t": 20, "b": 50},
    )  # fmt: skip
    figure.update_yaxes(range=[0.95, 1.001])
    figure.write_html(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searchers", nargs="+", default=sorted(SEARCHERS), choices=sorted(SEARCHERS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--plot")
    parser.add_argument("--export", nargs=2, metavar=("STORAGE", "SWEEP"))
    arguments = parser.parse_args()
    if arguments.export:
        export(*arguments.export)
        return
    torch.set_num_threads(1)
    trainings, results = read_pool(), {}
    for name in arguments.searchers:
        started, runs = time.perf_counter(), []
        for seed in range(arguments.seeds):
            runs.append(replay(name, trainings, seed))
            print(
                f"{name} seed {seed}: {' '.join(f'{runs[-1][n - 1]:.4f}' for n in AFTER)}", file=sys.stderr, flush=True
            )
        results[name] = np.array(runs)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    print(f"{len(trainings)} trainings, {arguments.seeds} seeds; share of the pool's hypervolume, mean ± deviation\n")
    print("| searcher | " + " | ".join(f"after {n}" for n in AFTER) + " |\n|---|" + "---|" * len(AFTER))
    for name, shares in results.items():
        cells = [f"{shares[:, n - 1].mean():.4f} ± {shares[:, n - 1].std():.4f}" for n in AFTER]
        print(f"| {name} | " + " | ".join(cells) + " |")
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
