"""The searchers by name. One is imported when it is made, and with it what it computes with."""

import importlib

from orchestrator.search.problem import Problem, Searcher

# The module of this room and its class.
SEARCHERS = {
    "curve": ("curve", "CurveSearcher"),
    "optuna_gp": ("optuna_search", "GpSearcher"),
    "optuna_tpe": ("optuna_search", "TpeSearcher"),
    "random": ("quasi_random", "RandomSearcher"),
    "sobol": ("quasi_random", "SobolSearcher"),
}

POOLS = ("vgg", "resnet")  # of trainings, which the curve search may know beforehand (experience.py)


def make_searcher(name: str, problem: Problem) -> Searcher:
    """Make the searcher called ``name`` for a problem.

    Raises:
        ValueError: an unknown name.
    """
    if name not in SEARCHERS:
        raise ValueError(f"search.name={name!r} is not known; known: {', '.join(sorted(SEARCHERS))}")
    module, kind = SEARCHERS[name]
    searcher: Searcher = getattr(importlib.import_module(f"orchestrator.search.{module}"), kind)(problem)
    return searcher
