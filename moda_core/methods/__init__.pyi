from .by_name import METHODS
from .gradsplitter import GradSplitter
from .losses import ModularLosses, modular_losses
from .method import (
    RULES,
    Images,
    Method,
    Objective,
    Prepared,
    Separate,
    StepCheckpoint,
    Workers,
    has_step_after,
)
from .moda import Moda
from .sharing import added_up, cross_entropy
from .standard import Standard

__all__ = [
    "METHODS",
    "RULES",
    "GradSplitter",
    "Images",
    "Method",
    "Moda",
    "ModularLosses",
    "Objective",
    "Prepared",
    "Separate",
    "Standard",
    "StepCheckpoint",
    "Workers",
    "added_up",
    "cross_entropy",
    "has_step_after",
    "modular_losses",
]
