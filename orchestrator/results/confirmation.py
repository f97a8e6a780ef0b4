"""Chosen points of a sweep with fresh seeds, because the best of many noisy points is partly luck."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.config import to_plain
from orchestrator.results.points import Point
from orchestrator.results.records import read_sweep
from orchestrator.results.sweep import TOLERANCE, Sweep
from orchestrator.search import pareto
from orchestrator.storage import ResultStore

CERTAIN = 2.0  # standard errors of a difference that is called one
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Confirmed:
    """A chosen point, and its results with fresh seeds: None until all of them have finished."""

    claimed: Point
    found: Point | None

    def lost(self, name: str, direction: str) -> tuple[float, float]:
        """By how much a metric is worse with fresh seeds than claimed, and the standard error of that.

        A claim is of other seeds, mostly of one, so that it varies as trainings do, beside what measuring adds.

        Args:
            name: of the metric.
            direction: ``max`` or ``min``.
        """
        claimed, found = self.claimed, self.found
        assert found is not None
        lost = claimed.metrics[name] - found.metrics[name]
        trainings = [max(1, len(point.over)) for point in (claimed, found)]
        spread = (found.deviation(name) or 0.0) * math.sqrt(sum(1 / count for count in trainings))
        return (lost if direction == "max" else -lost), math.hypot(spread, claimed.metrics.get(f"{name}_error", 0.0))

    def has_held(self, directions: Mapping[str, str]) -> bool:
        """Return whether no objective is worse with fresh seeds by more than two standard errors.

        Args:
            directions: ``max`` or ``min`` for each objective.
        """
        lost = (self.lost(name, direction) for name, direction in directions.items())
        return all(value <= CERTAIN * error for value, error in lost)


@dataclass(frozen=True)
class Held:
    """How far a front held.

    Attributes:
        claimed: hypervolume of the points as they were chosen; None before the reference point is known.
        found: hypervolume of the same points, measured again, up to the same reference point.
        on_front: of how many points that no other dominated this is still so, among themselves.
        of: how many these were.
        correlations: Kendall's rank correlation (tau-b) of each metric; None where ranks do not differ.
    """

    claimed: float | None
    found: float | None
    on_front: int
    of: int
    correlations: list[float | None]


@dataclass(frozen=True)
class Confirmation:
    """Points of ``parent`` together with the results of ``sweep``, which trained their coefficients again with fresh
    seeds.
    """

    parent: Sweep
    sweep: Sweep

    @cached_property
    def points(self) -> list[Confirmed]:
        """The chosen points, in the order in which they were chosen."""
        found = self.sweep.candidates

        def again(claimed: Point) -> Point | None:
            wanted = without_seed(claimed.trial.coefficients)
            return next((o for o in found if o.choice == claimed.choice and o.trial.coefficients == wanted), None)

        claims = [self.parent.find(name) for name in self.sweep.config.sweep.chosen]
        return [Confirmed(claim, again(claim)) for claim in claims]

    @property
    def told(self) -> list[tuple[Point, Point]]:
        """The chosen points that have results with fresh seeds, each with these results."""
        return [(point.claimed, point.found) for point in self.points if point.found is not None]

    @property
    def directions(self) -> dict[str, str]:
        """The direction of each objective."""
        return dict(zip(self.parent.config.search.objectives, self.parent.directions, strict=True))

    @property
    def held(self) -> Held:
        """How far the chosen points held, on validation. Both hypervolumes are the parent's: by its objectives, their
        scales and its reference point.
        """
        claimed, found = (self.parent.values([pair[side] for pair in self.told]) for side in (0, 1))
        return compare(claimed, found, self.parent.directions, self.parent.hypervolume_of)

    @property
    def on_test(self) -> float | None:
        """The hypervolume of the chosen points on test, as :attr:`held` has it; None before all are measured."""
        rows = [found.test for _, found in self.told]
        values = [[row[name] for name in self.parent.config.search.objectives] for row in rows if row is not None]
        return self.parent.hypervolume_of(values) if len(values) == len(rows) else None

    def name(self, which: str) -> Point:
        """Return the chosen point that is ``best`` or ``knee`` on validation with fresh seeds, as the parent has it."""
        fresh = [found for _, found in self.told]
        if which == "knee":
            return self.told[fresh.index(self.parent.knee_of(fresh))][0]
        first = next(iter(self.parent.config.search.objectives))
        errors = [found.error(first) for found in fresh]
        return self.told[pareto.best(self.parent.values(fresh), self.parent.directions, errors, tolerance=TOLERANCE)][0]

    @property
    def changes(self) -> dict[str, Any]:
        """The differences from the parent's training, data, model and evaluation, besides the seed."""
        before, after = to_plain(self.parent.config), to_plain(self.sweep.config)
        apart = ["training.seed", "data.root", "data.download"]
        if "data" in self.parent.fingerprints and self.parent.fingerprints == self.sweep.fingerprints:
            apart += ["data.path", "data.test_path", "training.init_from"]  # what is the same may lie elsewhere
        return {
            f"{section}.{key}": value
            for section in ("model", "data", "training", "evaluation")
            for key, value in after[section].items()
            if before[section].get(key) != value and f"{section}.{key}" not in apart
        }


def compare(
    claimed_PM: npt.ArrayLike,
    found_PM: npt.ArrayLike,
    directions: Sequence[str],
    hypervolume: Callable[[Floats], float | None],
) -> Held:
    """Compare points with the same points measured again: P points of M metrics, in the same order; ``hypervolume``
    measures both.
    """
    from scipy.stats import kendalltau  # takes half a second

    width = len(directions)
    claimed, found = (np.asarray(values, np.float64).reshape(-1, width) for values in (claimed_PM, found_PM))
    front = pareto.on_front(claimed, directions)
    pairs = zip(claimed.T, found.T, strict=True)
    ranks = [float(kendalltau(*pair).statistic) if len(claimed) > 1 else np.nan for pair in pairs]
    return Held(
        claimed=hypervolume(claimed),
        found=hypervolume(found),
        on_front=int(pareto.on_front(found[front], directions).sum()),
        of=int(front.sum()),
        correlations=[None if np.isnan(rank) else rank for rank in ranks],
    )


def without_seed(coefficients: Mapping[str, Any]) -> dict[str, Any]:
    """Return coefficients without their training seed: a seed that was searched is luck, so a confirmation does not
    keep it.
    """
    return {name: value for name, value in coefficients.items() if name != "seed"}


def confirmations(store: ResultStore, parent: Sweep) -> list[Confirmation]:
    """Return the confirmations of a sweep that have results, the oldest first."""
    rows = sorted(store.read("sweeps").to_pylist(), key=lambda row: row["created"])
    mine = [row for row in rows if json.loads(row["config"])["sweep"].get("confirms") == parent.sweep_id]
    found = [Confirmation(parent, read_sweep(store, row["sweep_id"])) for row in mine]
    return [confirmation for confirmation in found if confirmation.told]
