"""Contributions against what happens to the logit when a unit is scaled, unit by unit."""

import pytest
import torch

from moda_core import build_model, contribution_masks, count_contributions, mask_network, unit_layers
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
    mask.keep_N = torch.ones(layers.widths[layer], dtype=torch.float64)
    mask.keep_N[unit] = factor
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
