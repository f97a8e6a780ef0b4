"""What steps after training share: parts beside a frozen network, its masked rows, gradients of several workers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, fx, nn

from moda_core.choosing import row_masked_graph
from moda_core.methods.method import Images, Workers
from moda_core.units import unit_layers


class WithParts(nn.Module):
    """The network, which is shown the batches, beside parts that are trained after it."""

    def __init__(self, network: nn.Module, parts: nn.Module) -> None:
        super().__init__()
        self.network, self.parts = network, parts

    def forward(self, images: Tensor) -> Any:
        return self.network(images)


def with_masked_rows(network: nn.Module, images: Images) -> nn.Module:
    """Return the network, in eval mode, that takes factors of the units for each image: L tensors of (B, N_l)."""
    first = images[torch.zeros(2, dtype=torch.long, device=images.labels.device)]
    return fx.GraphModule(network, row_masked_graph(unit_layers(network, first))).eval()


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
