"""Every key of the configuration with its value, its default and what is declared of it."""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moda_core.methods import METHODS
from moda_core.models import MODEL_OPTIONS, OPTION_DEFAULTS
from orchestrator.config.overrides import DECLARED
from orchestrator.config.parsing import as_plain
from orchestrator.config.search_section import Dimension, Objective
from orchestrator.declarations import METHOD_KEYS, MODEL_KEYS, OWN_OPTION, Key

STORAGE = Key("folder or object store of all results; MODA_STORAGE sets it too")
METHOD_NAME = Key("training method: a shipped one, or your own as package.module:Name")
ENTRIES = {"search.space.<key>": Dimension, "search.objectives.<metric>": Objective}  # of mappings


@dataclass(frozen=True)
class ListedKey:
    """A key of the configuration.

    Attributes:
        name: such as ``training.epochs``.
        declared: what is said of it.
        type: of its values, in words: ``number, or null``.
        value: in this configuration, as plain data.
        default: without any override; None where the default is null or depends on others.
    """

    name: str
    declared: Key
    type: str
    value: Any
    default: Any

    @property
    def section(self) -> str:
        """The part before the first dot: ``training``."""
        return self.name.partition(".")[0]


def list_keys(plain: Mapping[str, Any], usual: Mapping[str, Any]) -> list[ListedKey]:
    """Return every key of a composed configuration, section by section.

    Args:
        plain: the configuration as plain data; what it leaves out has the default of its section.
        usual: the one without overrides of keys, whose values are the defaults.
    """
    return [
        ListedKey(name, key, kind, value, default)
        for section in DECLARED
        if section in plain
        for name, key, kind, value, default in _listed(section, plain[section], usual.get(section))
    ]


def entry_keys() -> list[ListedKey]:
    """Return the keys that each dimension of the space and each objective has, as ``search.space.<key>.low``."""
    return [
        ListedKey(f"{where}.{field}", key, kind, default, default)
        for where, entry in ENTRIES.items()
        for field, key, kind, default in _fields(entry)
    ]


def network_keys() -> list[tuple[ListedKey, list[str]]]:
    """Return the options of the shipped networks, each with the networks that have it."""
    return [
        (ListedKey(f"model.{option}", key, type_of_option(option), None, OPTION_DEFAULTS.get(option)), names)
        for option, key in MODEL_KEYS.items()
        if (names := [name for name, options in MODEL_OPTIONS.items() if option in options])
    ]


def type_text(kind: Any) -> str:
    """Return a declared type in words: ``whole number, or null``."""
    if typing.get_origin(kind) is types.UnionType:
        kinds = [type_text(each) for each in typing.get_args(kind) if each is not type(None)]
        return " or ".join(dict.fromkeys(kinds)) + (", or null" if type(None) in typing.get_args(kind) else "")
    if typing.get_origin(kind) is tuple:
        return f"list of {type_text(typing.get_args(kind)[0])}s"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    return names.get(kind, "mapping" if typing.get_origin(kind) is not None else "any")


def _listed(section: str, stated: Any, usual: Any) -> Iterator[tuple[str, Key, str, Any, Any]]:
    if not isinstance(stated, Mapping):
        yield section, STORAGE, "text", stated, usual
        return
    usual = usual if isinstance(usual, Mapping) else {}
    declared = {name: (key, kind, default) for name, key, kind, default in _declared(section, stated)}
    for name, (key, kind, default) in declared.items():
        yield f"{section}.{name}", key, kind, stated.get(name, default), usual.get(name, default)
    for name in stated.keys() - declared.keys() - _hidden(section):
        yield f"{section}.{name}", OWN_OPTION, "any", stated[name], usual.get(name)


def _declared(section: str, stated: Mapping[str, Any]) -> Iterator[tuple[str, Key, str, Any]]:
    if section == "method":
        yield "name", METHOD_NAME, "text", None
        name = stated.get("name")
        for option, kind, default in _method_fields(str(name)):
            yield option, METHOD_KEYS[str(name)][option], kind, default
        return
    yield from _fields(DECLARED[section])
    if section == "model":
        for option in MODEL_OPTIONS.get(str(stated.get("name")), ()):
            yield option, MODEL_KEYS[option], type_of_option(option), OPTION_DEFAULTS.get(option)


def type_of_option(option: str) -> str:
    """Return the type of a network's option in words."""
    lists = {"widths": "list of whole numbers and M", "hidden": "list of whole numbers", "init": "text"}
    return lists.get(option, "whole number")


def _method_fields(method: str) -> Iterator[tuple[str, str, Any]]:
    if method in METHODS:
        kind: Any = METHODS[method]  # a dataclass, which the base class need not be
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            yield field.name, type_text(hints[field.name]), field.default


def _fields(kind: Any) -> Iterator[tuple[str, Key, str, Any]]:
    """The declared fields of a section that people set."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        key = _key_of(hints[field.name])
        if key is not None and key.is_shown:
            yield field.name, key, type_text(typing.get_args(hints[field.name])[0]), _default(field)


def _hidden(section: str) -> set[str]:
    kind = DECLARED[section]
    return {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()


def _key_of(hint: Any) -> Key | None:
    extras = getattr(hint, "__metadata__", ())
    return next((extra for extra in extras if isinstance(extra, Key)), None)


def _default(field: Any) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return as_plain(field.default_factory())
    return None if field.default is dataclasses.MISSING else as_plain(field.default)
