"""The searchers by name."""

from collections.abc import Callable

from orchestrator.search.curve import CurveSearcher
from orchestrator.search.optuna_search import GpSearcher, TpeSearcher
from orchestrator.search.problem import Problem, Searcher
from orchestrator.search.quasi_random import RandomSearcher, SobolSearcher

SEARCHERS: dict[str, Callable[[Problem], Searcher]] = {
    "curve": CurveSearcher,
    "optuna_gp": GpSearcher,
    "optuna_tpe": TpeSearcher,
    "random": RandomSearcher,
    "sobol": SobolSearcher,
}


def make_searcher(name: str, problem: Problem) -> Searcher:
    """The searcher called ``name`` for a problem.

    Raises:
        ValueError: an unknown name.
    """
    if name not in SEARCHERS:
        raise ValueError(f"search.name={name!r} is not known; known: {', '.join(sorted(SEARCHERS))}")
    return SEARCHERS[name](problem)
