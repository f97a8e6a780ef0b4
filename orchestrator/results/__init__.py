"""Reads from the tables what a sweep has found; says what a run can show of itself.

May import `config`, `search`, `storage`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
