"""Writes, checks, reads, slices and exports module sets, and replaces a class with one.

May import every room but `methods` and `models`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
