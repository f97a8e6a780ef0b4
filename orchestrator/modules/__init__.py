"""Makes the module set of a point; brings, replaces in and removes sets.

May import `training`, `tracking`, `results` and what is below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
