"""Searchers: pure functions from what is known to the next trial's coefficients."""

from orchestrator.search.problem import History, Problem, Searcher
from orchestrator.search.quasi_random import RandomSearcher, SobolSearcher

SEARCHERS: dict[str, type[RandomSearcher] | type[SobolSearcher]] = {"random": RandomSearcher, "sobol": SobolSearcher}


def make_searcher(name: str, problem: Problem) -> Searcher:
    """The searcher called ``name`` for a problem.

    Raises:
        ValueError: an unknown name.
    """
    if name not in SEARCHERS:
        raise ValueError(f"search.name={name!r} is not known; known: {', '.join(sorted(SEARCHERS))}")
    return SEARCHERS[name](problem)


__all__ = ["SEARCHERS", "History", "Problem", "Searcher", "make_searcher"]
