"""Searches how modular networks are trained and cut, on Ray, and keeps what was found: ``import orchestrator as moda``.

Imports everything lazily, so that a project pays for what it uses. The same as a command line: ``moda --help``.
"""

from typing import Any

import lazy_loader

_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("moda-orchestrator")
    return _attribute(name)
