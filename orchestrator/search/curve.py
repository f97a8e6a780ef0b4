"""The search that knows what is free: it values a training by what its whole predicted surface would add to the front.

A Gaussian process for each metric (surface_model.py) says how a surface follows from the coefficients, and where there
is experience (experience.py) how it deviates from what other networks' trainings lead to expect. Joint draws of it, at
what was trained, at what is being trained and at candidates, give the expected hypervolume that a candidate's surface
adds to the archive (noisy expected hypervolume improvement, Daulton et al. 2021, of sets of points). The archive is
drawn too: a training that was lucky does not stand for what its coefficients give. Points that break a constraint in a
draw count for nothing there. All of it is on the objectives' scales (scales.py).

Shapes: N trials, C candidates, D dimensions, G free choices, V metrics, M objectives, S draws, H pending trials.
"""

import functools
import hashlib
import logging
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orchestrator.search import pareto
from orchestrator.search.gain import expected_gains, front
from orchestrator.search.problem import Coefficients, Constraint, History, Problem
from orchestrator.search.quasi_random import SobolSearcher
from orchestrator.search.scales import LINEAR, modelled, not_modelled, scaled, scaled_reference, unscaled
from orchestrator.search.surfaces import Surfaces, metrics, read_surfaces, targets_GV
from orchestrator.search.untrained import trained_keys

if TYPE_CHECKING:
    from orchestrator.search.experience import Experience

Floats = npt.NDArray[np.float64]

DRAWS = {2: 64, 3: 16, 4: 8}  # by the number of objectives: the hypervolume of more takes longer
CAUTION = 0.5  # draws deviate from their mean by that much of what they would: found better on known fronts
SPREAD, NEAR = 128, 64  # candidates: quasi-random ones, and ones near the trials on the front
ROUNDS, TOP, AROUND = 3, 8, 12  # then, in each round, the best ones and some around each, ever nearer
LEAST = 2  # trials that a model needs to have a scale
LIKELY = 2 / 3  # less likely than that to finish is not proposed
STALLED = 1e-9  # expected gain, of the hypervolume between the best values and the reference; rounding leaves less

log = logging.getLogger(__name__)


class CurveSearcher:
    """Expected hypervolume gain of whole surfaces. At the start the middle of the space, unless trials in it are known,
    then quasi-random ones until there are enough for a model: two, where experience says something of the problem.
    Quasi-random ones also where nothing is expected to gain."""

    learns = True

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.quasi_random = SobolSearcher(problem)
        self.metrics = metrics(problem)
        self.scales = problem.scales_of(self.metrics)
        self.constraints = [self._on_scale(Constraint.parse(text)) for text in problem.constraints]
        self.targets_GV = targets_GV(problem)
        self.is_drawn_V = np.atleast_1d(np.isnan(self.targets_GV).any(0))  # others are what choices aim at
        shares = [
            name in problem.shares and scale == LINEAR for name, scale in zip(self.metrics, self.scales, strict=True)
        ]
        self.is_share_V = np.array(shares)
        self.categorical = [bool(dimension.get("choices")) for dimension in problem.space.values()]
        self._fitted: dict[str, Any] = {}  # by a hash of the data; it is all that is remembered, with what was said
        self._said = ""

    def propose(self, history: History, pending: Sequence[Mapping[str, Any]], number: int) -> Coefficients:
        """Propose the coefficients whose surface is expected to add most to the front of known and pending trials."""
        trained = trained_keys(self.problem, history, pending)
        known = read_surfaces(self.problem, history)
        waiting = self.placed(pending)
        if len(known.x_ND) < LEAST <= len(known.x_ND) + len(waiting) and self._knows_all:
            known, waiting = self._imagined(known, waiting), []
        if number == 0 and not waiting and not len(known.x_ND):
            middle = self._rounded(self.problem.from_unit([0.5] * len(self.problem.space)))
            if self.problem.key(middle) not in trained:
                return middle
        if not self.has_model(known, number):
            return self.quasi_random.propose(history, pending, number)
        reference_M = self.reference(known)
        rng = np.random.default_rng([self.problem.seed, number])
        candidates_CD, gains_C = self.candidates(known, np.array(waiting), reference_M, trained, rng)
        chosen = self._chosen(candidates_CD, gains_C, STALLED * self._extent(known, reference_M), trained)
        if chosen is None:
            log.warning("no training is expected to improve the front: trial %d is quasi-random", number)
            return self.quasi_random.propose(history, pending, number)
        return chosen

    def has_model(self, known: Surfaces, number: int) -> bool:
        """Whether trial ``number`` is proposed by what a model expects: enough is known then."""
        enough = LEAST if self._experience else max(4, len(self.problem.space) + 1)
        return max(number, len(known.x_ND)) >= enough and len(known.x_ND) >= LEAST

    def placed(self, sets: Sequence[Mapping[str, Any]]) -> list[list[float]]:
        """The points of the unit cube that stand for sets of coefficients, without those outside the space."""
        return [unit for unit in map(self.problem.to_nearest_unit, sets) if unit is not None]

    def candidates(
        self,
        known: Surfaces,
        pending_HD: Floats,
        reference_M: Floats,
        trained: Collection[Hashable],
        rng: np.random.Generator,
    ) -> tuple[Floats, Floats]:
        """What is looked at for the next trial, (C, D) in the unit cube, and the (C,) hypervolume that each is expected
        to add."""
        gains = self._gains(known, pending_HD.reshape(-1, len(self.problem.space)), reference_M, rng)
        if self.problem.size <= SPREAD + NEAR:
            candidates_CD = self._untrained(trained)
            return candidates_CD, gains(candidates_CD)
        return self._climb(known, gains, rng)

    @property
    def _knows_all(self) -> bool:
        """Whether experience says something of everything that a model would be of."""
        return bool(self._is_expected_V.all())

    def _imagined(self, known: Surfaces, waiting: list[list[float]]) -> Surfaces:
        """With what is under way as experience expects it: many trials may begin before the first one has ended."""
        assert self._experience is not None
        x_HD = np.array(waiting)
        expected_HGV = not_modelled(self._experience.surfaces(x_HD)[..., None], self.is_share_V)
        values_HGV = np.where(np.isnan(self.targets_GV), expected_HGV, self.targets_GV)
        return replace(
            known,
            x_ND=np.concatenate([known.x_ND, x_HD]),
            values_NGV=np.concatenate([known.values_NGV, values_HGV]),
        )

    def _untrained(self, trained: Collection[Hashable]) -> Floats:
        """All that is left of a small space."""
        every = map(self.problem.nth, range(int(self.problem.size)))
        left = [
            self.problem.to_unit(coefficients)
            for coefficients in every
            if self.problem.key(coefficients) not in trained
        ]
        return np.array(left, dtype=np.float64)

    def _climb(
        self, known: Surfaces, gains: Callable[[Floats], Floats], rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Candidates and their gains: the best of the first ones and some around them, ever nearer."""
        candidates_CD = self._first_candidates(known, rng)
        gains_C = gains(candidates_CD)
        for reach in 0.1 * 0.5 ** np.arange(ROUNDS):
            best_CD = candidates_CD[np.argsort(-gains_C, kind="stable")[:TOP]]
            candidates_CD = self._snapped(
                np.concatenate([best_CD, self._near(np.repeat(best_CD, AROUND, 0), reach, rng)])
            )
            gains_C = gains(candidates_CD)
        return candidates_CD, gains_C

    def _chosen(
        self, candidates_CD: Floats, gains_C: Floats, least: float, trained: Collection[Hashable]
    ) -> Coefficients | None:
        """The candidate that gains most, and more than ``least``, of those that are not trained yet."""
        for index in np.argsort(-gains_C, kind="stable"):
            if gains_C[index] <= least:
                return None
            exact = self.problem.from_unit(candidates_CD[index].tolist())
            for coefficients in (self._rounded(exact), exact):  # a narrow dimension has few values of four digits
                if self.problem.key(coefficients) not in trained:
                    return coefficients
        return None

    def reference(self, known: Surfaces) -> Floats:
        """As costs on the objectives' scales: the stated values, and the worst value so far of an objective for which
        none is stated; the worst values of all where no point is better than the stated ones yet."""
        names, stated, directions = (
            list(self.problem.objectives),
            self.problem.reference_values,
            self.problem.directions,
        )
        scales, costs_PM = self.scales[: len(names)], self._costs(known.points_PV)
        is_missing_M = np.array([value is None for value in stated])
        limit_M = self._costs(scaled_reference(stated, scales, directions, known.points_PV[:, : len(names)]))
        is_inside_P = ((costs_PM < limit_M) | is_missing_M).all(1) & self._feasible(known.points_PV)
        if not is_inside_P.any():
            limit_M = np.maximum(costs_PM.max(0), limit_M)
        elif not is_missing_M.any():
            return limit_M
        worst_M = unscaled(self._costs(limit_M), scales)  # a cost of a cost is the value
        values = ", ".join(f"{name} {value:.4g}" for name, value in zip(names, worst_M, strict=True))
        if values != self._said:
            log.info("the reference point is the worst values so far: %s", values)
            self._said = values
        return limit_M

    def _extent(self, known: Surfaces, reference_M: Floats) -> float:
        return float(np.prod(np.maximum(reference_M - self._costs(known.points_PV).min(0), 0.0)))

    def _first_candidates(self, known: Surfaces, rng: np.random.Generator) -> Floats:
        """Spread over the space, and near the trials that have a point on the front."""
        from scipy.stats import qmc

        spread_CD = qmc.Sobol(len(self.problem.space), scramble=True, rng=rng).random(SPREAD)
        costs_NGM = self._costs(known.values_NGV)
        on_front = pareto.on_front(costs_NGM.reshape(-1, costs_NGM.shape[-1]), ["min"] * costs_NGM.shape[-1])
        leaders = np.flatnonzero(on_front.reshape(costs_NGM.shape[:2]).any(1))
        return self._snapped(np.concatenate([spread_CD, self._near(known.x_ND[rng.choice(leaders, NEAR)], 0.15, rng)]))

    def _near(self, x_CD: Floats, reach: float, rng: np.random.Generator) -> Floats:
        """Each moved in some dimensions: by a normal step, now and then to the end of the dimension; of a category, to
        any other one. Where a dimension was not active, anywhere: it may be now."""
        moved_CD = np.clip(x_CD + reach * rng.normal(size=x_CD.shape), 0.0, 1.0)
        moved_CD = np.where(rng.random(x_CD.shape) < 0.15, moved_CD.round(), moved_CD)
        drawn_CD = np.where(rng.random(x_CD.shape) < 0.2, rng.random(x_CD.shape), x_CD)
        moved_CD = np.where(self.categorical, drawn_CD, moved_CD)
        moved_CD = np.where(rng.random(x_CD.shape) < 0.6, moved_CD, x_CD)
        if self.problem.is_conditional:
            moved_CD = np.where(np.isnan(moved_CD), rng.random(x_CD.shape), moved_CD)
        return moved_CD

    def _snapped(self, x_CD: Floats) -> Floats:
        """Where whole numbers and categories really lie, and NaN where a dimension is not active."""
        units = [self.problem.to_unit(self.problem.from_unit(x_D.tolist())) for x_D in x_CD]
        return np.array([x_D if unit is None else unit for x_D, unit in zip(x_CD.tolist(), units, strict=True)])

    def _gains(
        self, known: Surfaces, pending_HD: Floats, reference_M: Floats, rng: np.random.Generator
    ) -> Callable[[Floats], Floats]:
        """(C, D) candidates -> (C,) expected gains over one set of draws; none where training is likely to fail."""
        costs = self.drawn_costs(known, pending_HD, reference_M, CAUTION, rng)
        others_PM = self._within(known.others_PV, reference_M)
        archive_SAGM = costs(np.concatenate([known.x_ND, pending_HD]))
        fronts = [
            front(np.concatenate([drawn.reshape(-1, len(reference_M)), others_PM]), reference_M)
            for drawn in archive_SAGM
        ]
        return lambda x_CD: expected_gains(fronts, costs(x_CD), reference_M) * self._success(known, x_CD)

    def drawn_costs(
        self, known: Surfaces, pending_HD: Floats, reference_M: Floats, spread: float, rng: np.random.Generator
    ) -> Callable[[Floats], Floats]:
        """(T, D) coefficients -> (S, T, G, M) costs of their surfaces in joint draws of the models.

        Args:
            known: what the models are of.
            pending_HD: trials whose surfaces are drawn with those that are known.
            reference_M: what breaks a constraint has these costs.
            spread: draws deviate from their mean by that much of what they would.
            rng: where they come from.
        """
        import torch

        count, pending = DRAWS[len(reference_M)], torch.from_numpy(pending_HD)
        is_expected_V = self._is_expected_V
        modelled_NGV = modelled(known.values_NGV, self.is_share_V)[..., self.is_drawn_V]
        weights_V = self._weights(known.x_ND, modelled_NGV, is_expected_V)
        deviations_NGV = modelled_NGV - self._expected(known.x_ND, weights_V)
        models = self._models(known.x_ND, deviations_NGV, self.problem.surface_choices, is_expected_V)
        draws = [model.draw(pending, count, spread, rng) for model in models]

        def costs(x_TD: Floats) -> Floats:
            values_STGV = np.tile(self.targets_GV, (count, len(x_TD), 1, 1))
            drawn_STGV = np.stack([draw.at(torch.from_numpy(x_TD)).numpy() for draw in draws], -1)
            drawn_STGV += self._expected(x_TD, weights_V)
            values_STGV[..., self.is_drawn_V] = not_modelled(drawn_STGV, self.is_share_V[self.is_drawn_V])
            return self._within(values_STGV, reference_M)

        return costs

    @functools.cached_property
    def _experience(self) -> "Experience | None":
        if not self.problem.experience:
            return None
        from orchestrator.search.experience import experience_of

        return experience_of(self.problem)

    @functools.cached_property
    def _is_expected_V(self) -> npt.NDArray[np.bool_]:
        """Of which of the metrics that are drawn experience says something."""
        metrics = self._experience.metrics if self._experience else ()
        return np.isin(self.metrics, metrics)[self.is_drawn_V]

    def _weights(self, x_ND: Floats, values_NGV: Floats, is_expected_V: npt.NDArray[np.bool_]) -> Floats:
        """(V,) how much of what experience expects of each metric is seen; 0 of those that it does not know."""
        weights_V = np.zeros(len(is_expected_V))
        if self._experience is not None:
            for index in np.flatnonzero(is_expected_V):
                weights_V[index] = self._experience.weight(x_ND, values_NGV[..., index])
        return weights_V

    def _expected(self, x_TD: Floats, weights_V: Floats) -> Floats:
        """(T, G, V) what experience says of each metric, by its weight."""
        if self._experience is None:
            return np.zeros((len(x_TD), 1, len(weights_V)))
        return self._experience.effects(x_TD)[..., None] * weights_V

    def _success(self, known: Surfaces, candidates_CD: Floats) -> Floats:
        """(C,) how likely training is not to fail, by the mean of a process of the outcomes so far, 1 and 0; 0 where
        that is not likely enough."""
        if not len(known.failed_FD):
            return np.ones(len(candidates_CD))
        import torch

        x_ND = np.concatenate([known.x_ND, known.failed_FD])
        outcomes_N11 = (np.arange(len(x_ND)) < len(known.x_ND)).astype(np.float64)[:, None, None]
        (model,) = self._models(x_ND, outcomes_N11, [{}], np.array([False]))
        success_C = model.mean(torch.from_numpy(candidates_CD))[:, 0].numpy()
        return np.where(success_C < LIKELY, 0.0, success_C.clip(max=1.0))

    def _models(
        self,
        x_ND: Floats,
        values_NGV: Floats,
        choices: list[dict[str, float | None]],
        is_expected_V: npt.NDArray[np.bool_],
    ) -> list[Any]:
        """A model for each metric, fitted once for the same data."""
        import torch

        from orchestrator.search.surface_model import SurfaceModel, make_grid

        key = hashlib.sha256(x_ND.tobytes() + values_NGV.tobytes()).hexdigest()
        if key not in self._fitted:
            grid, x, values = make_grid(choices), torch.from_numpy(x_ND), torch.from_numpy(values_NGV)
            if len(self._fitted) > 1:  # of the metrics and of failing; those of earlier data are not asked for again
                self._fitted.clear()
            learnt = self._experience.hyper_prior if self._experience else None
            self._fitted[key] = [
                SurfaceModel.fit(
                    x, values[..., index].contiguous(), grid, self.categorical, learnt if is_expected else None
                )
                for index, is_expected in enumerate(is_expected_V)
            ]
        models: list[Any] = self._fitted[key]
        return models

    def _costs(self, values: Floats) -> Floats:
        """(..., V) values as (..., M) costs of the objectives."""
        signs = np.array([-1.0 if direction == "max" else 1.0 for direction in self.problem.objectives.values()])
        costs: Floats = values[..., : len(signs)] * signs
        return costs

    def _within(self, values: Floats, reference_M: Floats) -> Floats:
        """(..., V) values as costs; those that break a constraint as the reference, which counts for nothing."""
        return np.where(self._feasible(values)[..., None], self._costs(values), reference_M)

    def _on_scale(self, constraint: Constraint) -> Constraint:
        """A constraint of values on their scale, met where the values in the metric's own units meet it."""
        scale = self.scales[self.metrics.index(constraint.metric)]
        return replace(constraint, bound=float(scaled([constraint.bound], [scale])[0]))

    def _feasible(self, values: Floats) -> npt.NDArray[np.bool_]:
        """Which (..., V) values meet every constraint."""
        met = np.ones(values.shape[:-1], dtype=bool)
        for constraint in self.constraints:
            met &= constraint.met(values[..., self.metrics.index(constraint.metric)])
        return met

    def _rounded(self, coefficients: Coefficients) -> Coefficients:
        """Four digits: what people can read, and the same on machines that round sums differently."""
        rounded = dict(coefficients)
        for name, dimension in self.problem.space.items():
            if isinstance(value := coefficients.get(name), float) and value != 0 and not dimension.get("choices"):
                low, high = float(dimension["low"]), float(dimension["high"])
                rounded[name] = min(max(float(f"{value:.4g}"), low), high)
        return rounded
