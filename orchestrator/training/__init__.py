"""Takes one trial from images to rows and weights. May import `results`, `config`, `search`, `storage`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
