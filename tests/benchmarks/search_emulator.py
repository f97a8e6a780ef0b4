"""Searchers on emulated trainings, whose truth is known.

An emulator is fitted to a pool of real trainings (search_pool.py): the accuracy at each target size as a function of
the coefficients, by Gaussian processes of the principal components of the surfaces, with a Matérn kernel, which no
searcher uses. The logit of an accuracy's share of CEILING is modelled, and a larger module is never worse, so that no
emulated training is better than trainings can be. There are three emulators for each network: the ``mean`` of these
processes; for each seed a function ``drawn`` from them, which has peaks and valleys where the pool has no trainings;
and one ``drawn_live`` from processes that are fitted to the trainings of live searches too (search_live.py), and so
know the corners where searches go and a Sobol sequence hardly does. Where trainings diverged or collapsed (a
classifier of trees says where) so do the emulator's.
What a training shows is the truth plus noise: a random mixture of the differences that trainings of the same
coefficients with two seeds have. The baselines are the pool's own. ``validate`` says how well trainings are predicted
that an emulator was not fitted to.

The criterion, written down before anything was run:

- What counts is the true hypervolume of everything trained, on the product's objectives and scales (calibrated reuse
  accuracy; the logarithm of the size), up to the reference that the product would take: the whole network of the
  standard training less 5 points, and size 1. Noise counts for nothing.
- Every searcher begins with the four baselines, which count as trainings.
- 20 seeds, the same drawn functions for all. A searcher is twice as good as random if its mean after 10 trainings is at
  least random's mean after 20, and after 20 at least random's after 40, on each emulator.

Searchers: those of the product, told whole surfaces, `curve` with the pool of the *other* network as its experience,
and from nothing; and as users of Ray Tune or Ax would search, with the target size as one more dimension, so that a
training is one point to them (all the same their trainings count with whole surfaces here, which no such user would
have).

``run`` appends to data/search_emulator.arrow and leaves out what is there; ``table`` prints means and their errors.

Usage: python tests/benchmarks/search_emulator.py validate
       python tests/benchmarks/search_emulator.py run [--searchers random curve] [--networks vgg] [--kinds drawn]
                                                      [--seeds 20] [--trainings 20]
       python tests/benchmarks/search_emulator.py table
Time: a second a proposal of `curve` on one core.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import result_rows
import torch
from scipy.stats import qmc, spearmanr
from search_pool import AGAIN, COMMON, EACH, NETWORKS, TRAININGS, planned, read_rows
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold

from orchestrator.config.composing import load_config
from orchestrator.declarations import MARGIN
from orchestrator.runs.proposals import search_problem
from orchestrator.search import POOLS, SEARCHERS, make_searcher
from orchestrator.search import dimension as dimensions
from orchestrator.search.pareto import hypervolume
from orchestrator.search.problem import Coefficients, History, Problem

Floats = npt.NDArray[np.float64]

RESULTS = Path(__file__).parent / "data" / "search_emulator.arrow"
LIVE = "drawn_live"
KINDS = ["mean", "drawn", LIVE]
COMPONENTS = 4  # principal components of surfaces
KNOTS = 1024
CEILING = 0.935  # of reuse accuracies: no training of the pools reaches it
COLLAPSED = 0.5  # a training that is not more accurate at any size collapsed
METRIC = "calibrated_reuse_accuracy"
UNINFORMED = "_from_nothing"  # of `curve`: without experience
OURS = [*SEARCHERS, f"curve{UNINFORMED}"]


def to_logits(accuracies: Floats) -> Floats:
    """The logits of shares of CEILING."""
    shares: Floats = np.clip(accuracies / CEILING, 1e-3, 1 - 1e-3)
    return np.log(shares / (1 - shares))


def to_accuracies(logits: Floats) -> Floats:
    """What :func:`to_logits` takes."""
    return CEILING / (1 + np.exp(-logits))


@dataclass(frozen=True)
class Process:
    """Surfaces over the unit cube: principal components that are Gaussian processes."""

    components: PCA
    models: list[GaussianProcessRegressor]

    @classmethod
    def fit(cls, x_ND: Floats, y_NG: Floats) -> "Process":
        z_NG = to_logits(y_NG)
        components = PCA(COMPONENTS).fit(z_NG)
        matern = ConstantKernel(1.0) * Matern(np.ones(x_ND.shape[1]), (0.3, 20.0), nu=1.5)
        kernel = matern + WhiteKernel(0.05, (1e-3, 1.0))
        regressor = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0)
        return cls(components, [clone(regressor).fit(x_ND, scores_N) for scores_N in components.transform(z_NG).T])

    def mean(self, x_TD: Floats) -> Floats:
        """(T, G) logits."""
        return self.components.inverse_transform(np.stack([model.predict(x_TD) for model in self.models], 1))

    def deviation(self, x_TD: Floats) -> Floats:
        """(T, G) standard deviations of what is observed, as logits."""
        each_TK = np.stack([model.predict(x_TD, return_std=True)[1] for model in self.models], 1)
        return np.sqrt(np.square(each_TK) @ np.square(self.components.components_))

    def drawn(self, seed: int) -> Callable[[Floats], Floats]:
        """A function from the posterior, exact at KNOTS places and interpolated by the process between them."""
        rng = np.random.default_rng([seed, 2])
        knots_KD = qmc.Sobol(self.models[0].X_train_.shape[1], rng=rng).random(KNOTS)
        interpolated = []
        for model in self.models:
            noise = model.kernel_.k2.noise_level * model._y_train_std**2
            mean_K, covariance_KK = model.predict(knots_KD, return_cov=True)
            covariance_KK[np.diag_indices(KNOTS)] -= noise * (1 - 1e-6)
            values_K = rng.multivariate_normal(mean_K, covariance_KK, check_valid="ignore", method="eigh")
            through = GaussianProcessRegressor(model.kernel_.k1, alpha=1e-6, optimizer=None, normalize_y=True)
            interpolated.append(through.fit(knots_KD, values_K))
        return Process(self.components, interpolated).mean


class PoolProblem:
    """The search problem of a network that there is a pool of.

    Args:
        network: whose pool.

    Attributes:
        baselines: the coefficients that come first.
        of_baselines: their surfaces, means over the seeds that the pool has of them, by :func:`problem_key`.
        problem: as the product states it to a searcher, with the reference of the pool's standard training.
        targets: the target sizes that surfaces are over.
    """

    def __init__(self, network: str) -> None:
        self.network = network
        config, pool = load_config([*COMMON, *EACH[network]]), read_pool(network)
        problem = search_problem(config)
        plan = [coefficients for coefficients, _ in planned(network)]
        first, count = TRAININGS + AGAIN if network in NETWORKS else 0, len(config.search.baselines)
        self.baselines = plan[first : first + count]
        surfaces = [
            np.mean([pool[number] for number in (place, place + count) if number in pool], axis=0)
            for place in range(first, first + count)
        ]
        self.of_baselines = dict(zip(map(problem_key, self.baselines), surfaces, strict=True))
        self.targets = sorted(choice["target"] for choice in problem.surface_choices if choice["target"] is not None)
        whole = [row["reuse_baseline"] for row in read_rows(network) if row["number"] == first + 1]
        self.problem = replace(problem, reference={METRIC: whole[0] - MARGIN, "cut_size": 1.0})

    def volume(self, surfaces: list[Floats]) -> float:
        """The hypervolume of surfaces."""
        points = [
            (accuracy, np.log10(size))
            for surface in surfaces
            for accuracy, size in zip(surface, self.targets, strict=True)
        ]
        return hypervolume(points, ["max", "min"], [self.problem.reference[METRIC], 0.0])


class Emulator(PoolProblem):
    """Trainings of one network.

    Args:
        network: whose pool.
        kind: one of KINDS.
        seed: of what is drawn.
    """

    def __init__(self, network: str, kind: str, seed: int = 0) -> None:
        super().__init__(network)
        problem, pool = self.problem, read_pool(network)
        plan = [coefficients for coefficients, _ in planned(network)]
        trained = [(plan[number], pool[number]) for number in range(TRAININGS) if number in pool]
        if kind == LIVE:
            trained += [(coefficients, surface_G) for _, coefficients, surface_G in read_live(network, problem)]
        learnt = [(coefficients, surface_G) for coefficients, surface_G in trained if succeeded(surface_G)]
        inside = [nearest(problem, coefficients) for coefficients in self.baselines]
        self.x_ND = np.array([problem.to_unit(coefficients) for coefficients, _ in learnt] + inside)
        self.y_NG = np.array([*(surface_G for _, surface_G in learnt), *self.of_baselines.values()])
        process = Process.fit(self.x_ND, self.y_NG)
        self.predict = process.mean if kind == "mean" else process.drawn(seed)
        pairs = [(number, TRAININGS + number) for number in range(AGAIN)]
        pairs = [pair for pair in pairs if all(number in pool and succeeded(pool[number]) for number in pair)]
        twice = [(to_logits(pool[one]), to_logits(pool[other])) for one, other in pairs]
        self.differences_KG = np.array([one - other for one, other in twice]) / np.sqrt(2)
        self.fails = _failures(problem, trained)

    def truth(self, coefficients: Coefficients) -> Floats | None:
        """(G,) accuracies at the target sizes; None where training fails."""
        if (measured := self.of_baselines.get(problem_key(coefficients))) is not None:
            return measured
        unit = np.array([self.problem.to_unit(coefficients)])
        if self.fails(unit):
            return None
        return np.maximum.accumulate(to_accuracies(self.predict(unit)[0]))

    def seen(self, truth_G: Floats, rng: np.random.Generator) -> Floats:
        """(G,) what a training shows of the truth."""
        mixture_K = rng.standard_normal(len(self.differences_KG)) / np.sqrt(len(self.differences_KG))
        return to_accuracies(to_logits(truth_G) + mixture_K @ self.differences_KG)


def nearest(problem: Problem, coefficients: Coefficients) -> list[float]:
    """The place in the unit cube that is nearest to coefficients, some of which are 0 outside the space."""
    kept = {name: dimensions.nearest(dimension, coefficients[name]) for name, dimension in problem.space.items()}
    unit = problem.to_unit(kept)
    assert unit is not None
    return unit


def problem_key(coefficients: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """What tells coefficients from others."""
    return tuple(sorted(coefficients.items()))


def read_pool(network: str) -> dict[int, Floats | None]:
    """Of each training its (G,) accuracies at the target sizes; None where it diverged."""
    surfaces: dict[int, dict[float, float]] = {}
    for row in read_rows(network):
        surface = surfaces.setdefault(row["number"], {})
        if row.get("target") is not None:
            surface[row["target"]] = row[METRIC]
    return {
        number: np.array([surface[target] for target in sorted(surface)]) if surface else None
        for number, surface in surfaces.items()
    }


def succeeded(surface_G: Floats | None) -> bool:
    """Whether a training neither diverged nor collapsed."""
    return surface_G is not None and bool(surface_G.max() > COLLAPSED)


def live_file(network: str) -> Path:
    """Where the trainings of live searches are kept."""
    return RESULTS.with_name(f"search_live_{network}.arrow")


def read_live(network: str, problem: Problem) -> list[tuple[int, Coefficients, Floats | None]]:
    """Of each training of a live search the search, the coefficients and the surface; None where it diverged."""
    return [
        (
            row["search"],
            {name: row[name] for name in problem.space},
            None if row["surface"] is None else np.array(row["surface"]),
        )
        for row in result_rows.read_rows(live_file(network))
    ]


def _failures(problem: Problem, trained: Sequence[tuple[Coefficients, Floats | None]]) -> Callable[[Floats], bool]:
    """Where trainings fail, by those that there are."""
    failed_N = np.array([not succeeded(surface_G) for _, surface_G in trained])
    if not failed_N.any():
        return lambda _: False
    model = ExtraTreesClassifier(500, random_state=0)
    model.fit(np.array([problem.to_unit(coefficients) for coefficients, _ in trained]), failed_N)
    return lambda unit: bool(model.predict(unit)[0])


class Ours:
    """A searcher of the product, told whole surfaces. ``curve`` knows the pools of other networks beforehand."""

    def __init__(self, name: str, of: PoolProblem, seed: int) -> None:
        others = tuple(pool for pool in POOLS if pool != of.network) if name == "curve" else ()
        self.of, self.problem = of, replace(of.problem, seed=seed, experience=others)
        self.searcher = make_searcher(name.removesuffix(UNINFORMED), self.problem)
        self.trials: list[dict[str, object]] = []
        self.points: list[dict[str, object]] = []

    def ask(self) -> Coefficients:
        number = len(self.trials) - len(self.of.baselines)
        known = History(pa.Table.from_pylist(self.trials), _as_table(self.points))
        return self.searcher.propose(known, [], number)

    def tell(self, coefficients: Coefficients, seen_G: Floats | None) -> None:
        name, number = f"t-{len(self.trials):03d}", len(self.trials)
        status = "diverged" if seen_G is None else "finished"
        self.trials.append({"trial_id": name, "number": number, "status": status, "reason": None, **coefficients})
        for target, accuracy in zip(self.of.targets, () if seen_G is None else seen_G, strict=False):
            choice = {**dict.fromkeys(self.problem.free_names), "target": target}
            self.points.append(
                {"trial_id": name, **coefficients, **choice, METRIC: float(accuracy), "cut_size": target}
            )


def _as_table(points: list[dict[str, object]]) -> pa.Table:
    """Points as the product's history has them: free parameters are numbers even where none is stated."""
    table = pa.Table.from_pylist(points)
    for index, column in enumerate(table.schema):
        if pa.types.is_null(column.type):
            table = table.set_column(index, column.name, table.column(index).cast(pa.float64()))
    return table


class PointByPoint:
    """Another library's search, to which the target size is one more dimension and a training one point. The baselines
    of the space come first, at the middle target."""

    def __init__(self, name: str, emulator: Emulator, seed: int) -> None:
        self.emulator = emulator
        self.sizes = np.log10(emulator.targets)
        units = [emulator.problem.to_unit(coefficients) for coefficients in emulator.baselines]
        first = [[*unit, self._place(float(np.median(self.sizes)))] for unit in units if unit is not None]
        self.search = (AxPoints if name == "ax" else RayOptuna)(len(emulator.problem.space) + 1, emulator, seed, first)
        self.asked: float | None = None

    def ask(self) -> Coefficients:
        *unit, self.asked = self.search.suggest()
        return self.emulator.problem.from_unit(unit)

    def tell(self, coefficients: Coefficients, seen_G: Floats | None) -> None:
        if self.asked is None:  # a baseline, which the library is to suggest; one outside the space it cannot be told
            if self.emulator.problem.to_unit(coefficients) is None:
                return
            *_, self.asked = self.search.suggest()
        size = self.sizes[0] + self.asked * (self.sizes[-1] - self.sizes[0])
        self.asked = None
        self.search.complete(None if seen_G is None else (float(np.interp(size, self.sizes, seen_G)), float(size)))

    def _place(self, size: float) -> float:
        return float((size - self.sizes[0]) / (self.sizes[-1] - self.sizes[0]))


class RayOptuna:
    """Ray Tune's OptunaSearch with its default sampler."""

    def __init__(self, dimensions: int, emulator: Emulator, seed: int, first: list[list[float]]) -> None:
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.names = [f"x{index}" for index in range(dimensions)]
        self.search = OptunaSearch(
            space={name: optuna.distributions.FloatDistribution(0, 1) for name in self.names},
            points_to_evaluate=[dict(zip(self.names, point, strict=True)) for point in first],
            metric=["accuracy", "size"],
            mode=["max", "min"],
            sampler=optuna.samplers.TPESampler(seed=seed),
        )
        self.count = 0

    def suggest(self) -> list[float]:
        self.count += 1
        found = self.search.suggest(str(self.count))
        return [float(found[name]) for name in self.names]

    def complete(self, values: tuple[float, float] | None) -> None:
        result = None if values is None else {"accuracy": values[0], "size": values[1]}
        self.search.on_trial_complete(str(self.count), result, error=values is None)


class AxPoints:
    """Ax with its own choice of strategy, the reference as objective thresholds."""

    def __init__(self, dimensions: int, emulator: Emulator, seed: int, first: list[list[float]]) -> None:
        from ax.api.client import Client
        from ax.api.configs import RangeParameterConfig

        self.names = [f"x{index}" for index in range(dimensions)]
        self.client, self.index, self.first = Client(random_seed=seed), 0, list(first)
        self.client.configure_experiment([RangeParameterConfig(name, (0.0, 1.0), "float") for name in self.names])
        floor = emulator.problem.reference[METRIC]
        self.client.configure_optimization("accuracy, -size", [f"accuracy >= {floor}", "size <= 0.0"])

    def suggest(self) -> list[float]:
        if self.first:
            point = self.first.pop(0)
            self.index = self.client.attach_trial(dict(zip(self.names, point, strict=True)))
            return point
        ((self.index, found),) = self.client.get_next_trials(1).items()
        return [float(str(found[name])) for name in self.names]

    def complete(self, values: tuple[float, float] | None) -> None:
        if values is None:
            self.client.mark_trial_failed(self.index)
        else:
            self.client.complete_trial(self.index, {"accuracy": values[0], "size": values[1]})


def search(name: str, emulator: Emulator, seed: int, trainings: int) -> list[float]:
    """The true hypervolume after each training, the baselines first."""
    method = Ours(name, emulator, seed) if name in OURS else PointByPoint(name, emulator, seed)
    rng = np.random.default_rng([seed, 1])
    truths, volumes = [], []
    for number in range(trainings):
        coefficients = emulator.baselines[number] if number < len(emulator.baselines) else method.ask()
        truth_G = emulator.truth(coefficients)
        method.tell(coefficients, None if truth_G is None else emulator.seen(truth_G, rng))
        truths += [] if truth_G is None else [truth_G]
        volumes.append(emulator.volume(truths))
    return volumes


def validate() -> None:
    """How well trainings that were left out (one eighth at a time) are predicted."""
    print("| network | trainings | failed | error of an accuracy (median) | R² | within 90 % | ranks of volumes |")
    print("|---|---|---|---|---|---|---|")
    for network in NETWORKS:
        if TRAININGS + AGAIN + 1 not in read_pool(network):
            continue
        emulator = Emulator(network, "mean")
        x_ND, y_NG = emulator.x_ND, emulator.y_NG
        guess_NG, within_NG = np.zeros_like(y_NG), np.zeros_like(y_NG)
        for kept, left in KFold(8, shuffle=True, random_state=0).split(x_ND):
            process = Process.fit(x_ND[kept], y_NG[kept])
            z_LG = process.mean(x_ND[left])
            guess_NG[left] = np.maximum.accumulate(to_accuracies(z_LG), axis=1)
            within_NG[left] = np.abs(z_LG - to_logits(y_NG[left])) < 1.645 * process.deviation(x_ND[left])
        error_NG = np.abs(guess_NG - y_NG)
        explained = 1 - np.square(error_NG).sum() / np.square(y_NG - y_NG.mean(0)).sum()
        within = within_NG.mean()
        volumes = [[emulator.volume([y_G]) for y_G in surfaces] for surfaces in (y_NG, guess_NG)]
        failed = sum(not succeeded(surface) for number, surface in read_pool(network).items() if number < TRAININGS)
        cells = [
            f"{np.median(error_NG):.3f}",
            f"{explained:.2f}",
            f"{within:.2f}",
            f"{spearmanr(*volumes).statistic:.2f}",
        ]
        print(f"| {network} | {len(x_ND)} | {failed} | {' | '.join(cells)} |")


def run(options: argparse.Namespace) -> None:
    """Run what is missing."""
    for network in options.networks:
        for kind in options.kinds:
            for seed in range(options.seeds):
                emulator = Emulator(network, kind, seed)
                for name in options.searchers:
                    about = {"network": network, "kind": kind, "searcher": name, "seed": seed}
                    rows = result_rows.read_rows(RESULTS)
                    there = [row for row in rows if all(row[key] == value for key, value in about.items())]
                    if len(there) >= options.trainings:
                        continue
                    volumes = search(name, emulator, seed, options.trainings)
                    rows = [row for row in rows if row not in there]
                    rows += [{**about, "trainings": count, "volume": value} for count, value in enumerate(volumes, 1)]
                    result_rows.write_rows(RESULTS, rows)
                    print(f"{network} {kind} {name} {seed}: {volumes[-1]:.4f}", file=sys.stderr, flush=True)


def print_table() -> None:
    """Mean true hypervolumes and their standard errors."""
    rows = result_rows.read_rows(RESULTS)
    print("| network | emulator | searcher | seeds | after 10 | after 20 | after 40 |\n|---|---|---|---|---|---|---|")
    for key in dict.fromkeys((row["network"], row["kind"], row["searcher"]) for row in rows):
        own = [row for row in rows if (row["network"], row["kind"], row["searcher"]) == key]
        cells = []
        for count in (10, 20, 40):
            found = [row["volume"] for row in own if row["trainings"] == count]
            cells.append(f"{np.mean(found):.4f} ± {np.std(found) / len(found) ** 0.5:.4f}" if found else "-")
        print(f"| {' | '.join(key)} | {len({row['seed'] for row in own})} | {' | '.join(cells)} |")


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    names = [*OURS, "ray_optuna", "ax"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["validate", "run", "table"])
    parser.add_argument("--searchers", nargs="+", choices=names, default=names)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trainings", type=int, default=20)
    options = parser.parse_args()
    {"validate": validate, "run": lambda: run(options), "table": print_table}[options.command]()


if __name__ == "__main__":
    main()
