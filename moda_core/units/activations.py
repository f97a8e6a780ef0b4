"""The activations whose calls are unit layers, as modules, functions and methods."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Activation:
    """One activation.

    Attributes:
        module: its class; every function below takes the class's arguments after its input.
        functions: what else computes it.
        methods: of a tensor.
        exact_zeros: whether a unit can be exactly zero, so that "active" may mean "not zero" (threshold 0).
        signed: whether it goes below zero, so that a unit's value is its mean *absolute* output.
    """

    module: type[nn.Module]
    functions: tuple[Callable[..., Any], ...]
    methods: tuple[str, ...] = ()
    exact_zeros: bool = True
    signed: bool = False


ACTIVATIONS = {
    "relu": Activation(nn.ReLU, (F.relu, F.relu_, torch.relu, torch.relu_), ("relu", "relu_")),
    "relu6": Activation(nn.ReLU6, (F.relu6,)),
    "leaky_relu": Activation(nn.LeakyReLU, (F.leaky_relu, F.leaky_relu_), exact_zeros=False, signed=True),
    "hardswish": Activation(nn.Hardswish, (F.hardswish,), signed=True),
    "silu": Activation(nn.SiLU, (F.silu,), exact_zeros=False, signed=True),
    "gelu": Activation(nn.GELU, (F.gelu,), exact_zeros=False, signed=True),
}
# What a unit site that is not an activation counts as: of any sign, and never exactly zero.
PLAIN_CALL = Activation(nn.Identity, (), exact_zeros=False, signed=True)
KIND_OF_MODULE = {activation.module: kind for kind, activation in ACTIVATIONS.items()}
KIND_OF_FUNCTION = {function: kind for kind, activation in ACTIVATIONS.items() for function in activation.functions}
KIND_OF_METHOD = {method: kind for kind, activation in ACTIVATIONS.items() for method in activation.methods}
