from .halving import rungs
from .problem import TRIAL_COLUMNS, Coefficients, Constraint, Grid, History, Problem, Searcher, SpaceExhausted
from .searchers import SEARCHERS, make_searcher
from .statuses import Status
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
    "Status",
    "exhausted_text",
    "make_searcher",
    "rungs",
]
