"""How well the model of the curve search predicts trainings that it has not seen, from few.

The pools of search_pool.py are cut at random, 16 times: the baselines and a few trainings are given to the model, the
others are predicted. Accuracies are modelled by what is missing to 1, as the search does it, and as they are. Prints
the error (root mean square) of accuracies that are, or are predicted, no more than .1 below the reference, the rank
correlation of predicted and true hypervolumes, and the true hypervolume of the training that is predicted to be best,
each as a mean over the cuts.

Usage: python tests/benchmarks/surface_predictions.py
Time: some minutes on one core.
"""

import functools

import numpy as np
import torch
from scipy.stats import spearmanr
from search_emulator import METRIC, Floats, PoolProblem, nearest, read_pool, succeeded
from search_pool import NETWORKS, TRAININGS, planned

from orchestrator.search.scales import modelled, not_modelled
from orchestrator.search.surface_model import SurfaceModel, make_grid

CUTS, GIVEN, NEAR = 16, (2, 6, 12, 24), 0.1


def main() -> None:
    torch.set_num_threads(1)
    print("| network | trainings beside the baselines | accuracies | error | ranks of volumes | volume of the best |")
    print("|---|---|---|---|---|---|")
    for network in NETWORKS:
        for given in GIVEN:
            for way in ("missing to 1", "as they are"):
                scores = np.mean([score(network, given, cut, is_share=way != "as they are") for cut in range(CUTS)], 0)
                cells = f"{scores[0]:.4f} | {scores[1]:.2f} | {scores[2]:.4f}"
                print(f"| {network} | {given} | {way} | {cells} |", flush=True)


def score(network: str, given: int, cut: int, *, is_share: bool) -> tuple[float, float, float]:
    """Error, rank correlation and volume of one cut."""
    of, x_ND, y_NG = trainings_of(network)
    order = np.random.default_rng([cut, given]).permutation(len(x_ND))
    known, left = order[:given], order[given:]
    known_x = np.concatenate([[nearest(of.problem, coefficients) for coefficients in of.baselines], x_ND[known]])
    known_y = np.concatenate([list(of.of_baselines.values()), y_NG[known]])
    guess_NG = predicted(of, known_x, known_y, x_ND[left], is_share=is_share)
    floor = of.problem.reference[METRIC] - NEAR
    counts = np.maximum(guess_NG, y_NG[left]) > floor
    volumes = [np.array([of.volume([surface]) for surface in surfaces]) for surfaces in (guess_NG, y_NG[left])]
    # Many are predicted to have no volume: of those the more accurate come first.
    ranked = volumes[0] + 1e-6 * guess_NG.mean(1)
    error = float(np.sqrt(np.mean(np.square(guess_NG - y_NG[left])[counts])))
    return error, float(spearmanr(ranked, volumes[1]).statistic), float(volumes[1][ranked.argmax()])


@functools.cache
def trainings_of(network: str) -> tuple[PoolProblem, Floats, Floats]:
    """A pool's problem, and the coefficients and surfaces of its trainings that succeeded."""
    of, pool = PoolProblem(network), read_pool(network)
    plan = [coefficients for coefficients, _ in planned(network)]
    numbers = [number for number in range(TRAININGS) if succeeded(pool[number])]
    x_ND = np.array([of.problem.to_unit(plan[number]) for number in numbers])
    return of, x_ND, np.array([pool[number] for number in numbers])


def predicted(of: PoolProblem, x_ND: Floats, y_NG: Floats, at_TD: Floats, *, is_share: bool) -> Floats:
    """(T, G) accuracies at other coefficients."""
    way = np.array(is_share)
    grid = make_grid(of.problem.surface_choices)
    values = torch.from_numpy(modelled(y_NG, way))
    model = SurfaceModel.fit(torch.from_numpy(x_ND), values, grid, [False] * x_ND.shape[1])
    return not_modelled(model.mean(torch.from_numpy(at_TD)).numpy(), way)


if __name__ == "__main__":
    main()
