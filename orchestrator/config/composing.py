"""Overrides and the files of ``sweeps/`` become a configuration, once, at the edge. Only this file sees OmegaConf."""

import copy
import dataclasses
import functools
import glob
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.config.config import Config, parse_config, to_plain
from orchestrator.config.groups import GROUPS, SEARCH_PATH, check_choice, choices_of, is_group
from orchestrator.config.mixing import chosen_methods, is_mixed, mix_methods, removals, shared_words
from orchestrator.config.overrides import (
    absolute,
    all_keys,
    as_hydra,
    meant,
    named_storage,
    read_overrides,
    replaces,
)
from orchestrator.errors import ConfigError

if TYPE_CHECKING:  # a worker reads no overrides
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

MERGING = "Error merging override "  # how Hydra begins what is wrong with the value of a key


def load_config(overrides: Sequence[str]) -> Config:
    """Compose ``sweeps/config.yaml`` with the overrides and check it.

    Raises:
        ConfigError: anything that is wrong, in one line.
    """
    return parse_config(compose_config(overrides))


def storage_of(overrides: Sequence[str]) -> str:
    """Return the storage that overrides name, else ``MODA_STORAGE``, else the default of ``sweeps/config.yaml``.

    Hydra is loaded only where it is needed, since commands that look at results need nothing else of a configuration.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    return named_storage(overrides) or load_config(overrides).storage


def compose_config(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose the configuration and return it as plain data. Relative paths are made absolute here, where they are
    typed. Of a sweep of several methods each is composed, and the configuration holds what each of them brings along.

    Raises:
        ConfigError: an override that cannot be read or applied.
    """
    from orchestrator.config.yaml_text import check_chosen_file

    for override in read_overrides(overrides):
        _check_group(override, overrides)
    for word in overrides:
        check_chosen_file(word, overrides)
    removed = removals(overrides)
    plain = _compose([word for word in overrides if word not in removed])
    if is_mixed(plain):
        names, words = chosen_methods(plain, overrides), shared_words(overrides)
        plain = mix_methods(plain, {name: _compose([*words, f"method={name}"]) for name in names}, overrides)
    elif removed:
        raise ConfigError(f"{removed[0]}: this sweep has one method; leave it out")
    _resolve_paths(plain)
    return plain


def _compose(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose the chosen files and set the other keys in their order, as Hydra does."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    addable = [_addable(as_hydra(override)) for override in overrides]
    try:
        parsed = OverridesParser.create().parse_overrides(addable)
        choices = tuple(str(each.input_line) for each in parsed if _is_for_files(each.key_or_group, overrides))
        composed = _composed_files(choices)
        for override in parsed:
            if not _is_for_files(override.key_or_group, overrides):
                if replaces(override):
                    OmegaConf.update(composed, override.key_or_group, {}, merge=False, force_add=True)
                ConfigLoaderImpl._apply_overrides_to_config([override], composed)
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        raise ConfigError(_one_line(error)) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _composed_files(choices: tuple[str, ...]) -> "DictConfig":
    """A copy of the files that the choices name; those of one's own, which may have been edited, are read again."""
    is_shipped = not any(choice.lstrip("+").startswith(SEARCH_PATH) for choice in choices)
    return copy.deepcopy(_compose_files(choices) if is_shipped else _compose_files.__wrapped__(choices))


@functools.lru_cache(maxsize=32)
def _compose_files(choices: tuple[str, ...]) -> "DictConfig":
    """The files that the choices name, composed. This is most of the work, and a process composes the same ones often:
    for each method of a sweep of several, and in a notebook for each call."""
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_module("sweeps", version_base="1.3"):
        return compose("config", overrides=list(choices))


def _is_for_files(key: str, words: Sequence[str]) -> bool:
    """Whether a key chooses files, or is Hydra's own: what is decided before any other key is set."""
    return key.partition(".")[0].partition("/")[0] == "hydra" or is_group(key, words)


def override_config(config: Config, overrides: Sequence[str]) -> Config:
    """Apply ``key=value``, ``+key=value`` or ``~key`` to a recorded configuration; a mapping is merged, but for those
    that :func:`replaces` is about.

    Paths are those of this machine: a relative one is looked for as in a new configuration.

    Raises:
        ConfigError: an override that cannot be read or applied, or what comes of it is wrong.
    """
    if not overrides:
        return config
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    changed = OmegaConf.create(to_plain(config))
    try:
        for override in read_overrides(overrides):
            if override.is_delete():
                at, _, name = override.key_or_group.rpartition(".")
                section = OmegaConf.select(changed, at)
                if section is None or name not in section:
                    raise ConfigError(f"{override.input_line}: the sweep has no {override.key_or_group}; leave it out")
                del section[name]
            else:
                value = path_here(override.key_or_group, override.value())
                merge = not replaces(override)
                OmegaConf.update(changed, override.key_or_group, value, merge=merge, force_add=True)
                _set_for_all(changed, override.key_or_group)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error)) from error
    plain: Any = OmegaConf.to_container(changed)
    return parse_config(plain)


def _set_for_all(changed: Any, key: str) -> None:
    """A key of training that is set to something else in a sweep of several methods is so for each of them."""
    section, _, name = key.partition(".")
    for settings in (changed.search.get("methods") or {}).values():
        if section == "training":
            settings.training.pop(name, None)


def chosen_files(overrides: Sequence[str]) -> dict[str, str]:
    """Return the files that a configuration is made of, by group, without experiments.

    Raises:
        ConfigError: as :func:`compose_config`.
    """
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    words = [word for word in overrides if _is_for_files(word.lstrip("+~").partition("=")[0], overrides)]
    compose_config(words)  # which refuses what is not there
    GlobalHydra.instance().clear()
    with initialize_config_module("sweeps", version_base="1.3"):
        chosen = compose("config", overrides=words, return_hydra_config=True).hydra.runtime.choices
    return {str(group): str(name) for group, name in chosen.items() if group in GROUPS and group != "experiment"}


def path_here(key: str, value: Any) -> Any:
    """Resolve the value of a key that overrides a recorded configuration: a relative path as in a new configuration."""
    if not isinstance(value, str):
        return value
    if key in ("data.path", "data.test_path"):
        return _path(key, value, os.environ.get("MODA_DATA_DIR"))
    return _path(key, value) if key in ("data.root", "training.init_from") else value


def _check_group(override: "Override", words: Sequence[str]) -> None:
    """Refuse a group that is set to anything but the name of one of its files."""
    group = override.key_or_group
    if override.is_delete() or not is_group(group, words):
        return
    name = override.value()
    if name is None and group == "experiment":
        return
    if not isinstance(name, str):
        names = ", ".join(choices_of(group, words))
        raise ConfigError(f"{override.input_line}: give the name of one file of the group: {names}")
    check_choice(group, name, words)


def _addable(override: str) -> str:
    """``training.epoch=3`` as ``++training.epoch=3``: any key may be given plainly, and a wrong one is our error."""
    key = override.partition("=")[0]
    is_ours = "." in key and not key.startswith(("+", "~", "hydra."))
    return f"++{override}" if is_ours else override


def _resolve_paths(plain: Any) -> None:
    """Make relative paths absolute: trials run in other folders. A table's path stays as typed and its root becomes
    absolute, so that another machine can be told the root alone."""
    data, training = plain.get("data"), plain.get("training")
    if isinstance(data, dict) and (isinstance(data.get("root"), str) or data.get("name") != "digits"):
        data["root"] = _path("data.root", data.get("root") or "")  # digits come with scikit-learn
        for key in ("path", "test_path"):
            if isinstance(data.get(key), str):
                data[key] = _found_path(data[key], data["root"])
    if isinstance(training, dict) and isinstance(training.get("init_from"), str):
        training["init_from"] = _path("training.init_from", training["init_from"])


def _found_path(path: str, root: str) -> str:
    """A path or pattern as it is if something is there under the root; otherwise that of the working folder, if
    something is there."""
    places = absolute(path, root), absolute(path)
    under_root, here = (os.path.exists(place) or bool(glob.glob(place)) for place in places)
    return places[1] if here and not under_root else path


def _path(key: str, value: str, base: str | None = None) -> str:
    """As :func:`absolute`; a URI would become a folder such as ``s3:`` in the working folder."""
    if "://" in value:
        raise ConfigError(f"{key}={value} is a URI; copy the file to this machine and give its path")
    return absolute(value, base)


def _why_not_merged(cause: BaseException) -> str:
    """Why an override does not fit the key that it is for, and what to write."""
    if "Cannot merge" in str(cause):
        return "the key is a mapping; give one, as {name: value}"
    return "the value cannot be read; write \\${ for a literal ${"


def _one_line(error: BaseException) -> str:
    """The message of an error, or of its cause where it has none, without Hydra's extra lines."""
    while not str(error).strip() and error.__cause__ is not None:
        error = error.__cause__
    noise = ("full_key", "object_type", "Set the env variable", "See https", "To append to your config")
    if str(error).startswith(MERGING) and error.__cause__ is not None:
        return f"{str(error).removeprefix(MERGING).lstrip('+')}: {_why_not_merged(error.__cause__)}"
    text = str(error).partition("Config search path")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = " ".join(line for line in lines if not line.startswith(noise))
    if "nterpolation" in line:
        line += "; write \\${ for a literal ${"
    if unknown := re.match(r"Could not override '([^']*)'", line):
        line = f"unknown key {unknown[1]}{meant(unknown[1], all_keys())}"
        line += f"; top-level keys: {', '.join(field.name for field in dataclasses.fields(Config))}"
    return line
