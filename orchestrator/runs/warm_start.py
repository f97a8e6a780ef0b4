"""Warm start: what a sweep's searcher learns from the trials of earlier sweeps of the same storage."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from orchestrator.config import (
    METHOD,
    Config,
    Dimension,
    Fingerprints,
    comparable,
    difference,
    identity,
    method_and_key,
    weights_fingerprint,
)
from orchestrator.errors import ConfigError
from orchestrator.results import Point, read_sweep
from orchestrator.search import Coefficients
from orchestrator.storage import ResultStore

PARTS = ("model", "data", "method", "training")
MAY_DIFFER = (  # on how much it was trained and measured, and by which luck: a proxy's front still says where to look
    "data.limit",
    "data.seed",
    "data.test_limit",
    "data.validation_fraction",
    "training.epochs",
    "training.num_workers",
    "training.precision",
    "training.seed",
)


def earlier_points(
    config: Config, sweep_id: str, store: ResultStore, fingerprints: Fingerprints | None = None
) -> list[Point]:
    """Return the validation points of the finished trials of ``search.warm_start``.

    Their coefficients are stated in this sweep's space: what a trial did not search has the value that it was trained
    with. Their numbers are negative and in order, so that they come before every trial of this sweep.

    Args:
        config: of this sweep.
        sweep_id: of this sweep.
        store: the tables.
        fingerprints: of what this sweep is made of, compared with those that the earlier sweeps recorded.

    Raises:
        ConfigError: a sweep that is not there or is this one, or a trial that differs from this sweep's by more than
            searched keys and ``MAY_DIFFER``.
    """
    points: list[Point] = []
    prints = fingerprints or ({"training": weights_fingerprint(config)} if config.search.warm_start else {})
    for name in config.search.warm_start:
        if name == sweep_id:
            raise ConfigError(
                f"search.warm_start: {name!r} is this sweep itself, whose trials count anyway; leave it out"
            )
        try:
            sweep = read_sweep(store, name)
        except ConfigError as error:
            raise ConfigError(f"search.warm_start: {error}") from error
        if not sweep.config.data.has_validation:
            raise ConfigError(
                f"search.warm_start: {name!r} was measured on test alone (data.validation_fraction=0), and a search"
                " learns from validation images; leave it out"
            )
        recorded = comparable(sweep.fingerprints, prints)
        stated: dict[str, Coefficients] = {}
        for trial in sweep.trials:
            if trial.is_finished:
                theirs = _as_here(sweep.config.with_coefficients(trial.coefficients), config)
                here = config.of_method({METHOD: theirs.method.choice} if theirs.method.choice else {})
                mine = identity(here, comparable(prints, sweep.fingerprints))
                _check_comparable(mine, identity(theirs, recorded), f"trial {trial.number} of {name!r}")
                stated[trial.trial_id] = in_space(config.search.space, theirs)
        for point in sweep.points:
            trial = dataclasses.replace(point.trial, coefficients=stated[point.trial.trial_id])
            points.append(dataclasses.replace(point, trial=trial))
    order = list(dict.fromkeys(point.trial.trial_id for point in points))
    numbers = {trial_id: index - len(order) for index, trial_id in enumerate(order)}
    return [
        dataclasses.replace(point, trial=dataclasses.replace(point.trial, number=numbers[point.trial.trial_id]))
        for point in points
    ]


def _as_here(theirs: Config, config: Config) -> Config:
    """The configuration of an earlier trial with its method as this sweep calls it: that of the same name, or else the
    first that is the same method."""
    methods = config.search.methods
    same = [choice for choice, settings in methods.items() if settings.method.name == theirs.method.name]
    choice = theirs.method.choice if theirs.method.choice in same else next(iter(same), None)
    return dataclasses.replace(theirs, method=dataclasses.replace(theirs.method, choice=choice))


def _check_comparable(mine: Mapping[str, Any], theirs: Mapping[str, Any], name: str) -> None:
    searched = {f"{part}.{method_and_key(key)[1]}" for part in PARTS for key in mine["space"]}
    recorded, asked = ({part: sections[part] for part in PARTS} for sections in (theirs, mine))
    if found := difference(recorded, asked, ignoring={*searched, *MAY_DIFFER}):
        raise ConfigError(
            f"search.warm_start: {name} is of another kind: {found}; leave its sweep out, or search that key"
        )


def in_space(space: Mapping[str, Dimension], config: Config) -> Coefficients:
    """What a trial's configuration says of the dimensions of a space; what is left to the network is not in it."""
    stated = {key: config.coefficient(key) for key in space}
    return {
        key: value
        for key, value in stated.items()
        if isinstance(value, str if space[key].is_text else int | float) and not isinstance(value, bool)
    }
