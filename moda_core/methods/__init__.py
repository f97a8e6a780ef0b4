"""Training methods by name: what each adds to the cross-entropy."""

from moda_core.methods.moda import Moda
from moda_core.methods.standard import Standard

Method = Moda | Standard
METHODS: dict[str, type[Moda] | type[Standard]] = {"moda": Moda, "standard": Standard}

__all__ = ["METHODS", "Method", "Moda", "Standard"]
