"""Reuse accuracy against one composed network at a time."""

import itertools
import math

import pytest
import torch

from moda_core import (
    all_subsets,
    draw_pairs,
    draw_subsets,
    estimate_reuse,
    open_modules,
    reuse_accuracy,
    reuse_by_composing,
    save_modules,
    unit_layers,
)
from moda_core.cutting import compose
from tests.moda_core.conftest import random_masks


def test_ten_classes_have_1013_subsets():
    assert len(all_subsets(10)) == 1013


def test_reuse_accuracy_equals_the_composed_networks(network_and_images):
    network, images = network_and_images
    labels = torch.arange(16) % 5
    layers = unit_layers(network, images)
    masks = random_masks(layers.widths, 5, seed=5, density=0.7)
    by_size = {}
    for subset in all_subsets(5):
        own = torch.tensor([int(label) in subset for label in labels])
        predicted = torch.tensor(subset)[compose(network, layers, masks, subset, images)(images[own]).argmax(1)]
        by_size.setdefault(len(subset), []).append(float((predicted == labels[own]).double().mean()))
    batches = list(zip(images.split(7), labels.split(7), strict=True))
    found = reuse_accuracy(network, layers, masks, batches, subsets=all_subsets(5))
    expected = {size: sum(values) / len(values) for size, values in by_size.items()}
    assert found.by_size == pytest.approx(expected)
    assert found.mean == pytest.approx(sum(expected.values()) / 4)


def test_cut_networks_give_the_same_from_memory_and_from_a_set(network_and_images, tmp_path):
    network, images = network_and_images
    network, images = network.float(), images.float()
    labels = torch.arange(16) % 5
    layers = unit_layers(network, images)
    masks = random_masks(layers.widths, 5, seed=5, density=0.7)
    draw = draw_pairs(labels, all_subsets(5), num_classes=5)
    expected = estimate_reuse(network, layers, masks, images, draw)
    assert reuse_by_composing(lambda ids: compose(network, layers, masks, ids, images), images, draw) == expected
    preprocessing = {"shape": list(images.shape[1:]), "mean": [0.5] * images.shape[1], "std": [0.5] * images.shape[1]}
    names = ["ant", "bee", "cat", "dog", "eel"]
    save_modules(tmp_path, network, layers, masks, images, class_names=names, preprocessing=preprocessing)
    published = open_modules(tmp_path)
    found = reuse_by_composing(lambda ids: published.compose([names[i] for i in ids]), images, draw, batch_size=3)
    assert found == expected


def test_the_baseline_restricts_the_logits_of_the_whole_network(network_and_images):
    network, images = network_and_images
    labels = torch.arange(16) % 5
    layers = unit_layers(network, images)
    subset = (0, 3)
    own = (labels == 0) | (labels == 3)
    predicted = torch.tensor(subset)[network(images[own])[:, list(subset)].argmax(1)]
    found = reuse_accuracy(network, layers, None, [(images, labels)], subsets=[subset])
    assert found.mean == pytest.approx(float((predicted == labels[own]).double().mean()))


def test_the_estimate_is_seeded_and_near_the_whole(network_and_images):
    network, _ = network_and_images
    shape = (400, *network_and_images[1].shape[1:])
    images = torch.randn(shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    labels = network(images).argmax(1)
    layers = unit_layers(network, images[:2])
    masks = random_masks(layers.widths, 5, seed=5, density=0.8)
    present = [c for c in range(5) if (labels == c).any()]
    subsets = [s for s in all_subsets(5) if set(s) & set(present)]
    whole = estimate_reuse(network, layers, masks, images, draw_pairs(labels, subsets, num_classes=5))
    draw = draw_pairs(labels, subsets, num_classes=5, images_per_size=150, seed=3)
    again = draw_pairs(labels, subsets, num_classes=5, images_per_size=150, seed=3)
    assert torch.equal(draw.pair_image_P, again.pair_image_P)
    part = estimate_reuse(network, layers, masks, images, draw)
    assert abs(part.mean - whole.mean) < 5 * math.hypot(part.standard_error, whole.standard_error) + 1e-9


def test_the_standard_error_counts_an_image_once():
    """Testing every image in many subsets does not make more images of them."""
    labels = torch.arange(40) % 2

    class Half(torch.nn.Module):
        """Right on every fourth image of a hundred, whatever the subset."""

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, x):
            right = torch.nn.functional.one_hot(x[:, 0].long() % 2, 2)
            return torch.where((x[:, 0] % 4 < 2)[:, None], right, 1 - right) * self.scale

    images = torch.arange(40.0)[:, None]
    draw = draw_pairs(labels, [(0, 1)], num_classes=2)
    found = estimate_reuse(Half(), None, None, images, draw)
    assert found.mean == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(math.sqrt(0.25 / 39), rel=1e-6)


def test_drawn_subsets_are_different_and_of_every_size():
    drawn = draw_subsets(6, 4, seed=0)
    assert len(set(drawn)) == len(drawn)
    counts = {size: len(list(group)) for size, group in itertools.groupby(drawn, key=len)}
    assert counts == {2: 4, 3: 4, 4: 4, 5: 4, 6: 1}
    assert drawn == draw_subsets(6, 4, seed=0)
    assert drawn != draw_subsets(6, 4, seed=1)


def test_subsets_of_some_sizes_are_drawn():
    drawn = draw_subsets(10, 2, seed=4, sizes=[2, 5, 10])
    assert [len(subset) for subset in drawn] == [2, 2, 5, 5, 10]
    assert len(set(drawn)) == 5


def test_a_subset_without_images_is_refused():
    with pytest.raises(ValueError, match="no image of the classes"):
        draw_pairs(torch.tensor([0, 0]), [(1, 2)], num_classes=3)


def test_no_subset_and_no_batch_are_refused():
    with pytest.raises(ValueError, match="two classes or more"):
        draw_pairs(torch.tensor([0, 0]), [], num_classes=1)
    with pytest.raises(ValueError, match="no batches"):
        reuse_accuracy(torch.nn.Linear(2, 2), None, None, [], subsets=[(0, 1)])
