from .halving import rungs
from .problem import TRIAL_COLUMNS, Coefficients, Constraint, Grid, History, Problem, Searcher, SpaceExhausted
from .searchers import SEARCHERS, make_searcher
from .untrained import exhausted_text

__all__ = [
    "SEARCHERS",
    "TRIAL_COLUMNS",
    "Coefficients",
    "Constraint",
    "Grid",
    "History",
    "Problem",
    "Searcher",
    "SpaceExhausted",
    "exhausted_text",
    "make_searcher",
    "rungs",
]
