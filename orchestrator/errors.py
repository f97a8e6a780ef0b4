"""The errors that are shown as one line: with exit code 2 a user's mistake, with 1 a run that failed.

Whatever else is raised is a fault of this package: see :mod:`orchestrator.cli.endings`.
"""

import reprlib
from collections.abc import Iterable

from moda_core.errors import ModuleSetError, NetworkError, shortened

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
ROOM = 200  # characters of a list


class UserError(ValueError):
    """Something that was asked for cannot be done: one line that names the key, the value and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message))


class ConfigError(UserError):
    """A mistake in the configuration, the arguments or the data they name."""


class StorageError(UserError):
    """A storage, folder or file that cannot be read or written."""


class ServiceError(UserError):
    """An external service that does not answer or refuses a request: W&B, an object store, a Ray cluster."""


class RunError(Exception):
    """What was asked for is right, and yet it failed: one line that names what, why and the remedy; exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message))


class StorageFault(RunError, OSError):
    """A storage that fails while it is used: full, read-only, damaged or away.

    It is an ``OSError`` for those who can do without what they wanted to read or write.
    """


class StorageGone(StorageFault):
    """A storage that was deleted while it was used: nothing is left to go on from."""


class Terminated(KeyboardInterrupt):
    """The process was told to end by SIGTERM, as schedulers do: it ends as if a person had interrupted it."""


MISTAKES = (UserError, NetworkError, ModuleSetError)  # what was asked for, or given, is wrong


def shown(value: object) -> str:
    """A value as an error shows it: control characters escaped, and short whatever it is."""
    return _SHORT.repr(value)


def listed(values: Iterable[object]) -> str:
    """As many of some values as an error has room for."""
    texts, room = [], ROOM
    for value in values:
        text = shown(value)
        room -= len(text) + 2
        texts.append(text if room >= 0 else "...")
        if room < 0:
            break
    return f"[{', '.join(texts)}]"


def reason_of(error: BaseException) -> str:
    """What a library says went wrong, as a part of one line: escaped and cut short."""
    return repr(" ".join(str(error).split()))[1:-1][:150] or type(error).__name__
