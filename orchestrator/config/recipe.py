"""A recorded configuration as words of the command line that compose it again."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import yaml

from orchestrator.config.composing import compose_config
from orchestrator.config.config import Config, parse_config, to_plain
from orchestrator.config.groups import choices_of
from orchestrator.config.words import whole_word
from orchestrator.errors import ConfigError

NAMED = ("model", "data", "method", "search")  # groups whose files say the name that a configuration records
WHOLE = ("search.space", "search.objectives", "search.reference")  # mappings that replace those that are there
ELSEWHERE = ("storage", "tracking")  # sections that say where results go, not what they are

Plain = Mapping[str, Any]


def recipe_words(config: Config) -> list[str] | None:
    """Return overrides of the shipped configuration that compose a recorded one; None where no overrides do, as of most
    sweeps of several methods.

    The name of the sweep, the storage and the tracking are left out.
    """
    words = _recipe_words(json.dumps(_without_places(to_plain(config)), sort_keys=True))
    return None if words is None else list(words)


@functools.lru_cache(maxsize=8)
def _recipe_words(recorded: str) -> tuple[str, ...] | None:
    wanted = json.loads(recorded)
    choices = [word for group in NAMED for word in _chosen(group, wanted[group])]
    without_data = [word for word in choices if not word.startswith("data=")]  # whose file may leave a key to be given
    for chosen in (choices, without_data):
        try:
            words = (*chosen, *_words(wanted, _composed(chosen)))
            if _composed(words) == wanted:
                return words
        except ConfigError:
            continue
    return None


def _composed(words: Sequence[str]) -> Plain:
    plain: Plain = json.loads(json.dumps(_without_places(to_plain(parse_config(compose_config(words))))))
    return plain


def _without_places(plain: Plain) -> Plain:
    kept = {section: value for section, value in plain.items() if section not in ELSEWHERE}
    return {**kept, "sweep": {**kept["sweep"], "name": None}}


def _chosen(group: str, wanted: Plain) -> Iterator[str]:
    """The file of a group that has most in common with what is wanted, of those that have its name."""
    best, most = "", 0
    for choice in choices_of(group):
        text = (resources.files("sweeps") / group / f"{choice}.yaml").read_text(encoding="utf-8")
        document = yaml.safe_load(text)
        stated = document[group] if "@package _global_" in text else document
        if stated.get("name") == wanted["name"]:
            alike = sum(wanted.get(key) == value for key, value in stated.items())
            best, most = (choice, alike) if alike > most else (best, most)
    if best:
        yield f"{group}={best}"


def _words(wanted: Plain, base: Plain, place: str = "") -> Iterator[str]:
    for key in base.keys() - wanted.keys():
        yield f"~{place}{key}"
    for key, value in wanted.items():
        before = base.get(key)
        if value == before and key in base:
            continue
        if isinstance(value, Mapping) and isinstance(before, Mapping) and f"{place}{key}" not in WHOLE:
            yield from _words(value, before, f"{place}{key}.")
        else:
            yield whole_word(f"{place}{key}", value)
