"""Levels of target sizes against a search through all levels, with sizes from networks that are really cut."""

import math

import pytest
import torch

from moda_core import Contributions, contribution_masks, count_contributions, module_metrics, unit_layers
from moda_core.cutting import compose
from moda_core.graph import channel_graph
from moda_core.rules.target_sizes import levels_of_targets, mean_sizes

TARGETS = torch.tensor([1e-4, 0.05, 0.1, 0.3, 0.7, 1.0], dtype=torch.float64)


@pytest.fixture
def counted(network_and_images):
    network, images = network_and_images
    layers = unit_layers(network, images)
    labels = torch.arange(len(images)) % 5
    contributions = count_contributions(network, layers, [(images, labels)], num_classes=5)
    return network, images, layers, contributions


def test_sizes_at_levels_are_those_of_cut_networks(counted):
    network, images, layers, contributions = counted
    levels = torch.quantile(contributions.means_CN, torch.tensor([0.0, 0.5, 0.8, 1.0]).double())
    graph, _ = channel_graph(network, layers, images)
    sizes = mean_sizes(graph, [contributions] * 4, levels)
    whole = sum(parameter.numel() for parameter in network.parameters())
    for level, size in zip(levels.tolist(), sizes.tolist(), strict=True):
        masks = contribution_masks(contributions, level)
        assert size == pytest.approx(module_metrics(network, layers, masks, images).cut_size, rel=1e-12)
        modules = [compose(network, layers, masks, [class_id], images) for class_id in range(5)]
        stored = [sum(one.numel() for one in module.parameters() if one.requires_grad) for module in modules]
        assert size <= sum(stored) / 5 / whole + 1e-12  # a fold may add a bias, which does not count


def test_the_level_is_the_one_that_comes_nearest(counted):
    network, images, layers, contributions = counted
    graph, _ = channel_graph(network, layers, images)
    values = contributions.means_CN[contributions.means_CN > 0].unique()
    every = torch.cat([mean_sizes(graph, [contributions] * len(part), part) for part in values.split(20)])
    assert bool((every.diff() <= 0).all())  # a higher level, a smaller module
    found = mean_sizes(graph, [contributions] * len(TARGETS), levels_of_targets(graph, contributions, TARGETS))
    for target, size in zip(TARGETS.tolist(), found.tolist(), strict=True):
        assert abs(math.log(size / target)) <= float((every / target).log().abs().min()) + 1e-12
    assert found[0] == every[-1]  # out of reach: the largest unit of each layer is kept


def test_units_without_contribution_are_not_kept_for_a_larger_size(counted):
    network, images, layers, contributions = counted
    means_CN = contributions.means_CN.clone()
    means_CN[:, ::2] = 0.0
    graph, _ = channel_graph(network, layers, images)
    halved = Contributions(means_CN, contributions.widths)
    level = levels_of_targets(graph, halved, torch.ones(1, dtype=torch.float64))
    smallest = means_CN[means_CN > 0].min()[None]
    assert level >= smallest
    assert mean_sizes(graph, [halved], level) == mean_sizes(graph, [halved], smallest)
    nothing = Contributions(torch.zeros_like(means_CN), contributions.widths)
    (level,) = levels_of_targets(graph, nothing, torch.ones(1, dtype=torch.float64))
    assert [int(mask.sum()) for mask in contribution_masks(nothing, float(level))] == [5] * len(layers)
