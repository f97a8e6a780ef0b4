"""Values of Python as overrides of the command line, so that both say the same in one way."""

import re
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike, fspath
from typing import Any

from orchestrator.errors import ConfigError, shown

KEY = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)


def override_words(sections: Mapping[str, Any]) -> list[str]:
    """Return nested mappings as ``key=value``.

    Args:
        sections: by section: text chooses a file of the group (``model="vgg16"``), a mapping sets its keys, nested ones
            theirs (``training={"epochs": 3}``).

    Returns:
        The choices first, then the keys: ``["model=vgg16", "training.epochs=3"]``.

    Raises:
        ConfigError: a key that is not text, or a value that a configuration cannot hold.
    """
    if wrong := [name for name, value in sections.items() if not isinstance(value, str | Mapping)]:
        name, value = wrong[0], shown(sections[wrong[0]])
        raise ConfigError(f"{name}={value} must be text or a mapping, as {name}={{'key': value}}; or leave it out")
    choices = [f"{name}={value}" for name, value in sections.items() if isinstance(value, str)]
    mappings = {name: value for name, value in sections.items() if not isinstance(value, str)}
    return [*choices, *_key_words("", mappings)]


def text_word(key: str, text: str) -> str:
    """Return the override that sets a key to a text, whatever its characters are."""
    return f"{key}={_quoted(text)}"


def whole_word(key: str, value: Any) -> str:
    """Return the override that sets a key to a value; a mapping is one word.

    Raises:
        ConfigError: a value that a configuration cannot hold.
    """
    return f"{key}={_literal(key, value)}"


def _key_words(prefix: str, mapping: Mapping[Any, Any]) -> Iterator[str]:
    for key, value in mapping.items():
        name = f"{prefix}{_checked(prefix, key)}"
        if isinstance(value, Mapping):
            yield from _key_words(f"{name}.", value)
        else:
            yield f"{name}={_literal(name, value)}"


def _checked(prefix: str, key: Any) -> str:
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise ConfigError(f"{prefix}{shown(key)} cannot be a key: keys are texts of letters, digits, _ and .")
    return key


def _literal(name: str, value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | PathLike):
        return _quoted(str(fspath(value)))
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return repr(float(value))
    if isinstance(value, Mapping):
        pairs = (f"{_checked(f'{name}.', key)}: {_literal(name, part)}" for key, part in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return f"[{','.join(_literal(name, part) for part in value)}]"
    raise ConfigError(f"{name}={shown(value)} must be a number, text, true or false, None, a list or a mapping")


def _quoted(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString  # a command that looks needs no Hydra

    return QuotedString(text, Quote.single).with_quotes()
