"""Mask generators: where they are, how large, what they compute, and what they leave alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import NetworkError, build_model
from moda_core.methods import Mwt, Nemo
from moda_core.methods.mask_generators import MaskGenerator
from moda_core.units import gate_sites
from tests.moda_core.cutting.random_transformers import ATTENTIONS, Module, Scaled, Together


def image(side=32, channels=3):
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "convolutions", "masks", "parameters"),
    [
        ("vgg16", 12, 4160, 1_728_576),
        ("resnet18", 19, 4736, 1_585_792),
        ("mobilenet_v1", 26, 10_912, 6_298_272),
    ],
)
def test_generators_have_the_published_sizes(name, convolutions, masks, parameters):
    network = build_model(name, in_channels=3, image_size=32, num_classes=10)
    prepared = Mwt().prepare(network, image())
    sites = gate_sites(network, image())
    assert (len(sites), sum(sites.widths)) == (convolutions, masks)
    assert sum(parameter.numel() for parameter in prepared.parts.parameters()) == parameters
    logits, made = prepared.model.eval()(image())
    assert logits.shape == (2, 10)
    assert [tuple(mask.shape) for mask in made] == [(2, width) for width in sites.widths]


class ThreeKernels(nn.Module):
    """Convolutions that read three channels wherever they are; one without batch norm, and a shortcut."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.third = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.third_norm = nn.BatchNorm2d(4)
        self.shortcut = nn.Conv2d(3, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, images, mask=lambda name, inputs, outputs: outputs):
        stem = F.relu(self.norm(self.stem(images)))
        second = F.relu(mask("second", stem, self.second(stem)))
        third = mask("third_norm", second, self.third_norm(self.third(second)))
        out = F.relu(third + mask("shortcut", second, self.shortcut(second)))
        return self.head(out.mean((2, 3)))


class TwoBlocks(nn.Module):
    """Patches, attention, a hidden layer, attention and another hidden layer, on the way to the mean over tokens."""

    def __init__(self, form):
        super().__init__()
        hidden = [nn.Sequential(nn.Linear(6, 7), nn.GELU(), nn.Linear(7, 6)) for _ in range(2)]
        self.patches, self.head = nn.Conv2d(3, 6, 2, 2), nn.Linear(6, 3)
        self.blocks = nn.Sequential(form(6, 2, True), hidden[0], form(6, 2, True), hidden[1])

    def forward(self, images):
        return self.head(self.blocks(self.patches(images).flatten(2).transpose(1, 2)).mean(1))


def test_the_first_convolution_is_found_by_its_place_and_masks_act_before_the_addition():
    network = ThreeKernels().eval()
    sites = gate_sites(network, image(8))
    assert [site.name for site in sites] == ["second", "third_norm", "shortcut"]
    model, generators = Mwt().prepare(network, image(8))
    generators = dict(zip(["second", "third_norm", "shortcut"], generators, strict=True))
    shown = {}

    def mask(name, inputs, outputs):
        generator = generators[name]
        hidden = F.relu(inputs.mean((2, 3)) @ generator.first.weight.T)
        shown[name] = F.relu(torch.tanh(hidden @ generator.second.weight.T + generator.second.bias))
        return outputs * shown[name][:, :, None, None]

    expected = network(image(8), mask)
    logits, masks = model.eval()(image(8))
    torch.testing.assert_close(logits, expected)
    assert not torch.allclose(logits, network(image(8)))
    for found, name in zip(masks, shown, strict=True):
        torch.testing.assert_close(found, shown[name])
        assert ((found >= 0) & (found < 1)).all()
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert all(parameter.grad is not None for parameter in generators["shortcut"].parameters())
    assert network.stem.weight.grad is not None


def test_a_generator_starts_as_published():
    torch.manual_seed(0)
    narrow, wide = MaskGenerator(300, 127), MaskGenerator(300, 128)
    assert (narrow.first.weight.shape, wide.first.weight.shape) == ((127, 300), (64, 300))
    assert narrow.first.bias is None
    assert torch.equal(wide.second.bias, torch.ones(128))
    assert float(wide.first.weight.detach().std()) == pytest.approx((2 / 300) ** 0.5, rel=0.02)
    assert float(wide.second.weight.detach().std()) == pytest.approx((2 / 64) ** 0.5, rel=0.04)


def test_a_generator_of_a_linear_layer_starts_as_published():
    torch.manual_seed(0)
    narrow, wide = (MaskGenerator(300, width, of_tokens=True) for width in (3072, 3073))
    assert (narrow.first.weight.shape, wide.first.weight.shape) == ((3072, 300), (1536, 300))
    assert all(torch.equal(layer.bias, torch.ones(3072)) for layer in (narrow.first, narrow.second))
    assert float(wide.first.weight.detach().std()) == pytest.approx((2 / 300) ** 0.5, rel=0.02)


def test_the_linear_layers_of_vit_small_have_the_published_generators():
    network = build_model("vit_small", in_channels=3, image_size=32, num_classes=10)
    assert sum(gate_sites(network, image()).widths) == 38_016
    network = build_model("vit_small", in_channels=3, image_size=32, num_classes=10, depth=2)
    parts = Nemo().prepare(network, image()).parts
    assert 11 * sum(parameter.numel() for parameter in parts.parameters()) == 53_602_560


def test_masks_of_linear_layers_act_on_all_tokens_of_later_blocks():
    network = build_model(
        "vit_small", in_channels=3, image_size=8, num_classes=5, width=6, depth=2, heads=2, patch=4
    ).eval()
    model, generators = Nemo().prepare(network, image(8))
    logits, masks = model.eval()(image(8))
    second, shown = network.blocks[1], []
    attention, mlp = second.attention, second.mlp
    names = {attention.query: 0, attention.key: 1, attention.value: 2, attention.out: 3, mlp[0]: 4, mlp[2]: 5}

    def mask(layer, inputs, outputs):
        generator = generators[names[layer]]
        hidden = F.relu(inputs[0].mean(1) @ generator.first.weight.T + generator.first.bias)
        shown.append(F.relu(torch.tanh(hidden @ generator.second.weight.T + generator.second.bias)))
        return outputs * shown[-1][:, None]

    for layer in names:
        layer.register_forward_hook(mask)
    torch.testing.assert_close(logits, network(image(8)))
    assert len(shown) == len(masks) == 6
    for found, expected in zip(masks, shown, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("form", ATTENTIONS)
def test_every_form_of_attention_has_generators_from_the_second_block_on(form):
    network = TwoBlocks(form)
    names = [site.name.removeprefix("blocks.") for site in gate_sites(network, image(6))]
    together = {Together: ["qkv", "proj"], Scaled: ["qkv", "proj"], Module: ["attention.linear", "attention.out_proj"]}
    projections = together.get(form, ["query", "key", "value", "out"])
    assert sorted(names[:-2]) == sorted(f"2.{name}" for name in projections)
    assert names[-2:] == ["3.0", "3.2"]


def test_the_published_contrast_counts_the_first_masks_of_a_convolution_as_ones():
    network = build_model("vgg", in_channels=3, image_size=8, num_classes=5, widths=[4, 5, "M"], hidden=[6])
    torch.manual_seed(0)
    _, masks = Nemo(published=True).prepare(network, image(8)).model(image(8))
    assert [torch.equal(mask, torch.ones_like(mask)) for mask in masks] == [True]
    torch.manual_seed(0)
    _, masks = Nemo().prepare(network, image(8)).model(image(8))
    assert not torch.equal(masks[0], torch.ones(2, 5))
    vit = build_model("vit_small", in_channels=3, image_size=8, num_classes=5, width=4, depth=2, heads=2, patch=4)
    _, masks = Nemo(published=True).prepare(vit, image(8)).model(image(8))
    assert not torch.equal(masks[0], torch.ones(2, 4))


def test_half_precision_leaves_masks_as_they_are():
    generator = MaskGenerator(3, 4)
    images = image(8)
    with torch.autocast("cpu", torch.bfloat16):
        found = generator(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, generator(images))


@pytest.mark.parametrize("layers", [[nn.Flatten(), nn.Linear(192, 4), nn.ReLU()], [nn.Conv2d(3, 4, 3), nn.ReLU()]])
def test_a_network_without_a_later_convolution_is_refused(layers):
    network = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3))
    network(image(8))
    with pytest.raises(NetworkError, match="has neither a convolution after a first one nor linear layers in a"):
        Mwt().prepare(network, image(8))
