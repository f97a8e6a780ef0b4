"""Trains many trials on Ray until the tables hold what was asked for. May import everything but `cli`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
