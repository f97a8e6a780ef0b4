"""The rule of L1 magnitude against norms that are written out, and sizes of networks that are really cut."""

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import MAGNITUDE, build_model, module_metrics, unit_layers
from moda_core.choosing import check_rule
from moda_core.graph import channel_graph
from moda_core.rules import reaches
from moda_core.rules.filter_norms import filter_norms
from tests.moda_core.conftest import randomise

IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
GRID = {"magnitude_target": [0.3, 0.1, 0.2]}


class Branches(nn.Module):
    """A depthwise convolution, a concatenation, a residual addition, and units on the images themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 2, 1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm, self.last = nn.BatchNorm2d(6), nn.Linear(6 * 64, 3)

    def forward(self, images):
        images = F.relu(images)
        both = F.relu(torch.cat([self.first(images), self.second(images)], 1))
        out = F.relu(self.norm(self.depthwise(both)) + both)
        return self.last(out.flatten(1))


def l1(layer):
    return layer.weight.detach().abs().flatten(1).sum(1)


def over_mean(norms):
    return norms / norms.mean()


def norms_of(network):
    layers = unit_layers(network, IMAGES)
    return filter_norms(*channel_graph(network, layers, IMAGES))


def vgg():
    return randomise(
        build_model("vgg", in_channels=1, image_size=8, num_classes=3, widths=[6, "M", 9], hidden=[12]), seed=5
    )


def test_a_unit_s_norm_is_that_of_its_filter_over_the_mean_of_its_layer():
    network = vgg()
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    expected = [over_mean(l1(layer)) for layer in layers[:-1]]
    found = norms_of(network)
    assert [len(norms) for norms in found] == [6, 9, 12]
    assert all(torch.allclose(one, other) for one, other in zip(found, expected, strict=True))


def test_norms_of_branches_are_added_and_units_without_a_filter_count_alike():
    network = randomise(Branches(), seed=2)
    both = torch.cat([l1(network.first), l1(network.second)])
    expected = [torch.ones(1), over_mean(both), over_mean(l1(network.depthwise) + both)]
    found = norms_of(network)
    assert all(torch.allclose(one, other.double()) for one, other in zip(found, expected, strict=True))


def test_every_class_keeps_the_largest_filters_as_many_as_give_the_size():
    network = vgg()
    layers = unit_layers(network, IMAGES)
    counts = MAGNITUDE.count(network, MAGNITUDE.sites(network, IMAGES), [], num_classes=3, grid=GRID)
    counts = safetensors.torch.load(safetensors.torch.save(counts))
    norms = norms_of(network)
    for target in GRID["magnitude_target"]:
        chosen = MAGNITUDE.choose(counts, {"magnitude_target": target})
        kept = [mask_CN[0] for mask_CN in chosen.keep]
        for mask_CN, norm_N in zip(chosen.keep, norms, strict=True):
            assert bool((mask_CN == mask_CN[0]).all())
            assert bool(mask_CN[0, norm_N.argmax()])
        inside = torch.cat([norm_N[mask] for norm_N, mask in zip(norms, kept, strict=True) if int(mask.sum()) > 1])
        outside = torch.cat([norm_N[~mask] for norm_N, mask in zip(norms, kept, strict=True)])
        assert inside.min() > outside.max()
        assert reaches(target, module_metrics(network, layers, chosen, IMAGES).cut_size)


def test_a_target_that_was_not_counted_is_refused():
    network = vgg()
    counts = MAGNITUDE.count(network, unit_layers(network, IMAGES), [], num_classes=3, grid=GRID)
    with pytest.raises(ValueError, match=r"magnitude_target=0\.25 was not counted; counted: 0\.1, 0\.2, 0\.3"):
        MAGNITUDE.choose(counts, {"magnitude_target": 0.25})
    check_rule(MAGNITUDE)
