"""Laws of cutting on random networks: masked is the definition, the cut network and the sizes must agree with it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from moda_core import Decomposition, cut_network, largest_difference, mask_network, unit_layers
from moda_core.cutting import compose
from moda_core.cutting.alignment import Fill, Place, UnevenGroups
from moda_core.cutting.extract import cut_graph
from moda_core.cutting.held import held_channels
from moda_core.cutting.slices import slice_state
from moda_core.graph.reading import channel_graph
from moda_core.measuring.metrics import sizes_and_overlaps
from moda_core.measuring.sizes import count_flops
from moda_core.sets.module_file import ModuleSet, held_union
from tests.moda_core.conftest import random_decomposition, random_masks
from tests.moda_core.cutting.random_networks import random_network, random_sites
from tests.moda_core.cutting.test_cutter import parameters

CLASSES = 3
NAMES = ["ant", "bee", "cat"]
IMAGES = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


CASES = {
    "seed": st.integers(0, 10**6),
    "steps": st.integers(4, 16),
    "density": st.sampled_from([0.05, 0.3, 0.6, 0.9]),
    "classes": st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=CLASSES, unique=True),
}


@settings(deadline=None, max_examples=40)
@given(**CASES)
def test_cut_equals_masked_and_the_sizes_are_those_of_what_was_cut(seed, steps, density, classes):
    network = random_network(seed, steps=steps, classes=CLASSES)
    layers = unit_layers(network, IMAGES)
    check_laws(network, layers, Decomposition(random_masks(layers.widths, CLASSES, seed, density)), classes)


@settings(deadline=None, max_examples=25)
@given(**CASES)
def test_the_laws_hold_for_sites_anywhere_with_scales_and_bias(seed, steps, density, classes):
    network = random_network(seed, steps=steps, classes=CLASSES)
    layers = random_sites(network, IMAGES, seed)
    check_laws(network, layers, random_decomposition(layers.widths, CLASSES, seed, density), classes)


def check_laws(network, layers, decomposition, classes):
    masked = mask_network(network, layers, decomposition, classes)
    cut = compose(network, layers, decomposition, classes, IMAGES)
    assert largest_difference(masked, cut, IMAGES) < 1e-9

    graph, state = channel_graph(network, layers, IMAGES)
    union = held_union(graph, decomposition)  # what a module set stores, and every subset of classes is a slice of it
    again = cut_graph(graph, slice_state(graph, state, union), decomposition, classes, held=union)
    assert largest_difference(masked, again, IMAGES) < 1e-9
    assert parameters(again) == parameters(cut)
    whole = ModuleSet({"class_names": NAMES}, graph, decomposition, union, slice_state(graph, state, union))
    part = whole.slice([NAMES[class_id] for class_id in classes])
    assert largest_difference(masked, part.compose(), IMAGES) < 1e-9
    assert parameters(part.compose()) == parameters(cut)
    last = part.slice([NAMES[classes[-1]]])  # a slice of a slice
    alone = mask_network(network, layers, decomposition, [classes[-1]])
    assert largest_difference(alone, last.compose(), IMAGES) < 1e-9

    one = classes[0]
    alone = compose(network, layers, decomposition, [one], IMAGES)
    found = sizes_and_overlaps(graph, decomposition)
    assert float(found.sizes_C[one]) * found.parameters == pytest.approx(parameters(alone))
    with FlopCounterMode(display=False) as counter:
        alone(IMAGES[:1])
    held = held_channels(graph, decomposition.keep, torch.eye(CLASSES, dtype=torch.bool))
    assert count_flops(graph, held)[one] == counter.get_total_flops()


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_keeping_everything_changes_nothing(seed):
    network = random_network(seed, steps=12, classes=CLASSES)
    layers = unit_layers(network, IMAGES)
    keep = [torch.ones(n, dtype=torch.bool) for n in layers.widths]
    cut = cut_network(network, layers, keep, range(CLASSES), IMAGES)
    assert largest_difference(network, cut, IMAGES) < 1e-12


def test_random_sites_reach_the_hard_cases():
    """Sites after norms, flattening, additions, movements, and layers that are called again, beside activations."""
    seen = set()
    for seed in range(40):
        network = random_network(seed, steps=14, classes=CLASSES)
        graph, _ = channel_graph(network, random_sites(network, IMAGES, seed), IMAGES)
        again = {call.name for calls in graph.calls.values() if len(calls) > 1 for call in calls}
        units = [node for node in graph.nodes if node.unit_layer is not None]
        seen |= {node.op for node in units}
        sources = [graph.by_name[node.inputs[0]] for node in units if node.op == "identity"]
        seen |= {f"{source.op}, again" if source.name in again else source.op for source in sources}
    wanted = {"conv2d", "linear", "batch_norm", "group_norm", "layer_norm", "add", "mul", "concat", "flatten", "select"}
    assert seen >= wanted | {"relu", "conv2d, again", "batch_norm, again", "max_pool2d", "scale", "shift"}


def test_the_random_networks_reach_the_hard_cases():
    """Constants that are folded, put in place or fill a whole input, and groups that end up uneven, all occur."""
    seen = set()
    for seed in range(40):
        network = random_network(seed, steps=20, classes=CLASSES)
        layers = unit_layers(network, IMAGES)
        masks = random_masks(layers.widths, CLASSES, seed, (0.1, 0.4, 0.8)[seed % 3])
        cut = compose(network, layers, masks, [0], IMAGES)
        for module in cut.modules():
            constants = getattr(module, "constants_C", None)
            if isinstance(module, Fill | Place) and constants.any():
                seen.add(type(module).__name__)
            if isinstance(module, UnevenGroups):
                seen.add("UnevenGroups")
            if any(not p.requires_grad for p in module.parameters(recurse=False)):
                seen.add("folded")
    assert seen == {"Fill", "Place", "UnevenGroups", "folded"}
