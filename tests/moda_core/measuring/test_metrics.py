"""Metrics against plain computations from their definitions."""

import itertools

import pytest
import torch
from torch import nn

from moda_core import build_model, cohesion, count_frequencies, keep_masks, module_metrics, unit_layers, watch_units
from moda_core.cutting import compose
from moda_core.graph import channel_graph
from moda_core.measuring import composed_sizes
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
    others = kernels(network) - first(network)  # a Transformer has none
    expected = mean((kernels(cut) - first(cut)) / others if others else 1.0 for cut in cuts)
    assert module_metrics(network, layers, masks, images).kernel_retention == pytest.approx(expected)


def test_composed_sizes_are_those_of_the_networks_that_are_cut(network_and_images):
    network, images = network_and_images
    layers = unit_layers(network, images)
    masks = random_masks(layers.widths, 5, seed=3)
    subsets = [(0, 3), (1, 2, 4), (0, 1, 2, 3, 4)]

    def parameters(net):
        return sum(one.numel() for one in net.parameters() if one.requires_grad)

    graph, _ = channel_graph(network, layers, images)
    expected = [parameters(compose(network, layers, masks, subset, images)) / parameters(network) for subset in subsets]
    assert composed_sizes(graph, masks, subsets).tolist() == pytest.approx(expected)


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


@pytest.mark.parametrize("density", [0.05, 0.2, 0.7])
def test_published_sizes_of_depthwise_networks_are_counted_from_masks_alone(density):
    """The published rule, written out for MobileNet: 27 convolutions in a row, every second of them depthwise."""
    network = build_model("mobilenet_v1", in_channels=3, image_size=32, num_classes=10, width=8)
    images = torch.zeros(1, 3, 32, 32)
    layers = unit_layers(network, images)
    masks = random_masks(layers.widths, 10, seed=4, density=density)
    parameters = []
    for class_id in range(10):
        stem, *others = (mask[class_id] for mask in masks)
        kept = before_depthwise(stem, others[0])
        total = 27 * kept + 2 * kept
        for index in range(13):
            depthwise, pointwise = others[2 * index], others[2 * index + 1]
            channels = int(depthwise.sum())
            is_last = index == 12
            kept = int(pointwise.sum()) if is_last else before_depthwise(pointwise, others[2 * index + 2])
            total += 9 * channels + 2 * channels + channels * kept + 2 * kept
        parameters.append(total + kept + 1)
    found = module_metrics(network, layers, masks, images)
    assert found.module_size == pytest.approx(mean(parameters) / found.parameters)
    assert found.cut_size < found.module_size


def before_depthwise(mask, depthwise):
    """How many channels a layer keeps before a depthwise convolution: those of both masks, or one."""
    return max(1, int((mask & depthwise).sum()))


def test_both_ways_to_count_agree_where_no_channel_is_constant(network_and_images):
    """Plain chains, and residual blocks whose branches are cut to the block's own mask."""
    network, images = network_and_images
    layers = unit_layers(network, images)
    found = module_metrics(network, layers, random_masks(layers.widths, 5, seed=3, density=0.6), images)
    assert found.module_size == pytest.approx(found.cut_size)
    assert found.module_overlap == pytest.approx(found.cut_overlap)


def test_retention_of_linear_weights_leaves_biases_out():
    network = build_model("vgg", in_channels=1, image_size=4, num_classes=3, widths=[4, "M"], hidden=[6]).eval()
    images = torch.zeros(1, 1, 4, 4)
    layers = unit_layers(network, images)
    masks = [torch.ones(3, 4, dtype=torch.bool), torch.ones(3, 6, dtype=torch.bool)]
    masks[0][0, 1:], masks[1][0, 2:] = False, False  # class 0: 4 features of one channel, 2 hidden units
    kept = mean([4 * 2 + 2 * 1, 16 * 6 + 6, 16 * 6 + 6])
    assert module_metrics(network, layers, masks, images).linear_retention == pytest.approx(kept / (16 * 6 + 6 * 3))


def test_measuring_without_batches_is_refused():
    network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    layers = unit_layers(network, torch.randn(2, 3))
    masks = [torch.ones(2, 2, dtype=torch.bool)]
    found = count_frequencies(network, layers, [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))], num_classes=2)
    with pytest.raises(ValueError, match="no batches"):
        cohesion(network, layers, masks, [], found)
