"""Chosen points of a sweep with fresh seeds, because the best of many noisy points is partly luck."""

import json
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True)
class Confirmed:
    """A chosen point, and its results with fresh seeds: None until all of them have finished."""

    claimed: Point
    found: Point | None


@dataclass(frozen=True)
class Held:
    """How far a front held.

    Attributes:
        claimed: hypervolume of the points as they were chosen.
        found: hypervolume of the same points, measured again.
        on_front: of how many points that no other dominated this is still so, among themselves.
        of: how many these were.
        correlations: Kendall's rank correlation (tau-b) of each metric; None where ranks do not differ.
    """

    claimed: float
    found: float
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
    def held(self) -> Held:
        """How far the chosen points held, on validation."""
        claimed, found = ([pair[side] for pair in self.told] for side in (0, 1))
        return compare(self.parent.values(claimed), self.parent.values(found), self.parent.directions, self.reference)

    @property
    def on_test(self) -> float | None:
        """The hypervolume of the chosen points on test; None before all are measured."""
        rows = [found.test for _, found in self.told]
        values = [[row[name] for name in self.parent.config.search.objectives] for row in rows if row is not None]
        return pareto.hypervolume(values, self.parent.directions, self.reference) if len(values) == len(rows) else None

    @property
    def reference(self) -> list[float]:
        """The reference point of the hypervolumes."""
        search = self.parent.config.search
        return [search.reference[name] for name in search.objectives]

    def name(self, which: str) -> Point:
        """Return the chosen point that is ``best`` or ``knee`` on validation with fresh seeds, as the parent has it."""
        values = self.parent.values([found for _, found in self.told])
        if which == "knee":
            return self.told[pareto.knee(values, self.parent.directions)][0]
        first = next(iter(self.parent.config.search.objectives))
        errors = [found.error(first) for _, found in self.told]
        return self.told[pareto.best(values, self.parent.directions, errors, tolerance=TOLERANCE)][0]

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
    claimed_PM: npt.ArrayLike, found_PM: npt.ArrayLike, directions: Sequence[str], reference_M: Sequence[float]
) -> Held:
    """Compare points with the same points measured again: P points of M metrics, in the same order."""
    from scipy.stats import kendalltau  # takes half a second

    claimed, found = (np.asarray(one, dtype=np.float64).reshape(-1, len(directions)) for one in (claimed_PM, found_PM))
    front = pareto.on_front(claimed, directions)
    pairs = zip(claimed.T, found.T, strict=True)
    ranks = [float(kendalltau(*pair).statistic) if len(claimed) > 1 else np.nan for pair in pairs]
    return Held(
        claimed=pareto.hypervolume(claimed, directions, reference_M),
        found=pareto.hypervolume(found, directions, reference_M),
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
    return [one for one in found if one.told]
