"""Idioms of public model files: each network is taken and cut to the masked network's numbers, or refused by name."""

import copy

import pytest
import torch
from torch import fx

from moda_core import Decomposition, largest_difference, mask_network, merge_masks, unit_layers
from moda_core.cutting.extract import cut_graph
from moda_core.cutting.slices import slice_state
from moda_core.graph.reading import channel_graph
from moda_core.measuring.metrics import sizes_and_overlaps
from moda_core.sets.module_file import ModuleSet, held_union
from tests.moda_core.conftest import random_masks, randomise
from tests.moda_core.cutting.test_cutter import parameters
from tests.moda_core.graph.public_networks import SIDE, networks

NETWORKS = dict(networks())
NAMES = ["ant", "bee", "cat", "dog"]
IMAGES = torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_public_files_write_is_cut_to_the_masked_numbers(name):
    network = randomise(copy.deepcopy(NETWORKS[name]), seed=1)
    layers = unit_layers(network, IMAGES)
    graph, state = channel_graph(network, layers, IMAGES)
    traced, images = fx.GraphModule(network, layers.graph), torch.cat([IMAGES, IMAGES + 1])[:7]
    torch.testing.assert_close(traced(images), network(images))
    for seed, density in enumerate((0.2, 0.7)):
        masks, classes = random_masks(layers.widths, 4, seed, density), [2, 0]
        keep, union = merge_masks(masks, classes), held_union(graph, masks)
        masked = mask_network(network, layers, keep, classes)
        cut = cut_graph(graph, state, keep, classes)
        tensors = slice_state(graph, state, union)
        published = ModuleSet({"class_names": NAMES}, graph, Decomposition(masks), union, tensors)
        part = published.slice(["cat", "ant"]).compose()
        for count in (1, 2, 5):
            assert largest_difference(masked, cut, IMAGES[:count]) < 1e-9
            assert largest_difference(masked, part, IMAGES[:count]) < 1e-9
        sizes = [parameters(cut_graph(graph, state, merge_masks(masks, [c]), [c])) for c in range(4)]
        found = sizes_and_overlaps(graph, masks)
        assert found.parameters == parameters(network)
        assert found.sizes_C.tolist() == pytest.approx([size / parameters(network) for size in sizes])
