"""The list ``data.augmentations``: transforms by name, with their parameters."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.declarations import AUGMENTATIONS, MIXING, Parameter
from orchestrator.errors import ConfigError, shown

KEY = "data.augmentations"


def read_augmentations(stated: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """The transforms of a list, each as its ``name`` and its parameters.

    Args:
        stated: of names alone, or mappings of a ``name`` and parameters.

    Raises:
        ConfigError: a transform or parameter that is not known, or a number out of its range.
    """
    return tuple(_transform(one if isinstance(one, Mapping) else {"name": one}) for one in stated)


def _transform(stated: Mapping[str, Any]) -> dict[str, Any]:
    name = stated.get("name")
    if name in MIXING:
        raise ConfigError(
            f"{KEY}: {name} mixes images of two classes, and modules are trained by pairs of images of the same and of"
            " different classes; take RandomErasing, RandAugment or another one"
        )
    if not isinstance(name, str) or name not in AUGMENTATIONS:
        close = difflib.get_close_matches(str(name), AUGMENTATIONS, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(f"{KEY}: {shown(name)} is not known{meant}; known: {', '.join(AUGMENTATIONS)}")
    known = AUGMENTATIONS[name]
    given = {key: value for key, value in stated.items() if key != "name"}
    if unknown := [key for key in given if key not in known]:
        listed = ", ".join(known) or "none"
        raise ConfigError(f"{KEY}: {name} has no parameter {shown(unknown[0])}; it has {listed}")
    return {"name": name, **{key: _value(f"{KEY}: {name}: {key}", given[key], known[key]) for key in sorted(given)}}


def _value(where: str, value: Any, parameter: Parameter) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2:
            raise ConfigError(f"{where}={shown(value)}: give one number, or two of them: [0.5,2]")
        return [_number(where, one, parameter) for one in value]
    return _number(where, value, parameter)


def _number(where: str, value: Any, parameter: Parameter) -> float | int:
    kinds = (int,) if parameter.is_whole else (int, float)
    low, high = parameter.low, parameter.high
    if not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high:
        kind = "a whole number" if parameter.is_whole else "a number"
        raise ConfigError(f"{where}={shown(value)} must be {kind} from {low:g} to {high:g}")
    return value if parameter.is_whole else float(value)
