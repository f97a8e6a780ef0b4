"""Mask generators: where they are, how large, what they compute, and what they leave alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import NetworkError, build_model
from moda_core.methods import Mwt
from moda_core.methods.mask_generators import MaskGenerator
from moda_core.units import later_convolutions


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
    sites = later_convolutions(network, image())
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


def test_the_first_convolution_is_found_by_its_place_and_masks_act_before_the_addition():
    network = ThreeKernels().eval()
    sites = later_convolutions(network, image(8))
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
    with pytest.raises(NetworkError, match="has no convolution after a first one, which mask generators need"):
        Mwt().prepare(network, image(8))
