"""What units are worth, against its definition and against networks that are really cut."""

import pytest
import torch

from moda_core import (
    Contributions,
    contribution_masks,
    count_contributions,
    module_metrics,
    unit_layers,
)
from moda_core.graph import channel_graph
from moda_core.measuring import count_all_parameters
from moda_core.rules import BY_CONTRIBUTION, CONTRIBUTION, SIZE
from moda_core.rules.worth import ROUNDS, by_worth, levels_and_costs, unit_costs

CLASSES = 5


@pytest.fixture
def counted(network_and_images):
    network, images = network_and_images
    layers = unit_layers(network, images)
    labels = torch.arange(len(images)) % CLASSES
    contributions = count_contributions(network, layers, [(images, labels)], num_classes=CLASSES)
    return network, images, layers, contributions, channel_graph(network, layers, images)[0]


def test_worth_is_what_it_says():
    contributions = Contributions(torch.tensor([[4.0, 1.0, 0.0], [0.0, 1.0, 0.0]]).double(), (2, 1), (False, True))
    worth = by_worth(contributions, torch.tensor([[4, 1], [9, 1]]))
    assert worth.means_CN.tolist() == [[4 * 2**0.5 / 2, 1 / 2, 0], [0, 1 / 3, 0]]
    assert (worth.widths, worth.may_be_empty) == ((2, 1), (False, True))


def test_a_units_cost_is_what_cutting_gains(counted):
    """For a class alone: the parameters of its module with one unit more, or with one less of a whole layer."""
    network, images, layers, contributions, graph = counted
    masks = contribution_masks(contributions, float(contributions.means_CN.quantile(0.6)))
    masks[0][:] = True
    cost_CL = unit_costs(graph, masks)

    def sizes(masks):
        return [size * count_all_parameters(graph) for size in class_sizes(network, layers, masks, images)]

    before = sizes(masks)
    for layer, mask_CN in enumerate(masks):
        changed = [mask.clone() for mask in masks]
        for class_id in range(CLASSES):
            unit = int((~mask_CN[class_id]).long().argmax())
            changed[layer][class_id, unit] = ~mask_CN[class_id, unit]
        expected = [max(1, round(abs(after - size))) for after, size in zip(sizes(changed), before, strict=True)]
        assert cost_CL[:, layer].tolist() == expected


def class_sizes(network, layers, masks, images):
    """The size of each class's module: of a set whose classes all have this class's units."""
    for class_id in range(CLASSES):
        same = [mask_CN[class_id : class_id + 1].expand_as(mask_CN) for mask_CN in masks]
        yield module_metrics(network, layers, same, images).cut_size


def test_masks_and_costs_are_found_in_turns_and_sizes_come_near(counted):
    network, images, layers, contributions, graph = counted
    targets = torch.tensor([0.1, 0.3], dtype=torch.float64)
    levels, costs = levels_and_costs(graph, contributions, targets)
    assert costs.shape == (2, CLASSES, len(layers))
    counts = SIZE.extend(CONTRIBUTION.pack(contributions), graph, {"target": [0.3, 0.1]})
    assert torch.equal(counts["levels"], levels)
    for place, target in enumerate(targets.tolist()):
        chosen = SIZE.choose(counts, {"target": target}).keep
        worth = by_worth(contributions, costs[place])
        expected = contribution_masks(worth, float(levels[place]))
        assert all(torch.equal(mask, other) for mask, other in zip(chosen, expected, strict=True))
        higher = worth.means_CN[worth.means_CN > levels[place]]
        sizes = [module_metrics(network, layers, expected, images).cut_size]
        if len(higher):
            smaller = contribution_masks(worth, float(higher.min()))
            sizes.append(module_metrics(network, layers, smaller, images).cut_size)
        assert min(sizes) <= target or sizes[0] == pytest.approx(target, rel=0.5)
    assert ROUNDS == 3


def test_counts_without_costs_choose_by_contribution(counted):
    *_, contributions, graph = counted
    counts = SIZE.extend(CONTRIBUTION.pack(contributions), graph, {"target": [0.2]}, ranking=BY_CONTRIBUTION)
    assert "costs" not in counts
    expected = contribution_masks(contributions, float(counts["levels"][0]))
    assert all(map(torch.equal, SIZE.choose(counts, {"target": 0.2}).keep, expected))
