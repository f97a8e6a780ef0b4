"""What is refused of a search space before anything is trained."""

import dataclasses
import typing

from orchestrator.config.config import Config
from orchestrator.config.search_section import SearchConfig
from orchestrator.config.training_section import TrainingConfig
from orchestrator.declarations import MARGIN
from orchestrator.errors import ConfigError
from orchestrator.search import Coefficients


def check_space(config: Config) -> None:
    """Refuse a search space that can propose an invalid configuration, and a sweep whose reference point could never be
    known, before anything is trained.
    """
    if not config.search.space:
        raise ConfigError("search.space={}: name at least one coefficient to search")
    if not config.data.has_validation:
        raise ConfigError(
            "data.validation_fraction=0: a sweep chooses on validation images; set data.validation_fraction=0.2 (only"
            " moda train takes 0)"
        )
    hints = typing.get_type_hints(TrainingConfig)
    for key, dimension in config.search.space.items():
        if hints.get(key) is int and not dimension.integer and dimension.choices is None:
            raise ConfigError(f"search.space.{key} takes whole numbers: add integer: true")
    for coefficients in corners(dataclasses.replace(config.search, baselines=())):
        config.with_coefficients(coefficients)
    for baseline in config.search.baselines:
        for key, dimension in config.search.space.items():
            if isinstance(baseline.get(key, dimension.ends[0]), str) != dimension.is_text:
                raise ConfigError(
                    f"search.baselines: {key}={baseline[key]!r} must be"
                    f" {'text' if dimension.is_text else 'a number'}, as search.space.{key} has it"
                )
        config.with_coefficients(baseline)
    _check_reference(config)


def corners(search: SearchConfig) -> list[Coefficients]:
    """Return the corners of the search space: all lowest and all highest coefficients, the other choices and low ends
    beside zeros one at a time, and the baselines.
    """
    space = search.space.items()
    lows = {key: dimension.ends[0] for key, dimension in space}
    highs = {key: dimension.ends[1] for key, dimension in space}
    others = [{**lows, key: value} for key, dimension in space for value in dimension.between]
    return [lows, highs, *others, *({**lows, **baseline} for baseline in search.baselines)]


def _check_reference(config: Config) -> None:
    """Refuse a sweep whose reference point could never be known: a value that follows from the first standard training,
    and no baseline that is one. A confirmation has the reference point of the sweep that it confirms.
    """
    search = config.search
    missing = [name for name in search.objectives if search.reference.get(name) is None]
    is_standard = any(config.with_coefficients(baseline).method.is_standard for baseline in search.baselines)
    if not missing or is_standard or config.method.is_standard or config.sweep.confirms:
        return
    standard = f"{{{', '.join(f'{name}: 0' for name in config.method.weights or ())}}}"
    instead = "" if config.method.is_own else f", or add a standard training, {standard}, to search.baselines"
    raise ConfigError(
        f"search.reference.{missing[0]}=null: the worst value that still counts follows from the first standard"
        f" training, and none of search.baselines is known to be one; state it, search.reference.{missing[0]}=0.8,"
        f" such as what `moda train method=standard` reaches with the whole network, less {MARGIN:g}{instead}"
    )
