"""Mask generators, which MwT and NeMo train with the network: masks of a layer's output from its input.

Every convolution but the first has one, and every linear layer over tokens in every block of a Transformer but the
first (:func:`moda_core.units.gate_sites`). Masks are soft, one number per channel and image, the same for all pixels or
tokens. They multiply the output: of a convolution after batch norm, before the activation and before a residual
addition; of a linear layer before anything else.

Shapes: B samples, I input and O output channels of a layer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moda_core.choosing import Gate, Gated
from moda_core.methods.method import Prepared
from moda_core.units import gate_sites, gate_source, unit_values

FEWER_HIDDEN = 128  # from so many output channels of a convolution on, the hidden layer has half as many
FEWER_HIDDEN_OF_TOKENS = 3073  # the same of a linear layer


class MaskGenerator(Gate):
    """Two linear layers on the mean over the pixels or tokens of what a layer reads, then relu(tanh(...)): masks in
    [0, 1).

    The weights are He-normal. The second layer has a bias, of tokens the first one too, and biases start at 1, so that
    nearly all masks begin open. It computes in float32 or wider, whatever the precision of the network.

    Args:
        inputs: I.
        outputs: O.
        of_tokens: whether it masks a linear layer over tokens, whose channels are the last dimension.
    """

    def __init__(self, inputs: int, outputs: int, *, of_tokens: bool = False) -> None:
        super().__init__()
        self.dimension = -1 if of_tokens else 1
        fewer = FEWER_HIDDEN_OF_TOKENS if of_tokens else FEWER_HIDDEN
        hidden = outputs if outputs < fewer else outputs // 2
        self.first = nn.Linear(inputs, hidden, bias=of_tokens)
        self.second = nn.Linear(hidden, outputs)
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.ones_(layer.bias)

    def forward(self, values: Tensor) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            masks: Tensor = self.second(F.relu(self.first(unit_values(values, self.dimension)))).tanh().relu()
        return masks


def prepare_gated(network: nn.Module, example: Tensor, *, first_as_ones: bool = False) -> Prepared:
    """Return the network with a mask generator at every site: ``(logits, masks)`` for images, and the generators as
    parts.

    Args:
        network: without generators.
        example: two images as the network sees them.
        first_as_ones: whether the loss is shown ones in place of the first masks, if they are of a convolution.

    Raises:
        NetworkError: a network without such sites.
    """
    sites = gate_sites(network, example)
    modules = dict(network.named_modules())
    nodes = {node.name: node for node in sites.graph.nodes}
    sources = [gate_source(nodes[site.node], modules) for site in sites]
    made = [
        MaskGenerator(source.meta["value"].shape[dimension], site.units, of_tokens=dimension == -1)
        for (source, dimension), site in zip(sources, sites, strict=True)
    ]
    generators = nn.ModuleList(made).to(example)
    is_convolution = sources[0][1] == 1
    model = Gated(network, sites, generators).watched_model(first_as_ones=first_as_ones and is_convolution)
    return Prepared(model, generators)


def read_gated(network: nn.Module, parts: nn.Module | None, example: Tensor, *, folds: bool) -> Gated:
    """Return a network with its trained generators, for :meth:`moda_core.methods.Method.gates`."""
    assert parts is None or isinstance(parts, nn.ModuleList)
    return Gated(network, gate_sites(network, example), parts, folds)


def make_head(logits: int, classes: int) -> nn.Module:
    """Return the head on which MwT and NeMo tune a module of some classes: ReLU and a linear layer on all logits."""
    return nn.Sequential(nn.ReLU(), nn.Linear(logits, classes))
