"""What the shell may complete a word of the command line to. Each function takes what was typed and what was parsed."""

import argparse
from collections.abc import Callable, Sequence
from contextlib import suppress

from orchestrator.config import GROUPS, choices_of, config_dir_word, list_keys, named_storage, storage_of
from orchestrator.errors import MISTAKES, RunError

Completer = Callable[..., list[str]]
BOOLEANS = ("true", "false")


def complete_override(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Return groups and keys, or after ``=`` the values that one can have."""
    key, equals, _value = prefix.partition("=")
    if not equals:
        return [*(f"{group}=" for group in GROUPS), *(f"{name}=" for name in _keys())]
    if key in GROUPS:
        return [f"{key}={name}" for name in choices_of(key, _folder_words(parsed_args))]
    return [f"{key}={value}" for value in _keys().get(key, ())]


def complete_sweep(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Return the sweeps of the storage."""
    from orchestrator.api import open_store

    names: list[str] = []
    with suppress(*MISTAKES, RunError, OSError):
        names = sorted(open_store(_storage(parsed_args)).read("sweeps")["sweep_id"].to_pylist())
    return names


def complete_trial(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Return sweeps, and behind a slash the trials of one."""
    sweep, slash, _number = prefix.partition("/")
    if not slash:
        return [f"{name}/" for name in complete_sweep(prefix, parsed_args)]
    return [f"{sweep}/{trial}" for trial in _trials(sweep, parsed_args)]


def complete_reference(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Return ``sweep:mine/best`` and the like: sweeps, and behind a slash the points of the front."""
    sweep, slash, _point = prefix.removeprefix("sweep:").partition("/")
    if not prefix.startswith("sweep:"):
        return [f"sweep:{name}/" for name in complete_sweep(prefix, parsed_args)]
    if not slash:
        return [f"sweep:{name}/" for name in complete_sweep(sweep, parsed_args)]
    return [f"sweep:{sweep}/{point}" for point in _points(sweep, parsed_args)]


def complete_point(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Return the points of the front of the sweep that was named before."""
    return ["front", *_points(getattr(parsed_args, "sweep", None) or "", parsed_args)]


def complete_key(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Return sections and keys of the configuration."""
    keys = list(_keys())
    return [*dict.fromkeys(key.partition(".")[0] for key in keys), *keys]


def _keys() -> dict[str, Sequence[str]]:
    """Every key of the default configuration with its values, where there are a few."""
    from orchestrator.config import compose_config

    plain = compose_config([])
    keys = {key.name: key for key in list_keys(plain, plain)}
    return {name: BOOLEANS if isinstance(key.value, bool) else key.declared.choices for name, key in keys.items()}


def _points(sweep: str, parsed_args: argparse.Namespace) -> list[str]:
    from orchestrator.api import open_recorded

    with suppress(*MISTAKES, RunError, OSError):
        recorded = open_recorded(_storage(parsed_args), sweep).recorded
        return ["best", "knee", *(point.label for point in recorded.front)]
    return []


def _trials(sweep: str, parsed_args: argparse.Namespace) -> list[int]:
    from orchestrator.api import open_recorded

    with suppress(*MISTAKES, RunError, OSError):
        return [trial.number for trial in open_recorded(_storage(parsed_args), sweep).recorded.trials]
    return []


def _storage(parsed_args: argparse.Namespace) -> str:
    words = [word for word in getattr(parsed_args, "overrides", None) or () if word.startswith("storage=")]
    return named_storage(words) or storage_of(words)


def _folder_words(parsed_args: argparse.Namespace) -> list[str]:
    folder = getattr(parsed_args, "config_dir", None)
    with suppress(*MISTAKES):
        return [config_dir_word(folder)] if folder else []
    return []
