"""Metrics against plain computations from their definitions."""

import itertools

import pytest
import torch
from torch import nn

from moda_core import build_model, cohesion, count_frequencies, keep_masks, module_metrics, unit_layers, watch_units
from moda_core.cutting import compose
from tests.moda_core.conftest import random_masks, randomise


def jaccard(a, b):
    return len(a & b) / len(a | b) if a | b else 1.0


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def test_coupling_is_the_mean_jaccard_index_of_class_masks(network_and_images):
    network, images = network_and_images
    layers = unit_layers(network, images)
    masks = random_masks(layers.widths, 5, seed=3)
    kept = [set(torch.cat([mask[c] for mask in masks]).nonzero().flatten().tolist()) for c in range(5)]
    expected = mean(jaccard(a, b) for a, b in itertools.combinations(kept, 2))
    assert module_metrics(network, layers, masks, images).coupling == pytest.approx(expected)


def test_kernel_retention_leaves_the_first_convolution_out(network_and_images):
    network, images = network_and_images
    layers = unit_layers(network, images)
    masks = random_masks(layers.widths, 5, seed=3, density=0.6)

    def kernels(net):
        return sum(m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d))

    def first(net):
        return next(m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d))

    cuts = [compose(network, layers, masks, [c], images) for c in range(5)]
    expected = mean((kernels(cut) - first(cut)) / (kernels(network) - first(network)) for cut in cuts)
    assert module_metrics(network, layers, masks, images).kernel_retention == pytest.approx(expected)


def test_cohesion_is_the_mean_jaccard_index_of_a_class_s_samples():
    network = randomise(
        build_model("vgg", in_channels=1, image_size=8, num_classes=3, widths=[5, "M", 7], hidden=[6]), seed=2
    )
    images, labels = torch.randn(30, 1, 8, 8, dtype=torch.float64), torch.arange(30) % 3
    layers = unit_layers(network, images)
    batches = [(images[:17], labels[:17]), (images[17:], labels[17:])]
    found = count_frequencies(network, layers, batches, num_classes=3, thresholds=(0.0, 0.5))
    masks = keep_masks(found, 0.6, threshold=0.5)
    with torch.no_grad():
        active_SN = torch.cat(watch_units(network, layers)(images)[1], 1) > 0.5 * found.means_N
    expected = []
    for c in range(3):
        kept = torch.cat([mask[c] for mask in masks])
        samples = [set((row & kept).nonzero().flatten().tolist()) for row in active_SN[labels == c]]
        expected.append(mean(jaccard(a, b) for a, b in itertools.combinations(samples, 2)))
    assert cohesion(network, layers, masks, batches, found, threshold=0.5) == pytest.approx(mean(expected), abs=1e-6)
    with pytest.raises(ValueError, match="class 2 has 1 images"):
        cohesion(network, layers, masks, [(images[:3], labels[:3]), (images[:2], torch.tensor([0, 1]))], found)


def test_a_hundred_classes_give_all_pairs_at_once():
    """The 4,950 overlaps of VGG16's modules, against what a plain chain of layers makes of shared units."""
    network = build_model("vgg16", in_channels=3, image_size=32, num_classes=100)
    images = torch.zeros(1, 3, 32, 32)
    layers = unit_layers(network, images)
    masks = random_masks(layers.widths, 100, seed=1, density=0.2)
    found = module_metrics(network, layers, masks, images)
    parameters = sum(p.numel() for p in network.parameters())
    overlaps = []
    for c, d in itertools.combinations(range(100), 2):
        both = [3, *(int((mask[c] & mask[d]).sum()) for mask in masks)]
        pairs = list(itertools.pairwise(both))
        convolutions = sum(9 * i * o + 3 * o for i, o in pairs[:13])  # a bias and batch norm's two
        overlaps.append(convolutions + sum(i * o + o for i, o in pairs[13:]))  # the logits are never shared
    assert found.parameters == parameters
    assert found.module_overlap == pytest.approx(mean(overlaps) / parameters)


def test_measuring_without_batches_is_refused():
    network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    layers = unit_layers(network, torch.randn(2, 3))
    masks = [torch.ones(2, 2, dtype=torch.bool)]
    found = count_frequencies(network, layers, [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))], num_classes=2)
    with pytest.raises(ValueError, match="no batches"):
        cohesion(network, layers, masks, [], found)
