"""Searchers that look at nothing: quasi-random (Sobol) and random points of the space, by trial number alone."""

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.search.problem import Coefficients, History, Problem


class SobolSearcher:
    """Scrambled Sobol points: evenly spread for any number of trials, the same whatever order trials finish in."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def propose(self, history: History, pending: Sequence[Mapping[str, float]], number: int) -> Coefficients:
        """Point ``number`` of the sequence."""
        from scipy.stats import qmc  # takes half a second, and only a sweep needs it

        sequence = qmc.Sobol(len(self.problem.space), scramble=True, rng=np.random.default_rng(self.problem.seed))
        if number > 0:  # scipy fails on 0
            sequence.fast_forward(number)
        return self.problem.from_unit(sequence.random(1)[0].tolist())


class RandomSearcher:
    """Uniform points, each from a generator of its own number."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def propose(self, history: History, pending: Sequence[Mapping[str, float]], number: int) -> Coefficients:
        """Point ``number``."""
        generator = np.random.default_rng([self.problem.seed, number])
        return self.problem.from_unit(generator.random(len(self.problem.space)).tolist())
