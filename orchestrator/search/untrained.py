"""Which sets of coefficients of a space are left to train: whole numbers and choices run out."""

import itertools
import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

from orchestrator.search.problem import Coefficients, History, Problem, SpaceExhausted

DRAWS = 256  # taken of a sequence before what is left is looked for in order


def trained_keys(problem: Problem, history: History, pending: Sequence[Mapping[str, Any]]) -> Collection[Hashable]:
    """The keys of the sets of coefficients that are trained or in training, whatever became of them.

    Trials of earlier sweeps do not count: they may have been trained on less data, or for fewer epochs.

    Raises:
        SpaceExhausted: they are all of the space.
    """
    keys = history.trained
    if keys is None:
        own = [row for row in history.trials.to_pylist() if row["number"] >= 0]
        keys = {problem.key(coefficients) for coefficients in (*own, *pending)} - {None}
    if len(keys) >= problem.size:
        raise SpaceExhausted(exhausted_text(problem))
    return keys


def first_untrained(problem: Problem, units: Iterable[Sequence[float]], trained: Collection[Hashable]) -> Coefficients:
    """The first set of coefficients of a sequence that is not trained yet.

    Where the sequence does not meet what is left, it is the first in the order of the space.

    Args:
        problem: the problem.
        units: points of the unit cube, without end.
        trained: what :func:`trained_keys` gives.

    Raises:
        SpaceExhausted: nothing is left that the numbers of this machine can tell apart.
    """
    drawn = map(problem.from_unit, itertools.islice(units, DRAWS))
    in_order = map(problem.nth, range(len(trained) + 1)) if problem.size < math.inf else ()
    for coefficients in itertools.chain(drawn, in_order):
        if problem.key(coefficients) not in trained:
            return coefficients
    raise SpaceExhausted(exhausted_text(problem))


def exhausted_text(problem: Problem) -> str:
    """Return the message that the search space is exhausted."""
    if problem.size < math.inf:
        return f"all {problem.size:.0f} sets of coefficients of the space are trained"
    return "all sets of coefficients of the space are trained: its dimensions are too narrow for more"
