"""Chooses the units that each class keeps, and defines what a module means: the masked network. Imports `units`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
