"""Unit layers are call sites of the traced graph."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import build_model, modular_losses, unit_layers, watch_units
from moda_core.units import unit_values


class Twice(nn.Module):
    """One ReLU module called twice, two functional ReLUs, a tensor method."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.more = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(3 * 16, 2)

    def forward(self, x):
        x = self.relu(self.conv(x))
        x = self.relu(self.more(x))
        x = F.relu(self.more(x))
        x = torch.relu(self.more(x))
        x = self.more(x).relu()
        return self.head(x.flatten(1))


def test_every_call_is_a_layer_of_its_own():
    layers = unit_layers(Twice(), torch.zeros(1, 1, 4, 4))
    assert [layer.name for layer in layers] == ["relu", "relu#2", "relu#3", "relu#4", "relu#5"]
    assert layers.widths == [3] * 5


@pytest.mark.parametrize(
    ("name", "options", "layers"),
    [
        ("lenet5", {}, 4),
        ("resnet18", {"width": 4}, 17),
        ("vgg", {"hidden": [64, 64]}, 15),
    ],
)
def test_published_numbers_of_layers(name, options, layers):
    network = build_model(name, in_channels=3, image_size=32, num_classes=10, **options)
    assert len(unit_layers(network, torch.zeros(1, 3, 32, 32))) == layers


def test_vgg16_has_the_published_number_of_parameters():
    network = build_model("vgg", in_channels=3, image_size=32, num_classes=10)
    assert sum(p.numel() for p in network.parameters()) == 33_646_666


def test_watching_shares_parameters_and_gives_the_same_logits():
    network = Twice().eval()
    images = torch.randn(5, 1, 4, 4)
    layers = unit_layers(network, images)
    watched = watch_units(network, layers)
    assert {id(p) for p in watched.parameters()} == {id(p) for p in network.parameters()}
    logits, units = watched(images)
    assert torch.equal(logits, network(images))
    first = network.relu(network.conv(images))
    torch.testing.assert_close(units[0], first.mean((2, 3)))
    assert [tuple(unit.shape) for unit in units] == [(5, 3)] * 5


def test_half_precision_units_are_averaged_in_float32():
    network = Twice().eval()
    images = torch.randn(5, 1, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, units = watch_units(network, unit_layers(network, images))(images)
    assert {unit.dtype for unit in units} == {torch.float32}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_channel_means_and_their_gradient(layout):
    generator = torch.Generator().manual_seed(0)
    activation = torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64)
    activation = activation.contiguous(memory_format=layout).requires_grad_()
    torch.testing.assert_close(unit_values(activation), activation.mean((2, 3)))
    assert torch.autograd.gradcheck(unit_values, activation)
    (gradient,) = torch.autograd.grad(unit_values(activation).sum(), activation)
    assert gradient.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_means_of_half_precision_are_as_precise_as_it(layout):
    activation = torch.randn(16, 8, 32, 32, generator=torch.Generator().manual_seed(0)).relu()
    activation = activation.contiguous(memory_format=layout)
    half = activation.bfloat16()
    found = unit_values(half)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, half.float().mean((2, 3)), rtol=2**-8, atol=0)
    assert torch.equal(unit_values(torch.zeros_like(half)), torch.zeros(16, 8))  # a dead unit stays exactly dead


def test_half_precision_keeps_the_losses_within_a_hundredth():
    network = build_model("resnet18", in_channels=3, image_size=16, num_classes=4, width=8)
    network.to(memory_format=torch.channels_last)
    images, labels = torch.randn(32, 3, 16, 16), torch.arange(32) % 4
    watched = watch_units(network, unit_layers(network, images))
    exact = modular_losses(watched(images)[1], labels, num_classes=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, units = watched(images)
    half = modular_losses(units, labels, num_classes=4)
    for one, other in zip(half, exact, strict=True):
        assert float(one.detach()) == pytest.approx(float(other.detach()), rel=0.01)


def test_tracing_leaves_modes_and_statistics_alone():
    network = build_model("vgg", in_channels=1, image_size=8, num_classes=3, widths=[4, "M"], hidden=[4])
    network.features[1].eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    unit_layers(network, torch.randn(2, 1, 8, 8))
    assert network.training
    assert not network.features[1].training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_network_without_relu_is_refused():
    with pytest.raises(ValueError, match="no ReLU"):
        unit_layers(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2))


def test_a_network_that_cannot_be_traced_is_refused():
    class Branches(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match="cannot be traced"):
        unit_layers(Branches(), torch.zeros(1, 1))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vgg17", {}, "known: lenet5, resnet18, vgg"),
        ("vgg", {"widths": [4, "P"]}, "'P'"),
        ("vgg", {"depth": 3}, "does not take"),
        ("vgg", {"widths": [4] + ["M"] * 4}, "16 pixels"),
        ("lenet5", {"image_size": 8}, "12 x 12"),
    ],
)
def test_bad_models_say_what_is_wrong(name, options, message):
    options = {"in_channels": 1, "image_size": 8, "num_classes": 3} | options
    with pytest.raises(ValueError, match=message):
        build_model(name, **options)
