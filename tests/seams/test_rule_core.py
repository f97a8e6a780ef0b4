"""A rule of one's own through all of moda_core: counted, chosen, masked, cut, saved, sliced, exported, measured."""

import json

import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import (
    Decomposition,
    all_subsets,
    compose,
    draw_pairs,
    estimate_reuse,
    export_modules,
    largest_difference,
    load_modules,
    mask_network,
    module_metrics,
    open_modules,
    reuse_by_composing,
    save_modules,
    slice_modules,
)
from moda_core.sets.manifest import MANIFEST
from tests.moda_core.conftest import randomise
from tests.seams.toy_rule import StrengthRule

NAMES = ["ant", "bee", "cat", "dog"]
RULE = StrengthRule()
RECIPE = {"shape": [3, 8, 8], "mean": [0.5] * 3, "std": [0.25] * 3}
SIZES = [6.0, 10.0, 14.0, 18.0]
LABELS = torch.arange(4).repeat_interleave(torch.tensor(SIZES).long())
NOISE = torch.randn(52, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
IMAGES = NOISE[4:] + 2 * NOISE[LABELS]  # each class around an image of its own
SUBSETS = [[2], [3, 0], [1, 2, 3], [0, 1, 2, 3]]


class Residual(nn.Module):
    """A stem and two blocks, the second with a projection: convolution, batch norm, then the addition."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.first, self.first_norm = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.second, self.second_norm = nn.Conv2d(6, 10, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(10)
        self.shortcut = nn.Conv2d(6, 10, 1, stride=2)
        self.head = nn.Linear(10, 4)

    def forward(self, images):
        return self.run(images, lambda name, values: values)

    def run(self, images, at):
        """The logits, when ``at`` is done to what each convolution gives."""
        out = F.relu(self.norm(at("stem", self.stem(images))))
        out = F.relu(self.first_norm(at("first", self.first(out))) + out)
        branch = self.second_norm(at("second", self.second(out)))
        out = F.relu(branch + at("shortcut", self.shortcut(out)))
        return self.head(out.mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    return randomise(Residual(), seed=3)


@pytest.fixture(scope="module")
def sites(network):
    return RULE.sites(network, IMAGES)


@pytest.fixture(scope="module")
def decomposition(network, sites):
    batches = [(IMAGES[:20], LABELS[:20]), (IMAGES[20:], LABELS[20:])]
    counts = RULE.count(network, sites, batches, num_classes=4, grid={"share": [0.9]})
    return RULE.choose(counts, {"share": 0.9})


def difference(expected, found):
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


def by_hand(network, sites, decomposition, class_ids, images):
    """The definition, written out in the network's own forward."""
    place = {layer.name: index for index, layer in enumerate(sites)}

    def at(name, values):
        index = place[name]
        kept_N = decomposition.keep[index][class_ids].any(0)
        sums_N = decomposition.scales.sums[index][class_ids].sum(0)
        scale_N = sums_N / decomposition.scales.counts_C[class_ids].sum()
        return values * (kept_N * scale_N).to(values).view(1, -1, 1, 1)

    return network.run(images, at)[:, class_ids] + decomposition.bias_C[class_ids].to(images)


def test_the_masked_and_the_cut_network_are_what_the_definition_says(network, sites, decomposition):
    assert [layer.name for layer in sites] == ["stem", "first", "second", "shortcut"]
    kept = torch.cat(list(decomposition.keep), 1)
    assert 0 < int(kept.sum()) < kept.numel()
    for class_ids in SUBSETS:
        expected = by_hand(network, sites, decomposition, class_ids, IMAGES)
        masked = mask_network(network, sites, decomposition, class_ids)
        torch.testing.assert_close(masked(IMAGES), expected, rtol=1e-9, atol=1e-9)
        cut = compose(network, sites, decomposition, class_ids, IMAGES)
        assert largest_difference(masked, cut, IMAGES) < 1e-9


def test_sizes_are_those_of_what_is_cut(network, sites, decomposition):
    metrics = module_metrics(network, sites, decomposition, IMAGES)
    for class_id in range(4):
        cut = compose(network, sites, decomposition, [class_id], IMAGES)
        held = sum(p.numel() for p in cut.parameters() if p.requires_grad)
        assert float(metrics.sizes_C[class_id]) * metrics.parameters == pytest.approx(held)
        assert held < metrics.parameters == sum(p.numel() for p in network.parameters())


def test_reuse_accuracy_is_that_of_the_composed_networks(network, sites, decomposition):
    draw = draw_pairs(LABELS, all_subsets(4), num_classes=4)
    masked = estimate_reuse(network, sites, decomposition, IMAGES, draw)
    composed = reuse_by_composing(
        lambda class_ids: compose(network, sites, decomposition, class_ids, IMAGES), IMAGES, draw
    )
    assert masked == composed
    plain = estimate_reuse(network, sites, Decomposition(decomposition.keep), IMAGES, draw)
    assert plain != masked  # scales and bias take part


@pytest.fixture
def saved(network, sites, decomposition, tmp_path):
    single = randomise(Residual(), seed=3).float()
    images = IMAGES.float()
    layers = RULE.sites(single, images)
    save_modules(tmp_path / "set", single, layers, decomposition, images, class_names=NAMES, preprocessing=RECIPE)
    return tmp_path / "set", images


def test_a_set_and_its_slices_are_what_the_definition_says(network, sites, decomposition, saved, tmp_path):
    folder, images = saved
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["schema_version"] == 3
    assert manifest["decomposition"] == {"scales": True, "bias": True}
    three, two = tmp_path / "three", tmp_path / "two"
    slice_modules(folder, three, ["dog", "ant", "bee"])
    slice_modules(three, two, ["bee", "dog"])
    cases = [(folder, NAMES), (folder, ["cat"]), (three, ["ant", "dog"]), (two, ["bee", "dog"])]
    for place, classes in cases:
        expected = by_hand(network, sites, decomposition, [NAMES.index(name) for name in classes], IMAGES)
        found = load_modules(place, classes)(images)
        assert difference(expected, found) < 1e-4
    for place in (folder, two):
        whole = open_modules(place)
        counts = [SIZES[NAMES.index(name)] for name in whole.manifest["class_names"]]
        assert whole.decomposition.scales.counts_C.tolist() == counts


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_an_exported_module_is_what_the_definition_says(network, sites, decomposition, saved, tmp_path, ending):
    folder, images = saved
    file = tmp_path / f"module.{ending}"
    assert export_modules(load_modules(folder, ["dog", "bee"]), file) <= 1e-4
    expected = by_hand(network, sites, decomposition, [3, 1], IMAGES)
    if ending == "onnx":
        session = onnxruntime.InferenceSession(file)
        found = torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
    else:
        found = torch.export.load(file).module()(images)
    assert difference(expected, found) < 1e-4


def test_a_decomposition_without_scales_and_bias_at_such_sites_is_version_3_too(sites, decomposition, tmp_path):
    single, images = randomise(Residual(), seed=3).float(), IMAGES.float()
    masks = list(decomposition.keep)
    layers = RULE.sites(single, images)
    save_modules(tmp_path / "set", single, layers, masks, images, class_names=NAMES, preprocessing=RECIPE)
    manifest = json.loads((tmp_path / "set" / MANIFEST).read_text())
    assert (manifest["schema_version"], manifest["decomposition"]) == (3, {"scales": False, "bias": False})
    masked = mask_network(single, layers, Decomposition(masks), [0, 2])
    assert largest_difference(masked, load_modules(tmp_path / "set", ["ant", "cat"]), images) < 1e-4
