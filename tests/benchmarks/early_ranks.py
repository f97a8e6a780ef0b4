"""Whether early ranks agree with final ones: what search.early_stopping=pareto_halving would have cost.

Trains Sobol trials to their ends, nobody stopped; each one's surface is measured at the rungs as a sweep does (on one
image in three) and at the end (on all). At each rung the ranking of all trials is compared with the final one:
Spearman's and Kendall's rank correlation, and how many of the final best third would not have gone on. The last epoch
is the control: the same networks, measured as at a rung. Then, with each trial judged when it comes, in order of
number: who would have been stopped, the share of epochs saved, and the hypervolume that is left.

Usage: python tests/benchmarks/early_ranks.py [--data digits|fashion_mnist] [--trials 12] [--seeds 1]
Time: three minutes for digits on one core, 20 for Fashion-MNIST (2,000 images).
"""

import argparse
import math
import time

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr

from orchestrator.config.composing import load_config
from orchestrator.search import halving, make_searcher, scaled, scaled_reference
from orchestrator.search.pareto import hypervolume
from orchestrator.search.problem import History, Problem
from orchestrator.training.batches import Workers
from orchestrator.training.calibration import CrossFitting, second_half
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import grid, measure, prepare
from orchestrator.training.loop import choose_precision, train
from orchestrator.training.methods import make_method
from orchestrator.training.rungs import rungs_of, surface
from orchestrator.training.trial import make_network

FINAL = 0  # a key beside the epochs
REUSE_REFERENCE = 0.5  # the benchmark trains no baseline from which it would follow
COMMON = ["search.early_stopping=pareto_halving", "tracking=none"]
DATA = {
    "digits": ["experiment=digits"],
    "fashion_mnist": ["experiment=fashion_mnist", "data.limit=2000", "data.test_limit=200", "training.epochs=9"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", choices=DATA, default="digits")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(options.seeds):
        config = load_config([*DATA[options.data], *COMMON, f"search.seed={seed}", f"training.seed={seed}"])
        surfaces, seconds = trained(config, options.trials)
        print(f"{options.data}, seed {seed}, {options.trials} trials; seconds of training and of a rung: {seconds}")
        report(config, surfaces)


def trained(config, count):
    """By epoch (the rungs, the last one, and FINAL with all images): trial -> its points. And the mean seconds."""
    data = load_data(config.data)
    precision = choose_precision(config.training.precision, torch.device("cpu"))
    search = config.search
    space = {key: one.stated for key, one in sorted(search.space.items())}
    searcher = make_searcher("sobol", Problem(space, {}, {}, seed=search.seed))
    ends = [*(rung.epoch for rung in rungs_of(search, config.training.epochs)), config.training.epochs]
    surfaces = {epoch: {} for epoch in [*ends, FINAL]}
    training, judging = 0.0, 0.0
    for number in range(count):
        own = config.with_coefficients(searcher.propose(History(), [], number))
        network = make_network(own, data)
        options = {"num_classes": data.num_classes, "crop": own.data.crop, "flip": own.data.flip}
        name = f"{number:02d}"
        for epoch in train(network, data.train, own.training, make_method(own.method), precision=precision, **options):
            training += epoch.row["seconds"]
            end = epoch.row["epoch"]
            if end in ends:
                started = time.perf_counter()
                rows = surface(network, data, own, precision=precision, workers=Workers())
                judging += time.perf_counter() - started
                surfaces[end][name] = objectives(rows, search)
        evaluation, fitting = own.evaluation, CrossFitting(second_half(data.validation.labels, own.data.seed))
        ready = prepare(network, data, own, precision=precision)
        rows = measure(
            ready, data.validation, evaluation, split="validation", choices=grid(evaluation), calibration=fitting
        )
        surfaces[FINAL][name] = objectives(rows, search)
    return surfaces, f"{training / count:.2f}, {judging / count / len(ends):.2f}"


def objectives(rows, search):
    return scaled([[row[name] for name in search.objectives] for row in rows], search.scales)


def report(config, surfaces):
    search, directions = config.search, config.search.directions
    stated = search.reference_values({"reuse_accuracy": REUSE_REFERENCE})
    reference = scaled_reference(stated, search.scales, directions, []).tolist()
    last = config.training.epochs
    final = halving.ranking(surfaces[FINAL], directions, reference=reference)
    best = set(final[: math.ceil(len(final) / 3)])
    for epoch in [one for one in surfaces if one != FINAL]:
        early = halving.ranking(surfaces[epoch], directions, reference=reference)
        places = [early.index(name) for name in final]
        go_on = set(early[: math.ceil(len(early) / search.reduction)])
        print(
            f"  epoch {epoch} of {last}: Spearman {spearmanr(range(len(final)), places).statistic:.2f}, Kendall"
            f" {kendalltau(range(len(final)), places).statistic:.2f}; of the final best {len(best)},"
            f" {len(best - go_on)} would not have gone on (by chance {len(best) * (1 - len(go_on) / len(early)):.1f})"
        )
    spent = dict.fromkeys(sorted(final), last)
    for epoch in [one for one in surfaces if one not in (last, FINAL)]:
        there: dict[str, np.ndarray] = {}
        for name in [one for one, end in spent.items() if end == last]:
            there[name] = surfaces[epoch][name]
            if not halving.keeps(there, name, directions, reference=reference, reduction=search.reduction):
                spent[name] = epoch
    finished = [name for name, end in spent.items() if end == last]

    def volume(names):
        return hypervolume(np.concatenate([surfaces[FINAL][name] for name in names]), directions, reference)

    print(
        f"  in order of number: {len(finished)} finish, {len(best - set(finished))} of the final best {len(best)} are"
        f" stopped, {100 * (1 - sum(spent.values()) / (last * len(spent))):.0f} % of the epochs are saved, hypervolume"
        f" {volume(finished):.4f} of {volume(final):.4f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
