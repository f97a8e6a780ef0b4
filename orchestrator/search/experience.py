"""What trainings of other networks say of a sweep's surfaces before it has any of its own.

The file experience.arrow holds pools of trainings over the default space of ``method=moda``: their coefficients and
their reuse accuracies at target sizes (tests/benchmarks/search_experience.py makes it of the pools that searchers are
compared on). A Gaussian process of each pool says how much better or worse than the mean of its pool a training with
some coefficients was. The curve search models how a sweep's own trainings deviate from that, with hyper-parameters near
those of the pools: which coefficients matter, and over what distances. What it then sees overrules both, and says how
much of what is expected there is.

Shapes: T trials, D dimensions of the sweep's space, K of the pools' space, G free choices, P hyper-parameters.
"""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.feather
import torch

from orchestrator.search import dimension as dimensions
from orchestrator.search.problem import Problem
from orchestrator.search.scales import modelled
from orchestrator.search.surface_model import HyperPrior, SurfaceModel, make_grid, wide_prior

FILE = Path(__file__).parent / "experience.arrow"
OPTIMIZER = "sgd"  # of the pools; learning rates and weight decays mean something else to others
SIZE = "cut_size"  # what the target sizes are of
WEIGHT, WEIGHT_DEVIATION, LARGEST_WEIGHT = 0.75, 0.5, 1.5  # what each of the two pools has of the other's effects
HYPER_DEVIATION = 0.3  # of logarithms: the lengths of the two pools differ by up to that

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """The trainings of one network.

    Attributes:
        space: a logarithmic dimension for each of the K coefficients.
        targets: the target sizes of the surfaces, ascending.
        model: of what is missing to an accuracy of 1, as its logarithm, over coefficients and target sizes.
    """

    space: Mapping[str, Mapping[str, Any]]
    targets: list[float]
    model: SurfaceModel

    @functools.cached_property
    def level(self) -> Floats:
        """(targets,) the mean surface of its trainings."""
        level_G: Floats = self.model.mean(self.model.x_ND).mean(0).numpy()
        return level_G

    def effects(self, x_TK: Floats) -> Floats:
        """(T, targets) how surfaces are expected to deviate from the mean of the pool's trainings."""
        deviations_TG: Floats = self.model.mean(torch.from_numpy(x_TK)).numpy() - self.level
        return deviations_TG


class Experience:
    """What some pools say of the surfaces of a problem: the mean of what each says.

    Args:
        problem: whose coefficients and target sizes they are asked about.
        pools: over one space.

    Attributes:
        metrics: what something is said of. The first one was measured; coefficients act alike on both.
    """

    metrics = ("calibrated_reuse_accuracy", "reuse_accuracy")

    def __init__(self, problem: Problem, pools: list[Pool]) -> None:
        self.problem, self.pools = problem, pools
        self.space, self.targets = pools[0].space, np.log(pools[0].targets)
        self.parameter = problem.targeted_objectives[SIZE]
        self.choices_G = np.log(np.array([choice[self.parameter] for choice in problem.surface_choices], np.float64))

    def effects(self, x_TD: Floats) -> Floats:
        """(T, G) how surfaces are expected to deviate from the mean of trainings anywhere in the pools' space, on the
        scale of :func:`~orchestrator.search.scales.modelled`. Beyond the ends of the pools' space and targets what is
        expected is that of the ends.
        """
        sets = ({**self.problem.fixed, **self.problem.from_unit(x_D)} for x_D in x_TD.tolist())
        x_TK = np.array([_unit(self.space, coefficients) for coefficients in sets]).reshape(-1, len(self.space))
        return self._at_choices(np.mean([pool.effects(x_TK) for pool in self.pools], axis=0))

    def surfaces(self, x_TD: Floats) -> Floats:
        """(T, G) the surfaces that the pools' networks are expected to have, likewise."""
        level_G = np.mean([pool.level for pool in self.pools], axis=0)
        return self.effects(x_TD) + self._at_choices(level_G[None])

    @functools.cached_property
    def hyper_prior(self) -> HyperPrior:
        """The prior of a model of deviations from what is expected.

        Lengths of dimensions are those of the pools, by the ratios that they stand for. Those of dimensions that the
        pools do not have keep the wide prior.
        """
        searched, pooled = self.problem.space, list(self.space)
        free = list(self.problem.surface_choices[0])
        wide = wide_prior(len(searched), len(searched), len(free))
        learnt_P = torch.stack([pool.model.hyper_P for pool in self.pools]).mean(0)
        mean_P, deviation_P, start_P = wide.mean_P.clone(), wide.deviation_P.clone(), wide.start_P.clone()
        common = len(mean_P) - len(searched) - len(free)  # what every model has, whatever its space
        known = {len(mean_P) - place: learnt_P[-place] for place in range(1, common + 1)}
        known[len(searched) + free.index(self.parameter)] = learnt_P[len(pooled)]
        for place, (name, dimension) in enumerate(searched.items()):
            sides = [dimensions.log_length(each) for each in (dimension, self.space.get(name)) if each is not None]
            if len(sides) == 2 and sides[0] is not None and sides[1] is not None:
                known[place] = learnt_P[pooled.index(name)] + math.log(sides[1] / sides[0])
        for place, value in known.items():
            mean_P[place] = start_P[place] = value.clamp(wide.low_P[place], wide.high_P[place])
            deviation_P[place] = HYPER_DEVIATION
        return replace(wide, mean_P=mean_P, deviation_P=deviation_P, start_P=start_P)

    def weight(self, x_ND: Floats, y_NG: Floats) -> float:
        """How much of what is expected is there in what was seen: the most probable factor of the effects, between
        0 and :data:`LARGEST_WEIGHT`. Before anything was seen it is :data:`WEIGHT`, give or take
        :data:`WEIGHT_DEVIATION`.

        Args:
            x_ND: trainings of the problem.
            y_NG: their surfaces, on the scale of :func:`~orchestrator.search.scales.modelled`.
        """
        choices = self.problem.surface_choices
        categorical = [bool(dimension.get("choices")) for dimension in self.problem.space.values()]
        y, effects_NG = torch.from_numpy(y_NG), torch.from_numpy(self.effects(x_ND))
        hyper_P = self.hyper_prior.mean_P
        model = SurfaceModel(torch.from_numpy(x_ND), y, make_grid(choices), categorical, hyper_P)
        before = WEIGHT_DEVIATION**-2
        seen, possible = model.product(effects_NG, y - y.mean()), model.product(effects_NG, effects_NG)
        return min(max((before * WEIGHT + seen) / (before + possible), 0.0), LARGEST_WEIGHT)

    def _at_choices(self, rows_TG: Floats) -> Floats:
        """Rows over the pools' targets at the problem's."""
        rows = [np.interp(self.choices_G, self.targets, row_G) for row_G in rows_TG]
        return np.array(rows).reshape(-1, len(self.choices_G))


def _unit(space: Mapping[str, Mapping[str, Any]], coefficients: Mapping[str, Any]) -> list[float]:
    """The point of the pools' unit cube that is nearest to some coefficients."""
    places = [
        dimensions.to_unit(dimension, dimensions.nearest(dimension, coefficients[name]))
        for name, dimension in space.items()
    ]
    return [place for place in places if place is not None]


def experience_of(problem: Problem) -> Experience | None:
    """Return what the problem's pools say of it, or None where they say nothing.

    They say something of surfaces over target sizes, where each of their coefficients is a number in every trial, be it
    searched or fixed, and the optimizer is theirs.
    """
    aims = problem.targeted_objectives.get(SIZE)
    if not problem.experience or any(choice.get(aims or "") is None for choice in problem.surface_choices):
        return None
    pools = [read_pool(name) for name in problem.experience]
    has_all = all(_is_number(problem, name) for name in pools[0].space)
    return Experience(problem, pools) if has_all and problem.fixed.get("optimizer") == OPTIMIZER else None


def _is_number(problem: Problem, name: str) -> bool:
    """Whether every trial of a problem has a number as this coefficient."""
    if (dimension := problem.space.get(name)) is None:
        return isinstance(problem.fixed.get(name), int | float)
    return not dimension.get("where") and not any(isinstance(value, str) for value in dimension.get("choices") or ())


@functools.cache
def read_pool(name: str) -> Pool:
    """Read a pool of the file, by its name."""
    table = pyarrow.feather.read_table(FILE, memory_map=False)
    facts = json.loads(table.schema.metadata[b"experience"])
    rows = [row for row in table.to_pylist() if row["pool"] == name]
    space, targets = facts["space"], facts["targets"]
    accuracies_NG = np.array([row["accuracies"] for row in rows], dtype=np.float64)
    y_NG = torch.from_numpy(modelled(accuracies_NG, np.array(True)))
    grid = make_grid([{"target": target} for target in targets])
    hyper_P = torch.tensor(facts["hyper"][name], dtype=torch.float64)
    x_NK = torch.tensor([_unit(space, row) for row in rows], dtype=torch.float64)
    return Pool(space, targets, SurfaceModel(x_NK, y_NG, grid, [False] * len(space), hyper_P))
