"""``search.space.method={choices: [moda, standard]}`` becomes one configuration of what each method's file says."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.config.checks import one_of
from orchestrator.config.evaluation_section import EvaluationConfig
from orchestrator.config.groups import choices_of
from orchestrator.config.mixed import METHOD, dimension_name
from orchestrator.config.training_section import TrainingConfig
from orchestrator.errors import ConfigError

Plain = Mapping[str, Any]

SPACE = f"search.space.{METHOD}"
METHODS = "search.methods"
OF_ALL = ("num_workers", "cpus_per_worker", "gpus_per_worker", "max_failures", "init_from")  # of section `training`
SECTIONS = {"training": TrainingConfig, "evaluation": EvaluationConfig}  # in which methods may differ


def is_mixed(plain: Plain) -> bool:
    """Return whether a composed configuration searches over methods."""
    return METHOD in _space(plain)


def chosen_methods(plain: Plain, words: Sequence[str]) -> list[str]:
    """Return the methods that a composed configuration searches over.

    Raises:
        ConfigError: choices that are not files of ``sweeps/method``, or overrides that would be of one method of them
            without saying of which.
    """
    stated = _space(plain)[METHOD]
    choices = stated.get("choices") if isinstance(stated, Mapping) else None
    files = choices_of(METHOD, words)
    if not isinstance(choices, list) or not choices:
        raise ConfigError(f"{SPACE}={stated}: give the methods, {SPACE}={{choices: [moda, standard]}}; {_known(files)}")
    for name in choices:
        one_of(f"{SPACE}.choices", name, files)
    for name in set(stated) - {"choices"}:
        one_of(SPACE, name, choices)
    for name in _methods(plain):
        one_of(METHODS, name, choices)
    for word in words:
        key = _key(word)
        if key == METHOD or key.startswith(f"{METHOD}."):
            raise ConfigError(
                f"{word}: this sweep has several methods; leave it out, and set a coefficient of one as"
                f" {METHODS}.{choices[0]}.{METHOD}.<key>=..."
            )
    return [str(name) for name in choices]


def shared_words(words: Sequence[str]) -> list[str]:
    """Return the overrides that are not about one method of several, with which every method is composed."""
    return [word for word in words if not _is_under(word, SPACE) and not _is_under(word, METHODS)]


def removals(words: Sequence[str]) -> list[str]:
    """Return the overrides that remove something of one method, which is there only when methods are mixed."""
    return [word for word in words if word.startswith(f"~{SPACE}.")]


def mix_methods(plain: Plain, composed: Mapping[str, Plain], words: Sequence[str]) -> dict[str, Any]:
    """Return the configuration of a sweep over several methods.

    A key of training or model that every method's file searches is shared, over the widest range that one of them has.
    Everything else is searched with its method alone. A baseline that names no method is trained with each of those
    whose file, or whose command line, states it.

    Args:
        plain: the composed configuration with ``search.space.method``.
        composed: the configuration with each method in place, by the shared overrides.
        words: the overrides as they were typed.

    Raises:
        ConfigError: methods that cannot be of one sweep, or overrides that do not say of which method they are.
    """
    _check_shared(composed)
    _check_typed(composed, words)
    name_of_first, first = next(iter(composed.items()))
    own = {name: _own_settings(name, composed) for name in composed}
    space = _mixed_space(composed)
    stated = _space(plain)[METHOD]
    for name in composed:
        space[METHOD][name] = _merged(space[METHOD][name], stated.get(name) or {})
    for word in removals(words):
        _remove(space[METHOD], word)
    methods = {name: _merged(settings, _methods(plain).get(name) or {}) for name, settings in own.items()}
    search = {**first["search"], "space": space, "baselines": _baselines(composed), "methods": methods}
    evaluation = {key: _union(_values(key, composed, methods)) for key in _evaluated(composed)}
    method = methods[name_of_first][METHOD]
    return {**first, METHOD: method, "evaluation": evaluation, "search": search}


def _mixed_space(composed: Mapping[str, Plain]) -> dict[str, Any]:
    spaces = {name: _space(part) for name, part in composed.items()}
    shared: dict[str, Any] = {}
    for key in dict.fromkeys(key for space in spaces.values() for key in space):
        is_coefficient = any(key in part[METHOD] for part in composed.values())
        if not is_coefficient and all(key in space for space in spaces.values()):
            widest = _widest([space[key] for space in spaces.values()])
            if widest is not None:
                shared[key] = widest
    own = {name: {key: value for key, value in space.items() if key not in shared} for name, space in spaces.items()}
    return {METHOD: {"choices": list(composed), **own}, **shared}


def _widest(dimensions: Sequence[Plain]) -> dict[str, Any] | None:
    """One dimension for all; None where they are of different kinds."""
    first = dict(dimensions[0])
    if all(dimension == first for dimension in dimensions):
        return first
    ends = ("low", "high")
    kinds = [{key: value for key, value in dimension.items() if key not in ends} for dimension in dimensions]
    if any(kind != kinds[0] for kind in kinds) or not all(end in dimension for dimension in dimensions for end in ends):
        return None
    return {
        **first,
        "low": min(dimension["low"] for dimension in dimensions),
        "high": max(dimension["high"] for dimension in dimensions),
    }


def _baselines(composed: Mapping[str, Plain]) -> list[dict[str, Any]]:
    """Of every method's file, each with its method."""
    stated = [
        {METHOD: name, **baseline}
        for name, part in composed.items()
        for baseline in part["search"].get("baselines") or ()
    ]
    return [baseline for place, baseline in enumerate(stated) if baseline not in stated[:place]]


def _own_settings(name: str, composed: Mapping[str, Plain]) -> dict[str, Any]:
    """What a method's configuration has of its own: its section, and the keys in which the methods differ."""
    settings: dict[str, Any] = {METHOD: dict(composed[name][METHOD])}
    for section, kind in SECTIONS.items():
        values = {other: part[section] for other, part in composed.items()}
        keys = dict.fromkeys(key for value in values.values() for key in value)
        usual = {
            declared.name: declared.default if declared.default is not dataclasses.MISSING else None
            for declared in dataclasses.fields(kind)
        }
        of_each = {key: [value.get(key, usual.get(key)) for value in values.values()] for key in keys}
        differing = [key for key, found in of_each.items() if any(value != found[0] for value in found)]
        settings[section] = {key: _listed(values[name].get(key, usual.get(key))) for key in differing}
    return settings


def _values(key: str, composed: Mapping[str, Plain], methods: Mapping[str, Plain]) -> list[Any]:
    """What each method has of a key of evaluation."""
    return [methods[name]["evaluation"].get(key, part["evaluation"].get(key)) for name, part in composed.items()]


def _evaluated(composed: Mapping[str, Plain]) -> list[str]:
    return list(dict.fromkeys(key for part in composed.values() for key in part["evaluation"]))


def _union(values: Sequence[Any]) -> Any:
    """The values of all lists, each once; of anything else the first one's."""
    stated = [value for value in values if value is not None]
    if not stated or not all(isinstance(value, list) for value in stated):
        return values[0]
    every = [element for value in stated for element in value]
    return [element for place, element in enumerate(every) if element not in every[:place]]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check_shared(composed: Mapping[str, Plain]) -> None:
    """Refuse methods whose files differ in what a sweep has once."""
    (first, usual), *others = composed.items()
    for name, other in others:
        for section in ("model", "data"):
            if usual[section] != other[section]:
                raise ConfigError(f"{SPACE}: {name} and {first} have different sections {section}; sweep them apart")
        for key in OF_ALL:
            if usual["training"].get(key) != other["training"].get(key):
                raise ConfigError(
                    f"{SPACE}: {name} and {first} have different training.{key}, which a sweep has once; set it, or"
                    " sweep them apart"
                )


def _check_typed(composed: Mapping[str, Plain], words: Sequence[str]) -> None:
    """Refuse a dimension of a coefficient that does not say of which method it is."""
    for word in words:
        key = _key(word).removeprefix("search.space.").split(".")[0]
        of = [name for name, part in composed.items() if key in part[METHOD] and key != METHOD]
        if _is_under(word, "search.space") and of:
            names = " or ".join(f"search.space.{dimension_name(method, key)}" for method in of)
            raise ConfigError(f"{word}: of which method? Write {names}")


def _remove(space: dict[str, Any], word: str) -> None:
    *path, last = _key(word).removeprefix(f"{SPACE}.").split(".")
    node: Any = space
    for name in path:
        node = node.get(name) if isinstance(node, Mapping) else None
    if not isinstance(node, dict) or last not in node:
        raise ConfigError(f"{word}: there is no {_key(word)}; leave it out")
    del node[last]


def _merged(usual: Plain, stated: Plain) -> dict[str, Any]:
    merged = dict(usual)
    for key, value in stated.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _space(plain: Plain) -> Plain:
    space = plain["search"].get("space") if isinstance(plain.get("search"), Mapping) else None
    return space if isinstance(space, Mapping) else {}


def _methods(plain: Plain) -> Plain:
    methods = plain["search"].get("methods")
    return methods if isinstance(methods, Mapping) else {}


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _is_under(word: str, key: str) -> bool:
    return _key(word) == key or _key(word).startswith(f"{key}.")


def _known(files: Sequence[str]) -> str:
    return f"known: {', '.join(files)}"
