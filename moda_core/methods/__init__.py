"""Training methods: what each is shown, what it adds to the cross-entropy, what follows training. Imports `units`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
