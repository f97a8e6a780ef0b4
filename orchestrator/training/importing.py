"""What a user names by import path: ``package.module:Name``, found here and wherever trials run."""

import difflib
import importlib
from typing import Any

from moda_core.errors import shortened
from orchestrator.errors import ConfigError

LONGEST_REASON = 200  # characters of an error in somebody else's code


def import_named(key: str, path: str) -> Any:
    """The object at an import path.

    Args:
        key: of the configuration, for an error.
        path: ``package.module:Name``.

    Raises:
        ConfigError: a module that cannot be imported, or that has no such name.
    """
    module_name, _, attribute = path.partition(":")
    if module_name.partition(".")[0] == "__main__":
        raise ConfigError(f"{key}={path!r}: workers cannot import __main__; move {attribute} into a module")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything
        raise ConfigError(
            f"{key}={path!r}: {module_name} cannot be imported here ({error_text(error)});"
            " install it, or name its folder in PYTHONPATH"
        ) from error
    if not hasattr(module, attribute):
        close = difflib.get_close_matches(attribute, dir(module), n=4)
        raise ConfigError(
            f"{key}={path!r}: {module_name} has no {attribute}" + (f"; it has {', '.join(close)}" if close else "")
        )
    return getattr(module, attribute)


def error_text(error: BaseException) -> str:
    """An error of somebody else's code, as part of one line."""
    return shortened(f"{type(error).__name__}: {error}", LONGEST_REASON)
