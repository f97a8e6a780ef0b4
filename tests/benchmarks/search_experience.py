"""What the curve search knows beforehand, and whether it holds for other data and networks.

``make`` writes orchestrator/search/experience.arrow of the pools that searchers are compared on (search_pool.py): their
trainings and baselines, and the hyper-parameters of a model of those that learnt. Trainings that diverged or collapsed,
there or in the first live searches (search_live.py), keep searches away from corners where nothing is good. They count
as trainings that barely collapsed: how bad they are says nothing of those that learn.

``table`` says how well each pool, and both, predict the few trainings of other data and of another recipe that
search_pool.py has (its OTHERS), and each of the two pools by the other one: the rank correlation of predicted and
measured hypervolumes, and the share of the best training's hypervolume that the training has which is predicted to be
best. Once without any training of the network but for the level of its baselines' mean, and once with a model that was
given the four baselines, with experience and without.

Usage: python tests/benchmarks/search_experience.py [make | table]
Time: a minute on one core.
"""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.feather
import torch
from scipy.stats import spearmanr
from search_emulator import COLLAPSED, Floats, PoolProblem, nearest, read_pool, succeeded
from search_live import first_trainings
from search_pool import NETWORKS, OTHERS, TRAININGS, planned

from orchestrator.search.experience import FILE, Experience
from orchestrator.search.experience import read_pool as read_experience
from orchestrator.search.scales import modelled, not_modelled
from orchestrator.search.surface_model import SurfaceModel, make_grid


def make() -> None:
    """Write the file."""
    rows, hyper = [], {}
    for network in NETWORKS:
        of, pool, plan = PoolProblem(network), read_pool(network), planned(network)
        drawn = [(plan[number][0], pool[number]) for number in range(TRAININGS)]
        known = [*drawn, *zip(of.baselines, of.of_baselines.values(), strict=True)]
        learnt = [(coefficients, surface_G) for coefficients, surface_G in known if succeeded(surface_G)]
        failed = [
            coefficients for coefficients, surface_G in known + first_trainings(network) if not succeeded(surface_G)
        ]
        collapsed_G = np.full(len(of.targets), COLLAPSED)
        rows += [
            {"pool": network, **coefficients, "accuracies": np.round(surface_G, 4).tolist()}
            for coefficients, surface_G in [*learnt, *((coefficients, collapsed_G) for coefficients in failed)]
        ]
        x_NK = torch.tensor([nearest(of.problem, coefficients) for coefficients, _ in learnt])
        y_NG = torch.from_numpy(modelled(np.array([surface_G for _, surface_G in learnt]), np.array(True)))
        grid = make_grid([{"target": target} for target in of.targets])
        hyper[network] = SurfaceModel.fit(x_NK, y_NG, grid, [False] * x_NK.shape[1]).hyper_P.tolist()
    facts = {"space": of.problem.space, "targets": of.targets, "hyper": hyper}
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"experience": json.dumps(facts)})
    pyarrow.feather.write_feather(table, FILE, compression="zstd")
    print(f"{FILE.name}: {len(rows)} trainings, {FILE.stat().st_size} bytes")


def print_table() -> None:
    """How well pools predict others."""
    print("| trainings | experience | ranks, nothing given | best, nothing given | ranks, 4 given | best, 4 given |")
    print("|---|---|---|---|---|---|")
    for network in [*NETWORKS, *OTHERS]:
        of, pool, plan = PoolProblem(network), read_pool(network), planned(network)
        first = 0 if network in NETWORKS else len(of.baselines)
        numbers = [number for number in range(first, first + TRAININGS) if succeeded(pool.get(number))]
        x_ND = np.array([nearest(of.problem, plan[number][0]) for number in numbers])
        y_NG = np.array([pool[number] for number in numbers])
        others = [name for name in NETWORKS if name != network]
        for names in [[], *([name] for name in others), *([others] if len(others) > 1 else [])]:
            shown = [
                "- | -"
                if not names and not is_given
                else "{:.2f} | {:.2f}".format(*predicted(of, names, x_ND, y_NG, is_given=is_given))
                for is_given in (False, True)
            ]
            print(f"| {network}, {len(numbers)} | {' and '.join(names) or 'none'} | {' | '.join(shown)} |", flush=True)


def predicted(of: PoolProblem, names: list[str], x_ND: Floats, y_NG: Floats, *, is_given: bool) -> tuple[float, float]:
    """The rank correlation of volumes, and the share of the largest one that the training has which seems best."""
    way = np.array(True)
    baselines_x = np.array([nearest(of.problem, coefficients) for coefficients in of.baselines])
    baselines_y = modelled(np.array(list(of.of_baselines.values())), way)
    experience = Experience(of.problem, [read_experience(name) for name in names]) if names else None
    effects = experience.effects if experience else lambda x_TD: np.zeros((len(x_TD), 1))
    deviations = baselines_y - effects(baselines_x)
    if is_given:
        model = SurfaceModel.fit(
            torch.from_numpy(baselines_x),
            torch.from_numpy(deviations),
            make_grid(of.problem.surface_choices),
            [False] * x_ND.shape[1],
            experience.hyper_prior if experience else None,
        )
        level_TG = model.mean(torch.from_numpy(x_ND)).numpy()
    else:
        level_TG = deviations.mean(0)
    guess_TG = not_modelled(level_TG + effects(x_ND), way)
    volumes = [np.array([of.volume([surface_G]) for surface_G in surfaces]) for surfaces in (guess_TG, y_NG)]
    ranked = volumes[0] + 1e-6 * guess_TG.mean(1)  # of those without a volume the more accurate come first
    return float(spearmanr(ranked, volumes[1]).statistic), float(volumes[1][ranked.argmax()] / volumes[1].max())


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"make": make, "table": print_table}[sys.argv[1]]()
