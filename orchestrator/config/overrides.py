"""Overrides as they are typed: text for keys that hold text, Hydra's grammar for everything else.

Hydra reads ``2024_01_15`` as a number and refuses ``ä``, ``=`` or ``(`` outside quotes. A key that is declared as text,
or as a list of texts, takes what was typed as it stands; quotes around it are Hydra's, and so is ``${...}``.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.data_section import DataConfig
from orchestrator.config.evaluation_section import EvaluationConfig
from orchestrator.config.search_section import SearchConfig
from orchestrator.config.sections import ModelConfig, SweepConfig, TrackingConfig
from orchestrator.config.training_section import TrainingConfig
from orchestrator.declarations import METHOD_KEYS, MODEL_KEYS
from orchestrator.errors import ConfigError

if TYPE_CHECKING:  # a worker reads no overrides
    from hydra.core.override_parser.types import Override

DECLARED: dict[str, Any] = {
    "model": ModelConfig,
    "data": DataConfig,
    "method": None,  # its keys are numbers, but for its name
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
    "search": SearchConfig,
    "sweep": SweepConfig,
    "tracking": TrackingConfig,
    "storage": str,
    "experiment": None,
}
QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
ELEMENT = re.compile(rf"[ \t]*(?:(?P<quoted>{QUOTED})[ \t]*|(?P<plain>(?:\$\{{[^}}]*\}}|[^,])*))(?:,|$)", re.DOTALL)
SPACED_NUMBER = re.compile(r"(?<![\w.\-/])[+-]?\d+(?:_\d+)+(?![\w\-/])")  # 1_000, which Hydra reads as 1000

CLOSED = {"{": "}", "[": "]"}

DEFAULT_STORAGE = "~/moda-results"  # as in sweeps/config.yaml
PLAIN_STORAGE = re.compile(r"storage=([\w./:~@+-]+)")


def is_override(word: str) -> bool:
    """Return whether a word of the command line sets an existing key, rather than being a name that contains ``=``."""
    key, equals, _ = word.lstrip("+~").partition("=")
    section, dot, _ = key.partition(".")
    return bool(equals) and section in DECLARED and bool(dot) != (section in ("storage", "experiment"))


def named_storage(overrides: Sequence[str]) -> str | None:
    """The storage where the overrides name nothing else, in letters that mean nothing to Hydra; None where Hydra must
    read them.
    """
    if not overrides:
        return os.environ.get("MODA_STORAGE", DEFAULT_STORAGE) or None
    match = PLAIN_STORAGE.fullmatch(overrides[0])
    return match[1] if match and len(overrides) == 1 else None


def read_overrides(overrides: Sequence[str]) -> list[Override]:
    """Overrides as Hydra parses them, each with the value that was typed.

    Raises:
        ConfigError: one that cannot be read, or that has several values.
    """
    return [_read(override) for override in overrides]


def replaces(override: Override) -> bool:
    """Whether a mapping that is given takes the place of the one that is there, rather than being merged with it.

    So it is with the space, one of its dimensions, the objectives and the reference point: ``search.objectives={...}``
    states all of them, and ``search.objectives.flops=min`` adds one.
    """
    is_replaced = re.fullmatch(r"search\.(space(\.[^.]+)?|objectives(\.[^.]+)?|reference)", override.key_or_group)
    is_of_method = override.key_or_group == "search.space.method"  # which also holds what its methods bring
    return bool(is_replaced) and not is_of_method and not override.is_delete() and isinstance(override.value(), dict)


def as_hydra(override: str) -> str:
    """An override in Hydra's grammar: text that was typed without quotes is quoted.

    Raises:
        ConfigError: a number that is written with ``_``, or no text at all.
    """
    signed, equals, value = override.partition("=")
    value = value.strip(" \t")
    if not equals or signed.startswith("~"):
        return override
    kind = declared_type(signed.lstrip("+"))
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if type(None) in kinds and value.lower() == "null":
        return override
    if str in kinds:
        if not value:
            raise ConfigError(f"{override} is empty; give a value" + (", or null for none" if len(kinds) > 1 else ""))
        return f"{signed}={_quoted(value)}"
    if holds_text(signed.lstrip("+")):
        return f"{signed}={_quoted_list(value)}"
    if SPACED_NUMBER.search(re.sub(QUOTED, "", value)):
        raise ConfigError(f"{override}: write a number without _, and text in quotes: {signed}=\"'...'\"")
    return override


def holds_text(key: str) -> bool:
    """Whether a dotted key is declared as text or as a list of texts."""
    kind = declared_type(key)
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return any(kind is str or (typing.get_origin(kind) is tuple and typing.get_args(kind)[0] is str) for kind in kinds)


def declared_type(key: str) -> Any:
    """The type that a dotted key is declared with; None where nothing declares it, as a model's own options."""
    section, *names = key.split(".")
    kind = DECLARED.get(section)
    if key == "method.name":
        return str
    for name in names:
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(name)
        elif typing.get_origin(kind) is Mapping:
            kind = typing.get_args(kind)[1]
        else:
            return None
    return kind


def meant(word: str, known: Sequence[str]) -> str:
    """What a misspelled word may have meant, in parentheses; nothing where nothing is close."""
    named = [key for key in known if key.rpartition(".")[2] == word]
    lasts = {} if "." in word else {key.rpartition(".")[2]: key for key in known}
    close = named or [lasts[last] for last in difflib.get_close_matches(word, lasts, n=1, cutoff=0.8)]
    close = close or difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def known_keys() -> list[str]:
    """Every declared key of two parts, such as ``training.epochs``."""
    sections = {name: kind for name, kind in DECLARED.items() if dataclasses.is_dataclass(kind)}
    return [f"{name}.{field.name}" for name, kind in sections.items() for field in dataclasses.fields(kind)]


def all_keys() -> list[str]:
    """Every section and every key: those of shipped methods and networks alone, such as ``method.alpha``, too."""
    of_methods = dict.fromkeys(f"method.{key}" for keys in METHOD_KEYS.values() for key in keys)
    return [*DECLARED, *of_methods, *(f"model.{key}" for key in MODEL_KEYS), *known_keys()]


def absolute(path: str, base: str | None = None) -> str:
    """Make a path absolute, relative to ``base`` or else to the working folder."""
    return str(Path(os.path.expanduser(base or "")).absolute() / os.path.expanduser(path))


def _read(override: str) -> Override:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, _, _ = override.partition("=")
    if odd := [character for character in key if not character.isascii() or character.isspace()]:
        raise ConfigError(f"{override!r}: the key holds {odd[0]!r} (U+{ord(odd[0]):04X}); type the key again")
    typed = as_hydra(override)
    try:
        parsed = OverridesParser.create().parse_override(typed)
    except (HydraException, ValueError) as error:  # a number of thousands of digits, say
        raise ConfigError(f"{override!r:.300} cannot be read as key=value{_why_not_read(override)}") from error
    if parsed.is_sweep_override():
        raise ConfigError(f"{override:.300}: give one value; write a list as [1,2], and text with commas in quotes")
    return parsed


def _why_not_read(override: str) -> str:
    """What is wrong with an override that Hydra cannot read, and how to write it."""
    key, equals, value = override.partition("=")
    if not equals:
        close = meant(key, all_keys())
        return f"{close}: there is no = in it; an override with spaces is put in quotes"
    if is_cut_short(override):
        example = f"'{key:.80}={value[:1]}...{CLOSED[value[:1]]}'"
        return f": a bracket is not closed; the whole override is put in quotes: {example}"
    return (
        f"; put text with special characters in quotes inside the shell's quotes: {key:.80}=\"'...'\", and write a list"
        f" as '{key:.80}=[1, 2]' and a mapping as '{key:.80}={{a: 1}}'"
    )


def is_cut_short(override: str) -> bool:
    """Return whether a value begins with a bracket that is not closed, as where a shell has split it at a space."""
    value = re.sub(QUOTED, "", override.partition("=")[2].strip())
    return value[:1] in CLOSED and any(value.count(opened) > value.count(closed) for opened, closed in CLOSED.items())


def _quoted(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return text if re.fullmatch(QUOTED, text, re.DOTALL) else QuotedString(text, Quote.single).with_quotes()


def _quoted_list(text: str) -> str:
    """A list with its elements quoted; what is not a list, or holds lists or mappings, stays for the error it makes."""
    if not (text.startswith("[") and text.endswith("]")):
        return _quoted(text)
    elements, position, inside = [], 0, text[1:-1]
    while position < len(inside):
        match = ELEMENT.match(inside, position)
        assert match is not None
        elements.append(match["quoted"] or match["plain"].strip(" \t"))
        position = match.end()
    if any(element.startswith(("[", "{")) for element in elements):
        return text
    return f"[{','.join(_quoted(element) for element in elements)}]"
