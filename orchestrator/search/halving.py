"""Early stopping by halving where a trial at a rung is a set of points: which trials go on, and where the rungs are.

Asynchronous successive halving (ASHA: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning") judges a
trial when it reaches a rung, against those that have been there by then. Several objectives follow multi-objective ASHA
(Schmucker et al. 2021, "Multi-objective Asynchronous Successive Halving"): non-dominated sorting first; then, among
equals, an order that spreads out. Theirs is an epsilon-net of points, each next one farthest from those before. Here a
trial is a surface of many points, so the next one is that whose surface adds most hypervolume to those before (greedy
subset selection: Guerreiro et al. 2016): of two near-duplicates the second adds next to nothing and comes late.

Shapes: P points of a trial, M metrics.
"""

import heapq
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from orchestrator.search import pareto

Surfaces = dict[str, pareto.Floats]  # as costs: (P, M)


def keeps(
    surfaces: Mapping[str, npt.ArrayLike],
    trial: str,
    directions: Sequence[str],
    *,
    reference: Sequence[float],
    reduction: int,
) -> bool:
    """Whether a trial goes on from a rung: it is among the best ceil(n / reduction) of the n trials there.

    While fewer than ``reduction`` trials are there, every one goes on.

    Args:
        surfaces: for every trial that has reached the rung, this one too, its points (P, M) there. A trial that died
            before has none here; one whose surface is empty comes last.
        trial: whose turn it is.
        directions: "max" or "min" for each metric.
        reference: the worst values that still count, as for the hypervolume.
        reduction: one trial in so many goes on.

    Raises:
        ValueError: the trial is not at the rung, a reduction below 2, NaN, or as
            :func:`orchestrator.search.pareto.as_costs`.
    """
    if trial not in surfaces:
        raise ValueError(f"trial {trial!r} is not among those at the rung: {sorted(surfaces)}; give its surface too")
    _check_reduction(reduction)
    best = itertools.islice(_order(surfaces, directions, reference), math.ceil(len(surfaces) / reduction))
    return trial in best or len(surfaces) < reduction


def ranking(
    surfaces: Mapping[str, npt.ArrayLike], directions: Sequence[str], *, reference: Sequence[float]
) -> list[str]:
    """The trials of a rung, best first. Depends on the sets of points alone; ties go by the trials' names.

    Points that are not better than the reference in every metric say nothing of a trial: a network that is tiny and
    guesses would be on the front. Of the rest, the trials with a point on the front of all come first; then, with all
    their points taken away, the trials with a point on the front that is left; and so on. (Sorting single points would
    count a trial's own dominated points against others.) Within such a group the trial with the largest hypervolume
    comes first, then always the one that adds most to those before it; an infinitely good value counts there as one
    that is better than all finite ones, by as much as they reach. Trials without such a point come after, in
    groups by all their points; within a group by name.

    Raises:
        ValueError: as :func:`keeps`.
    """
    return list(_order(surfaces, directions, reference))


def rungs(epochs: int, reduction: int, first: float) -> tuple[int, ...]:
    """Return after how many epochs a trial of ``epochs`` epochs is judged: at first, first x reduction, ... of its
    training.

    Rungs are fractions, rounded up to whole epochs: every trial has as many, whatever its length, and a trial is
    compared at its rung k with the others at theirs. In a training of few epochs rungs may fall on the same epoch or on
    the last one.

    Args:
        epochs: of this trial.
        reduction: one trial in so many goes on from each rung, so the next is so many times as far.
        first: the first rung as a fraction of the training, within (0, 1).

    Raises:
        ValueError: values outside these ranges.
    """
    _check_reduction(reduction)
    if epochs < 1:
        raise ValueError(f"epochs={epochs} must be at least 1")
    place = Fraction(first).limit_denominator(1_000_000) if 0 < first < 1 else Fraction(0)  # so that 1/3 is a third
    if not 0 < place < 1:
        raise ValueError(f"first={first} must be a fraction of the training, within (0, 1) by at least a millionth")
    found = []
    while place < 1:
        found.append(math.ceil(place * epochs))
        place *= reduction
    return tuple(found)


def _check_reduction(reduction: int) -> None:
    if reduction < 2:
        raise ValueError(f"reduction={reduction} must be at least 2; 3 keeps one trial in three at each rung")


def _order(
    surfaces: Mapping[str, npt.ArrayLike], directions: Sequence[str], reference: Sequence[float]
) -> Iterator[str]:
    limit_M = pareto.as_limit(reference, directions)
    costs = {name: _costs(name, surfaces[name], directions) for name in sorted(surfaces)}
    inside = {name: cost_PM[(cost_PM < limit_M).all(1)] for name, cost_PM in costs.items()}
    counting = {name: cost_PM for name, cost_PM in inside.items() if len(cost_PM)}
    if counting:
        bounded_PM = pareto.bounded(np.concatenate(list(counting.values())), limit_M)
        ends = np.cumsum([len(cost_PM) for cost_PM in counting.values()])[:-1]
        counting = dict(zip(counting, map(_front, np.split(bounded_PM, ends)), strict=True))
    for group in _groups(counting):
        yield from _spread(group, limit_M)
    for group in _groups({name: cost_PM for name, cost_PM in costs.items() if name not in counting}):
        yield from group


def _costs(name: str, values_PM: npt.ArrayLike, directions: Sequence[str]) -> pareto.Floats:
    try:
        return pareto.as_costs(values_PM, directions)
    except ValueError as error:
        raise ValueError(f"surface of trial {name!r}: {error}") from None


def _groups(surfaces: Surfaces) -> Iterator[Surfaces]:
    """The trials with a point on the front, then those of the trials that are left, and so on."""
    left = dict(surfaces)
    while left:
        owners = np.repeat(np.arange(len(left)), [len(cost_PM) for cost_PM in left.values()])
        mask = _on_front(np.concatenate(list(left.values())))
        names = list(left)
        chosen = [names[owner] for owner in np.unique(owners[mask])] or names  # the last ones have no points at all
        yield {name: left.pop(name) for name in chosen}


def _spread(group: Surfaces, limit_M: pareto.Floats) -> Iterator[str]:
    """The trials of a group, each the one that adds most volume to those before it.

    What a trial adds only shrinks as others go before it, so that an old figure bounds the new one (Minoux 1978): only
    the trial on top is measured again.
    """
    union_PM, whole, taken = np.empty((0, len(limit_M))), 0.0, 0
    heap = [(-_volume(cost_PM, limit_M), name, 0) for name, cost_PM in group.items()]
    heapq.heapify(heap)
    while heap:
        _, name, measured = heapq.heappop(heap)
        joined_PM = _front(np.concatenate([union_PM, group[name]]))
        volume = _volume(joined_PM, limit_M)
        if measured < taken:
            heapq.heappush(heap, (whole - volume, name, taken))
        else:
            union_PM, whole, taken = joined_PM, volume, taken + 1
            yield name


def _front(cost_PM: pareto.Floats) -> pareto.Floats:
    """Of equal points one, in an order of their own: equal sets give the same volume to the last bit."""
    front_PM: pareto.Floats = np.unique(cost_PM[_on_front(cost_PM)], axis=0)
    return front_PM


def _on_front(cost_PM: pareto.Floats) -> pareto.Mask:
    return pareto.on_front(cost_PM, ["min"] * cost_PM.shape[1])


def _volume(cost_PM: pareto.Floats, limit_M: pareto.Floats) -> float:
    return pareto.hypervolume(cost_PM, ["min"] * len(limit_M), limit_M.tolist())
