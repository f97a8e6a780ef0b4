"""Mask generators, which MwT and NeMo train with the network: masks of a convolution's output from its input.

Every convolution but the first has one. Its masks are soft, one number per channel and image, and multiply the output
after batch norm, before the activation and before a residual addition.

Shapes: B samples, I input and O output channels of a convolution.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moda_core.choosing import Gate, Gated
from moda_core.methods.method import Prepared
from moda_core.units import convolution_input, later_convolutions, unit_values

FEWER_HIDDEN = 128  # from so many output channels on, the hidden layer has half as many


class MaskGenerator(Gate):
    """Two linear layers on the mean over the pixels of a convolution's input, then relu(tanh(...)): masks in [0, 1).

    The weights are He-normal, only the second layer has a bias, and it starts at 1, so that nearly all masks begin
    open. It computes in float32 or wider, whatever the precision of the network.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = outputs if outputs < FEWER_HIDDEN else outputs // 2
        self.first = nn.Linear(inputs, hidden, bias=False)
        self.second = nn.Linear(hidden, outputs)
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight)
        nn.init.ones_(self.second.bias)

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            masks: Tensor = self.second(F.relu(self.first(unit_values(images)))).tanh().relu()
        return masks


def prepare_gated(network: nn.Module, example: Tensor) -> Prepared:
    """Return the network with a mask generator at every convolution but the first: ``(logits, masks)`` for images, and
    the generators as parts.

    Raises:
        NetworkError: a network without such convolutions.
    """
    sites = later_convolutions(network, example)
    modules = dict(network.named_modules())
    nodes = {node.name: node for node in sites.graph.nodes}
    read = [convolution_input(nodes[site.node], modules).meta["value"].shape[1] for site in sites]
    made = [MaskGenerator(inputs, site.units) for inputs, site in zip(read, sites, strict=True)]
    generators = nn.ModuleList(made).to(example)
    return Prepared(Gated(network, sites, generators).watched_model(), generators)


def read_gated(network: nn.Module, parts: nn.Module | None, example: Tensor, *, folds: bool) -> Gated:
    """Return a network with its trained generators, for :meth:`moda_core.methods.Method.gates`."""
    assert parts is None or isinstance(parts, nn.ModuleList)
    return Gated(network, later_convolutions(network, example), parts, folds)


def make_head(logits: int, classes: int) -> nn.Module:
    """Return the head on which MwT and NeMo tune a module of some classes: ReLU and a linear layer on all logits."""
    return nn.Sequential(nn.ReLU(), nn.Linear(logits, classes))
