"""What steps after training share: a frozen network, and gradients of several workers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from moda_core.methods.method import Workers


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Compute no gradient for the network's parameters; afterwards they are as before."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def share_gradient(parameter: Tensor, workers: Workers) -> None:
    """Add up a parameter's gradient over the workers; zeros where a worker has none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    if workers.group is not None:
        dist.all_reduce(parameter.grad, group=workers.group)
