"""Errors whose cause is what was given: a network or a module set. Both are ``ValueError``.

Any other ``ValueError`` of this package is a wrong argument of a Python caller, or a fault of the package itself.
Messages are one line of bounded length, whatever they show.
"""

import itertools
import re
from collections.abc import Collection

LONGEST_MESSAGE = 500
SHOWN_NAMES = 8
LONGEST_SHOWN = 40  # of one of these names


class NetworkError(ValueError):
    """A network that cannot be traced, watched, masked or cut. The message names the call and what to write instead."""


class ModuleSetError(ValueError):
    """A module set that is missing, damaged, hostile, lacks a class that was asked for, or whose place is taken."""


class GraphError(NetworkError):
    """Nodes that are not a channel graph, or one that asks for too much; of a module set it becomes its error."""


def listed(names: Collection[object]) -> str:
    """Names for a message: the first few, quoted, what is not printable escaped, and how many there are in all."""
    first = [shortened(repr(name), LONGEST_SHOWN) for name in itertools.islice(names, SHOWN_NAMES)]
    rest = f" ... ({len(names)} in all)" if len(names) > SHOWN_NAMES else ""
    return ", ".join(first) + rest


def shortened(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """A text as one line of at most so many characters, what is not printable escaped, without PyTorch's C++ frames."""
    text = text.partition("Exception raised from ")[0]
    cut = text if len(text) <= 4 * longest else text[: 4 * longest]  # a message may show a megabyte
    line = re.sub(r"\s*[\r\n]\s*", " ", cut).strip()
    if not line.isprintable():
        line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
    return line if len(line) <= longest and len(cut) == len(text) else f"{line[: longest - 4]} ..."
