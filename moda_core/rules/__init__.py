"""The built-in rules for the units that each class keeps. Imports `measuring`, `graph`, `choosing`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
