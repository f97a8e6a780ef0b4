"""Searchers that look at no result: quasi-random (Sobol) and random points of the space, by trial number.

Each number has a sequence of its own; the first of its points that is not trained yet is proposed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.search.problem import Coefficients, History, Problem
from orchestrator.search.untrained import first_untrained, trained_keys


class SobolSearcher:
    """Scrambled Sobol points: evenly spread for any number of trials, the same whatever order trials finish in."""

    learns = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def propose(self, history: History, pending: Sequence[Mapping[str, Any]], number: int) -> Coefficients:
        """Propose point ``number`` of the sequence, or the next one that is not trained yet."""
        return first_untrained(self.problem, self._points(number), trained_keys(self.problem, history, pending))

    def _points(self, number: int) -> Iterator[list[float]]:
        from scipy.stats import qmc  # takes half a second, and only a sweep needs it

        sequence = qmc.Sobol(len(self.problem.space), scramble=True, rng=np.random.default_rng(self.problem.seed))
        if number > 0:  # scipy fails on 0
            sequence.fast_forward(number)
        while True:
            yield sequence.random(1)[0].tolist()


class RandomSearcher:
    """Uniform points, each from a generator of its own number."""

    learns = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def propose(self, history: History, pending: Sequence[Mapping[str, Any]], number: int) -> Coefficients:
        """Propose the first point of generator ``number`` that is not trained yet."""
        return first_untrained(self.problem, self._points(number), trained_keys(self.problem, history, pending))

    def _points(self, number: int) -> Iterator[list[float]]:
        generator = np.random.default_rng([self.problem.seed, number])
        while True:
            yield generator.random(len(self.problem.space)).tolist()
