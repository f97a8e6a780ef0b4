from .by_name import METHODS
from .contrast import contrastive_loss
from .gradsplitter import GradSplitter
from .losses import ModularLosses, modular_losses
from .method import (
    GATE_RULES,
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
from .mwt import Mwt
from .nemo import Nemo
from .nuwa import Nuwa
from .sharing import added_up, cross_entropy
from .standard import Standard

__all__ = [
    "GATE_RULES",
    "METHODS",
    "RULES",
    "GradSplitter",
    "Images",
    "Method",
    "Moda",
    "ModularLosses",
    "Mwt",
    "Nemo",
    "Nuwa",
    "Objective",
    "Prepared",
    "Separate",
    "Standard",
    "StepCheckpoint",
    "Workers",
    "added_up",
    "contrastive_loss",
    "cross_entropy",
    "has_step_after",
    "modular_losses",
]
