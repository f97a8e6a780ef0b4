"""Finds the unit layers of a network: its traced graph, and where its units lie. Imports `errors` and `modes`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
