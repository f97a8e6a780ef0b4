"""Modular training: losses, masks, cutting, composing and measuring, in PyTorch alone."""

import lazy_loader

_get_lazily, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("moda-core")
    return _get_lazily(name)
