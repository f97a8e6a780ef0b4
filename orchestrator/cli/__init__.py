"""Turns words into calls and results into an exit code. May import everything below."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
