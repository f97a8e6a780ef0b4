"""Where a network is and what mode it is in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

RANDOM_FILES = ("torchvision.ops.stochastic_depth",)
RANDOM_NAMES = ("DropPath", "StochasticDepth", "DropBlock", "DropBlock2d")  # as timm and others call theirs


def is_random(module: nn.Module) -> bool:
    """Whether a module that is not PyTorch's own draws at random in training: tracing its inside would freeze that."""
    kind = type(module)
    return kind.__module__ in RANDOM_FILES or (kind.__name__ in RANDOM_NAMES and not [*module.parameters()])


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's first parameter or buffer; the CPU if it has none."""
    return next((tensor.device for tensor in (*network.parameters(), *network.buffers())), torch.device("cpu"))


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; every module gets its own mode back afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
