from .forecasting import Forecast, Slice, forecast
from .halving import rungs
from .problem import TRIAL_COLUMNS, Coefficients, Constraint, Grid, History, Problem, Searcher, SpaceExhausted
from .scales import FLOOR, LINEAR, LOGARITHMIC, SCALES, scaled, scaled_reference
from .searchers import POOLS, SEARCHERS, make_searcher
from .statuses import Status
from .untrained import exhausted_text

__all__ = [
    "FLOOR",
    "LINEAR",
    "LOGARITHMIC",
    "POOLS",
    "SCALES",
    "SEARCHERS",
    "TRIAL_COLUMNS",
    "Coefficients",
    "Constraint",
    "Forecast",
    "Grid",
    "History",
    "Problem",
    "Searcher",
    "Slice",
    "SpaceExhausted",
    "Status",
    "exhausted_text",
    "forecast",
    "make_searcher",
    "rungs",
    "scaled",
    "scaled_reference",
]
