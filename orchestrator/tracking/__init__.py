"""Talks to W&B: runs, artifacts, the key. May import `results`, `config`, `storage`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
