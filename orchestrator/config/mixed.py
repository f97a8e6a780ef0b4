"""A sweep of several methods: which keys are whose.

``search.space.method`` has the names of files of ``sweeps/method`` as its choices. A dimension of one method alone is
called ``method.<name>.<key>`` and is active where that method is chosen; every other dimension is shared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.config.sections import MethodConfig

METHOD = "method"  # the dimension whose choices are methods


@dataclass(frozen=True)
class MethodSettings:
    """What one method of a mixed sweep brings along.

    Attributes:
        method: its coefficients.
        training: the keys of the section in which the methods differ.
        evaluation: likewise.
    """

    method: MethodConfig
    training: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)


def dimension_name(method: str, key: str) -> str:
    """Return the name of a dimension of one method: ``method.moda.alpha``."""
    return f"{METHOD}.{method}.{key}"


def method_and_key(name: str) -> tuple[str | None, str]:
    """Split the name of a dimension or coefficient into its method, None where it is shared, and its key."""
    section, _, rest = name.partition(".")
    method, dot, key = rest.partition(".")
    return (method, key) if section == METHOD and dot else (None, name)


def without_method_names(coefficients: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial's coefficients by their keys alone, ``alpha`` for ``method.moda.alpha``, behind the method."""
    first = {name: value for name, value in coefficients.items() if name == METHOD}
    return {**first, **{method_and_key(name)[1]: value for name, value in coefficients.items()}}


def flat_space(space: Mapping[str, Any], methods: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stated space with the dimensions under ``method`` by their names."""
    chosen = dict(space.get(METHOD) or {})
    own = {method: chosen.pop(method) or {} for method in methods if method in chosen}
    conditional = {dimension_name(method, key): value for method, part in own.items() for key, value in part.items()}
    return {**space, METHOD: chosen, **conditional}


def nested_space(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return a space as it is stated; :func:`flat_space` the other way round."""
    nested: dict[str, Any] = {}
    for name, value in space.items():
        method, key = method_and_key(name)
        if method is None:
            nested[name] = {**nested.get(name, {}), **value} if name == METHOD else value
        else:
            nested.setdefault(METHOD, {}).setdefault(method, {})[key] = value
    return nested
