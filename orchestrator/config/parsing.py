"""Plain data into frozen dataclasses and back, with errors that name the key, the value and what would be right."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import ConfigError, shown

HOW_MAPPED = ", as {key: value}, with a space after each colon and quotes around the override"


def build(kind: Any, value: Any, path: str) -> Any:
    """Build a dataclass from a mapping. Errors name unknown keys, missing keys and wrong types."""
    value = typed(path, value, dict)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(set(value) - set(fields)):
        close = difflib.get_close_matches(str(unknown[0]), fields, n=1)
        hint = f" (did you mean {path}.{close[0]}?)" if close else ""
        raise ConfigError(f"unknown key {path}.{unknown[0]}{hint}; known: {', '.join(sorted(fields)) or 'none'}")
    arguments = {key: typed(f"{path}.{key}", part, hints[key]) for key, part in value.items()}
    required = [
        name
        for name, part in fields.items()
        if part.default is dataclasses.MISSING and part.default_factory is dataclasses.MISSING
    ]
    if absent := [name for name in required if name not in arguments]:
        raise ConfigError(f"{path}.{absent[0]} is missing; set it, {path}.{absent[0]}=...")
    try:
        return kind(**arguments)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def typed(path: str, value: Any, kind: Any) -> Any:
    """Return ``value`` as the type that the field declares, or raise an error that names both."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        if value is None and type(None) in arguments:
            return None
        kinds = [argument for argument in arguments if argument is not type(None)]
        return typed(path, value, next((kind for kind in kinds if type(value) is kind), kinds[0]))
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path}={shown(value)} must be a list, as {path}=[a,b]")
        return tuple(typed(f"{path}[{index}]", part, arguments[0]) for index, part in enumerate(value))
    if origin is not None:  # a mapping
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}={shown(value)} must be a mapping{HOW_MAPPED}")
        return {key: typed(f"{path}.{key}", part, arguments[1]) for key, part in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # class names such as 3
    if kind is Any:
        return value
    if kind is str and isinstance(value, bool | float):
        raise ConfigError(f"{path}={shown(value)} must be text: put it in quotes")  # a YAML file means a number by 1e3
    if kind is dict and not isinstance(value, dict):
        raise ConfigError(f"{path}={shown(value)} must be a mapping{HOW_MAPPED}")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{path}={shown(value)} must be of type {kind.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path}={value} must be a finite number")
    return value


def as_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: as_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: as_plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [as_plain(part) for part in value]
    return value
