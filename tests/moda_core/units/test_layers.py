"""Unit layers are call sites of the traced graph."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import (
    build_model,
    count_frequencies,
    cut_network,
    keep_masks,
    mask_network,
    modular_losses,
    unit_layers,
    watch_units,
)
from moda_core.units.layers import unit_values


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
    with pytest.raises(ValueError, match="has no unit layers"):
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
        ("vgg17", {}, "known: deit_small, lenet5, mobilenet_v1"),
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


class Activated(nn.Module):
    """One activation as a module and as a function, after a convolution and after a linear layer."""

    def __init__(self, module, function):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.activation = module
        self.function = function
        self.hidden = nn.Linear(16, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        x = self.activation(self.conv(x)).flatten(1)
        return self.head(self.function(self.hidden(x)))


@pytest.mark.parametrize(
    ("kind", "module", "function"),
    [
        ("relu", nn.ReLU(), F.relu),
        ("relu6", nn.ReLU6(), F.relu6),
        ("leaky_relu", nn.LeakyReLU(0.2), lambda x: F.leaky_relu(x, 0.2)),
        ("hardswish", nn.Hardswish(), F.hardswish),
        ("silu", nn.SiLU(), F.silu),
        ("gelu", nn.GELU(), F.gelu),
    ],
)
def test_every_activation_by_call_site_and_by_absolute_value(kind, module, function):
    network = Activated(module, function).double().eval()
    images = torch.randn(6, 1, 4, 4, dtype=torch.float64)
    layers = unit_layers(network, images)
    assert [layer.name for layer in layers] == ["activation", kind]
    assert [layer.kind for layer in layers] == [kind, kind]
    _, units = watch_units(network, layers)(images)
    first = module(network.conv(images))
    torch.testing.assert_close(units[0], first.abs().mean((2, 3)))
    torch.testing.assert_close(units[1], function(network.hidden(first.flatten(1))).abs())
    labels = torch.arange(6) % 2
    if kind in ("relu", "relu6", "hardswish"):
        assert count_frequencies(network, layers, [(images, labels)], num_classes=2).thresholds[0] == 0
    else:
        with pytest.raises(
            ValueError, match=f"{kind} at 'activation' is never exactly zero; choose thresholds above 0"
        ):
            count_frequencies(network, layers, [(images, labels)], num_classes=2)
        found = count_frequencies(network, layers, [(images, labels)], num_classes=2, thresholds=(0.1, 0.5))
        with pytest.raises(ValueError, match="threshold=0"):
            keep_masks(found, 0.9)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_absolute_means_and_their_gradient(layout):
    activation = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    activation = activation.contiguous(memory_format=layout).requires_grad_()

    def values(x):
        return unit_values(x, 1, True)

    torch.testing.assert_close(values(activation), activation.abs().mean((2, 3)))
    assert torch.autograd.gradcheck(values, activation)


class Tokens(nn.Module):
    """Patches as tokens, a Transformer's MLP on them, the mean token to the head."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 6, 2, stride=2)
        self.mlp = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head((x + self.mlp(x)).mean(1))


def test_a_token_s_units_are_averaged_like_pixels_masked_and_cut():
    network, images = Tokens().double().eval(), torch.randn(4, 1, 6, 6, dtype=torch.float64)
    layers = unit_layers(network, images)
    assert [(layer.name, layer.units, layer.dimension) for layer in layers] == [("mlp.2", 9, -1)]
    hidden = network.mlp[:3](network.patches(images).flatten(2).transpose(1, 2))
    torch.testing.assert_close(watch_units(network, layers)(images)[1][0], hidden.abs().mean(1))
    keep = torch.arange(9) % 2 == 0
    masked = mask_network(network, layers, [keep], [2, 0])
    expected = copy.deepcopy(network)
    expected.mlp[3].weight.data[:, ~keep] = 0
    torch.testing.assert_close(masked(images), expected(images)[:, [2, 0]])
    cut = cut_network(network, layers, [keep], [2, 0], images)
    torch.testing.assert_close(cut(images), masked(images))


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Branching(), "Branching cannot be traced"),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), "has no unit layers"),
        (nn.Sequential(nn.Linear(7, 2), nn.ReLU(), nn.Linear(2, 2)), r"does not take images of shape \(1, 4, 4\)"),
    ],
)
def test_networks_without_unit_layers_are_refused(network, message):
    with pytest.raises(ValueError, match=message):
        unit_layers(network, torch.zeros(2, 1, 4, 4))


def test_counting_a_network_in_training_mode_is_refused():
    network, images = Activated(nn.ReLU(), F.relu), torch.randn(4, 1, 4, 4)
    with pytest.raises(ValueError, match=r"Activated is in training mode; call its eval\(\)"):
        count_frequencies(network, unit_layers(network, images), [(images, torch.tensor([0, 1, 0, 1]))], num_classes=2)
