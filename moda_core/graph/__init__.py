"""Reads a traced network as operations on channels, from an allow-list. Imports `units`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
