"""Data sets and users' images, in memory or in a mapped file. May import `config`, `errors` and, for the cache folder,
`storage`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
