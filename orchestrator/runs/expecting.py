"""What the searcher of a sweep expects of it, from what the tables hold."""

import dataclasses
import math

from orchestrator.errors import ConfigError
from orchestrator.results import Sweep, coefficient_column, coefficient_columns, history
from orchestrator.runs.proposals import search_problem
from orchestrator.runs.warm_start import earlier_points
from orchestrator.search import Forecast, forecast
from orchestrator.storage import DeltaStore

MODELLED = "curve"  # the searcher that has a model of whole surfaces


def expect(sweep: Sweep, store: DeltaStore) -> Forecast | None:
    """Return what the searcher expects more trials to add, and of a trial along each coefficient around the best one;
    None where it has no model yet, or is one without, or nothing was searched. Of several methods there are no slices.

    Args:
        sweep: the sweep.
        store: the tables.
    """
    config = sweep.config
    if config.search.name != MODELLED or not config.search.space or not sweep.front:
        return None
    try:
        earlier = earlier_points(config, sweep.sweep_id, store, sweep.fingerprints)
    except ConfigError:  # what it started from is gone, or is no longer what it was
        return None
    known = history(sweep, earlier)
    problem = dataclasses.replace(search_problem(config), reference=sweep.reference)
    in_flight = [trial for trial in sweep.trials if not trial.is_over]
    pending = [coefficient_columns(config.search.space, trial.coefficients) for trial in in_flight]
    place = math.ceil((1 + max(trial.number for trial in sweep.trials)) / config.search.repeats)
    best = sweep.find("best").trial.trial_id
    (row,) = [trial for trial in known.trials.to_pylist() if trial["trial_id"] == best]
    centre = {name: row[name] for name in problem.space}
    found = forecast(problem, known, pending, place - len(config.search.baselines), centre)
    if found is None or config.search.methods:
        return found and dataclasses.replace(found, slices={})
    names = {coefficient_column(name): name for name in config.search.space}
    return dataclasses.replace(found, slices={names[column]: each for column, each in found.slices.items()})
