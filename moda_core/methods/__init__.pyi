from .by_name import METHODS, Method
from .losses import ModularLosses, modular_losses
from .moda import Moda
from .standard import Standard

__all__ = [
    "METHODS",
    "Method",
    "Moda",
    "ModularLosses",
    "Standard",
    "modular_losses",
]
