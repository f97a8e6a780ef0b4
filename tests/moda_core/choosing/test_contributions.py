"""Contributions against what happens to the logit when a unit is scaled, unit by unit."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import build_model, contribution_masks, count_contributions, mask_network, unit_layers
from moda_core.choosing.contributions import BATCH
from tests.moda_core.conftest import randomise


@pytest.fixture(scope="module")
def network():
    return randomise(
        build_model("vgg", in_channels=1, image_size=8, num_classes=3, widths=[4, "M", 5], hidden=[6]), seed=5
    )


IMAGES = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LABELS = torch.arange(12) % 3


def scaled(network, layers, layer, unit, factor):
    """Logits when one unit's output is multiplied by a factor: a masked network with another number in its mask."""
    keep = [torch.ones(n, dtype=torch.bool) for n in layers.widths]
    masked = mask_network(network, layers, keep, [0, 1, 2])
    mask = masked.get_submodule(f"moda.mask_{layer}")
    mask.factor_N = torch.ones(layers.widths[layer], dtype=torch.float64)
    mask.factor_N[unit] = factor
    return masked(IMAGES).detach()


def test_a_contribution_is_the_derivative_by_the_unit_s_scale(network):
    layers = unit_layers(network, IMAGES)
    batches = [(IMAGES[:7], LABELS[:7]), (IMAGES[7:], LABELS[7:])]
    found = count_contributions(network, layers, batches, num_classes=3)
    step, start = 1e-6, 0
    for layer, width in enumerate(layers.widths):
        for unit in range(width):
            up, down = (scaled(network, layers, layer, unit, 1 + sign * step) for sign in (1, -1))
            own = ((up - down) / (2 * step)).gather(1, LABELS[:, None]).flatten().abs()
            expected = torch.stack([own[c == LABELS].mean() for c in range(3)])
            torch.testing.assert_close(found.means_CN[:, start + unit], expected, rtol=1e-5, atol=1e-7)
        start += width


def test_the_masks_keep_what_reaches_the_level_and_the_largest_of_each_layer(network):
    layers = unit_layers(network, IMAGES)
    found = count_contributions(network, layers, [(IMAGES, LABELS)], num_classes=3)
    everything, nothing = contribution_masks(found, 0.0), contribution_masks(found, 1e9)
    assert all(bool(mask.all()) for mask in everything)
    assert all(mask.sum(1).tolist() == [1, 1, 1] for mask in nothing)
    level = float(found.means_CN.median())
    for mask, mean_CN in zip(contribution_masks(found, level), found.means_CN.split(layers.widths, 1), strict=True):
        assert bool(mask[mean_CN >= level].all())
        assert mask.shape == mean_CN.shape


def test_how_the_images_are_batched_changes_nothing(network):
    layers = unit_layers(network, IMAGES)
    many, labels = IMAGES.repeat(15, 1, 1, 1), LABELS.repeat(15)  # more than pass at once
    found = count_contributions(network, layers, [(many, labels)], num_classes=3)
    expected = count_contributions(network, layers, [(IMAGES, LABELS)], num_classes=3)
    assert len(many) > BATCH
    torch.testing.assert_close(found.means_CN, expected.means_CN, rtol=1e-12, atol=1e-12)


class DeadBranch(nn.Module):
    """Computes what nobody reads."""

    def __init__(self):
        super().__init__()
        self.first, self.branch, self.aside = nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 2)
        self.classes = nn.Linear(5, 3)

    def forward(self, images):
        out = F.relu(self.first(images.flatten(1)))
        self.aside(F.relu(self.branch(out)))
        return self.classes(out)


def test_a_unit_that_no_logit_needs_contributes_nothing():
    network = randomise(DeadBranch(), seed=0)
    images = IMAGES[:, :, :2, :2]
    layers = unit_layers(network, images)
    found = count_contributions(network, layers, [(images, LABELS)], num_classes=3).means_CN.split(layers.widths, 1)
    assert float(found[0].max()) > 0
    assert torch.equal(found[1], torch.zeros(3, 6, dtype=torch.float64))


def test_what_cannot_be_counted_is_refused(network):
    layers = unit_layers(network, IMAGES)
    with pytest.raises(ValueError, match=r"classes \[3\] have no samples"):
        count_contributions(network, layers, [(IMAGES, LABELS)], num_classes=4)
    found = count_contributions(network, layers, [(IMAGES, LABELS)], num_classes=3)
    for level in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="level="):
            contribution_masks(found, level)
    try:
        with pytest.raises(ValueError, match="in training mode"):
            count_contributions(network.train(), layers, [(IMAGES, LABELS)], num_classes=3)
    finally:
        network.eval()
