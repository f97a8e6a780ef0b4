"""Where units lie is followed through whatever moves channels, not guessed from the nearest layer."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import mask_network, unit_layers, watch_units
from moda_core.errors import NetworkError

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Network(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body
        self.patches, self.conv, self.one = nn.Conv2d(3, 6, 2, 2), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 1, 1)
        self.wide, self.tokens, self.head = nn.Linear(6, 10), nn.Linear(16, 5), nn.LazyLinear(3)
        self.norm, self.rows = nn.BatchNorm1d(6), nn.Conv1d(6, 7, 1)

    def forward(self, x):
        return self.head(self.body(self, self.patches(x)).flatten(1))


def tokens(x):
    return x.flatten(2).transpose(1, 2)


BODIES = {
    "channels first": (lambda n, x: F.relu(x), 1, 6),
    "tokens": (lambda n, x: F.relu(tokens(x)), -1, 6),
    "tokens and back": (lambda n, x: F.relu(tokens(x).transpose(1, 2)), 1, 6),
    "channels last": (lambda n, x: F.relu(x.permute(0, 2, 3, 1)), -1, 6),
    "a linear layer over channels": (lambda n, x: F.relu(n.wide(x.permute(0, 2, 3, 1))), -1, 10),
    "and back to channels first": (lambda n, x: F.relu(n.wide(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)), 1, 10),
    "a linear layer over tokens": (lambda n, x: F.relu(n.tokens(x.flatten(2))), -1, 5),
    "channels in the middle": (lambda n, x: F.relu(x.transpose(1, 2)), 2, 6),
    "rows of pixels": (lambda n, x: F.relu(x.flatten(2)), 1, 6),
    "a convolution of rows": (lambda n, x: F.relu(n.rows(x.flatten(2))), 1, 7),
    "batch norm of tokens": (lambda n, x: F.relu(n.norm(tokens(x).transpose(1, 2)).transpose(1, 2)), -1, 6),
    "a layer norm and a sum": (lambda n, x: F.relu(F.layer_norm(tokens(x), (6,)) + tokens(x)), -1, 6),
    "a shuffle": (
        lambda n, x: F.relu(x.view(x.size(0), 2, 3, 4, 4).transpose(1, 2).reshape(x.size(0), 6, 4, 4)),
        1,
        6,
    ),
    "a mean over rows": (lambda n, x: F.relu(x.mean(3).transpose(1, 2)), -1, 6),
    "one of two parts": (lambda n, x: F.relu(tokens(x).chunk(2, 2)[1]), -1, 3),
    "one channel": (lambda n, x: F.relu(n.one(x)), 1, 1),
    "one channel of tokens": (lambda n, x: F.relu(tokens(n.one(x))), -1, 1),
    "flat features": (lambda n, x: F.relu(x.flatten(1)), 1, 96),
}


@pytest.mark.parametrize("name", BODIES)
def test_the_units_of_an_activation(name):
    body, dimension, units = BODIES[name]
    torch.manual_seed(0)
    network = Network(body).double().eval()
    network(IMAGES)
    layer = unit_layers(network, IMAGES)[0]
    assert (layer.units, layer.dimension) == (units, dimension)
    # The values of units, and a mask, against the activation itself.
    values = network.body(network, network.patches(IMAGES))
    others = [axis for axis in range(1, values.ndim) if axis != dimension % values.ndim]
    found = watch_units(network, unit_layers(network, IMAGES))(IMAGES)[1][0]
    torch.testing.assert_close(found, values.mean(others) if others else values)
    keep = torch.arange(units) % 2 == 0
    shape = [-1 if axis == dimension % values.ndim else 1 for axis in range(values.ndim)]
    expected = network.head((values * keep.view(shape)).flatten(1))
    masked = mask_network(network, unit_layers(network, IMAGES), [keep], [0, 1, 2])
    torch.testing.assert_close(masked(IMAGES), expected)


@pytest.mark.parametrize(
    "body",
    [
        lambda n, x: F.relu(x.view(x.size(0), 2, 3, 4, 4)),
        lambda n, x: F.relu(x.mean(1)),
        lambda n, x: F.relu(x.flatten(2).transpose(1, 2).reshape(x.size(0), 12, 8)),
    ],
    ids=["channels in groups", "a mean of channels", "channels put together with pixels"],
)
def test_units_that_lie_in_no_single_dimension_are_refused(body):
    network = Network(body).double().eval()
    network(IMAGES)
    with pytest.raises(
        NetworkError, match=r"'relu' do not lie in a single dimension of its .*; call the activation before"
    ):
        unit_layers(network, IMAGES)
