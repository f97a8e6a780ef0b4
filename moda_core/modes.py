"""Where a network is and what mode it is in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's first parameter or buffer; the CPU if it has none."""
    return next((one.device for one in (*network.parameters(), *network.buffers())), torch.device("cpu"))


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
