"""Activations that work in place: masks reach whoever reads them, or the network is refused wherever masks are used."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import (
    count_contributions,
    count_frequencies,
    cut_network,
    mask_network,
    reuse_accuracy,
    unit_layers,
    watch_units,
)
from moda_core.errors import NetworkError

IMAGES = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


class Network(nn.Module):
    """``body(network, images, activate)``, where ``activate`` is what the network calls for its activation."""

    def __init__(self, body, activate):
        super().__init__()
        self.body, self.activate = body, activate
        self.first, self.second, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1), nn.Linear(6, 3)
        self.over = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.body(self, x, self.activate)


def made(body, activate):
    torch.manual_seed(0)
    return Network(body, activate).double().eval()


FORMS = {
    "F.relu_": lambda x: F.relu_(x),
    "torch.relu_": lambda x: torch.relu_(x),
    "x.relu_": lambda x: x.relu_(),
    "inplace=True": lambda x: F.relu(x, inplace=True),
    "True": lambda x: F.relu(x, True),
    "clamp_": lambda x: x.clamp_(min=0),
    "of a view": lambda x: F.relu_(x.view(x.size(0), 6, -1)).view_as(x),
}


def result_is_read(n, x, activate):
    return n.head(n.second(activate(n.first(x))).mean((2, 3)))


def result_is_added(n, x, activate):
    x = activate(n.first(x))
    return n.head((n.second(x) + x).mean((2, 3)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("body", [result_is_read, result_is_added])
def test_a_mask_reaches_who_reads_the_result(form, body):
    network = made(body, FORMS[form])
    layers = unit_layers(network, IMAGES)
    assert layers.widths == [6]
    keep = torch.tensor([True, False, True, True, False, True])
    # The definition, computed without a graph.
    activations = []

    def masking(x):
        activations.append(x.clamp(min=0))
        return activations[-1] * keep.view(1, -1, 1, 1)

    expected = made(body, masking)(IMAGES)
    torch.testing.assert_close(mask_network(network, layers, [keep], [0, 1, 2])(IMAGES), expected)
    torch.testing.assert_close(cut_network(network, layers, [keep], [0, 1, 2], IMAGES)(IMAGES), expected)
    logits, units = watch_units(network, layers)(IMAGES)
    torch.testing.assert_close(logits, network(IMAGES))
    torch.testing.assert_close(units[0], activations[0].mean((2, 3)))


def result_is_dropped(n, x, activate):
    x = n.first(x)
    activate(x)
    return n.head(n.second(x).mean((2, 3)))


def input_is_read_too(n, x, activate):
    x = n.first(x)
    return n.head((n.second(activate(x)) + x).mean((2, 3)))


def a_view_is_read_too(n, x, activate):
    x = n.first(x)
    rows = x.flatten(2)
    return n.head(n.second(activate(x)).mean((2, 3)) + rows.mean(2))


def data_is_overwritten(n, x, activate):
    x = n.first(x)
    activate(x.data)
    return n.head(n.second(x).mean((2, 3)))


def an_earlier_call_in_place_is_read_too(n, x, activate):
    x = n.first(x)
    activate(x.add_(1))
    return n.head(n.second(x).mean((2, 3)))


ESCAPES = [
    result_is_dropped,
    input_is_read_too,
    a_view_is_read_too,
    data_is_overwritten,
    an_earlier_call_in_place_is_read_too,
]


@pytest.mark.parametrize("body", ESCAPES)
@pytest.mark.parametrize("form", ["F.relu_", "x.relu_", "inplace=True", "True", "module"])
def test_what_would_escape_a_mask_is_refused_wherever_masks_are_used(body, form):
    network = made(body, FORMS.get(form))
    if form == "module":
        network.activate = network.over
    layers = unit_layers(network, IMAGES)
    keep, batches = [torch.ones(n, dtype=torch.bool) for n in layers.widths], [(IMAGES, LABELS)]
    uses = [
        lambda: mask_network(network, layers, keep, [0]),
        lambda: watch_units(network, layers),
        lambda: cut_network(network, layers, keep, [0], IMAGES),
        lambda: count_frequencies(network, layers, batches, num_classes=3),
        lambda: count_contributions(network, layers, batches, num_classes=3),
        lambda: reuse_accuracy(network, layers, [keep[0].expand(3, -1)], batches, subsets=[(0, 1)]),
    ]
    for use in uses:
        with pytest.raises(NetworkError, match=r"works in place on what .* read too; make it inplace=False"):
            use()
