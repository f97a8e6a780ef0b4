"""Searches how modular networks are trained and cut, on Ray, and keeps what was found: ``import orchestrator as moda``.

Imports everything lazily, so that a project pays for what it uses. The same as a command line: ``moda --help``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
