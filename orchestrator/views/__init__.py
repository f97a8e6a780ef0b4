"""Shows what the tables hold: in the terminal, in HTML, in W&B. May import `tracking`, `results` and what is below."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
