"""What a call asks for: overrides as on the command line, or keyword arguments that mean the same."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from orchestrator.config import Config, compose_config, override_words, parse_config, storage_of, text_word
from orchestrator.errors import ConfigError

Section = str | Mapping[str, Any]
PathText = str | os.PathLike[str]


class Sections(TypedDict, total=False):
    """The sections of a configuration. Text selects a file of the group, and a mapping sets keys."""

    experiment: str
    model: Section
    data: Section
    method: Section
    training: Section
    evaluation: Section
    search: Section
    sweep: Section
    tracking: Section


def asked_words(overrides: Sequence[str], sections: Mapping[str, Any], storage: PathText | None = None) -> list[str]:
    """Return the overrides, followed by the other arguments as overrides, so that the latter win.

    Raises:
        ConfigError: a value that a configuration cannot hold, or a storage that is given twice.
    """
    words = [*overrides, *override_words(sections)]
    if storage is None:
        return words
    if twice := [word for word in words if word.startswith("storage=")]:
        raise ConfigError(f"{twice[0]} and storage={os.fspath(storage)!r}: the storage is given twice; give it once")
    return [*words, text_word("storage", os.fspath(storage))]


def asked_config(words: Sequence[str]) -> Config:
    """Return the configuration that the overrides ask for.

    Raises:
        ConfigError: anything that is wrong, in one line.
    """
    return parse_config(compose_config(words))


def asked_storage(words: Sequence[str]) -> str:
    """Return the storage that the overrides name, else ``MODA_STORAGE``, else the default."""
    return storage_of([word for word in words if word.startswith("storage=")])


def checked_names(key: str, names: Sequence[str]) -> list[str]:
    """Return names as a list; refuse a single text, which would be split into its letters.

    Raises:
        ConfigError: a single text.
    """
    if isinstance(names, str):
        raise ConfigError(f"{key}={names!r} is one text; give a list, {key}=[{names!r}]")
    return list(names)
