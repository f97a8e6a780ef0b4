"""A file of classes, a line for each, such as those that a paper has drawn from ImageNet."""

import re
from pathlib import Path

from orchestrator.errors import ConfigError, reason_of, shown

WORDNET_ID = re.compile(r"(n\d{8})\b")  # ImageNet's folders are called so; what a line says after it is a description


def read_class_list(path: str) -> tuple[str, ...]:
    """Return the classes that a file names, in its order.

    Args:
        path: a text file in UTF-8. A line is the name of a class, or a WordNet id with or without a description; empty
            lines, and those that begin with ``#``, are left out.

    Raises:
        ConfigError: a file that cannot be read or names no class.
    """
    key = f"data.class_list={shown(path)}"
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{key} cannot be read: {reason_of(error)}; name a text file in UTF-8 with a class on each line"
        ) from error
    lines = [line.strip() for line in text.splitlines()]
    classes = [_class_of(line) for line in lines if line and not line.startswith("#")]
    if not classes:
        raise ConfigError(f"{key} names no class; write one on each line")
    return tuple(classes)


def _class_of(line: str) -> str:
    match = WORDNET_ID.match(line)
    return match[1] if match else line
