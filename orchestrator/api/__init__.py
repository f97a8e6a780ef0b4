"""Gives Python and notebooks what the command line gives a terminal. May import everything below `cli`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
