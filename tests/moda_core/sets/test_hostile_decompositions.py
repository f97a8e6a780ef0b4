"""Sets with scales, a bias and sites that are not activations, made to do harm; plain sets stay what they were."""

import json
import math

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from moda_core import (
    Decomposition,
    ModuleSetError,
    largest_difference,
    mask_network,
    save_modules,
    unit_layers,
    unit_sites,
)
from moda_core.errors import LONGEST_MESSAGE
from moda_core.sets.manifest import MANIFEST, WEIGHTS, parse_manifest
from moda_core.sets.module_file import read_set
from tests.moda_core.conftest import random_decomposition
from tests.moda_core.sets.test_hostile_sets import JSON, NAMES, refused, signed, with_value

RECIPE = {"shape": [1, 8, 8], "mean": [0.5], "std": [0.5]}
IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    ).eval()


def make_set(folder, layers_of, decomposition_of=lambda decomposition: decomposition):
    """The manifest and the weights of a set whose sites and decomposition are given."""
    network = make_network()
    layers = layers_of(network)
    decomposition = decomposition_of(random_decomposition(layers.widths, 3, seed=4))
    save_modules(folder, network, layers, decomposition, IMAGES, class_names=NAMES, preprocessing=RECIPE)
    return json.loads((folder / MANIFEST).read_bytes()), (folder / WEIGHTS).read_bytes()


def after_norm(network):
    return unit_sites(network, IMAGES, lambda node, module: module is network[1])


def activations(network):
    return unit_layers(network, IMAGES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("sets") / "set", after_norm)


@pytest.fixture
def manifest(whole):
    return json.loads(json.dumps(whole[0]))


def read(manifest, weights):
    return read_set(parse_manifest(json.dumps(manifest).encode()), weights)


def test_the_set_itself_is_read(whole):
    assert whole[0]["schema_version"] == 3
    network = make_network()
    layers = after_norm(network)
    masked = mask_network(network, layers, random_decomposition(layers.widths, 3, seed=4), [2, 0])
    assert largest_difference(masked, read(*whole).compose([NAMES[2], NAMES[0]]), IMAGES) < 1e-4


@pytest.mark.parametrize(
    ("layers_of", "part", "version", "parts"),
    [
        (activations, lambda whole: whole, 3, {"scales": True, "bias": True}),
        (activations, lambda whole: Decomposition(whole.keep, whole.scales), 3, {"scales": True, "bias": False}),
        (activations, lambda whole: Decomposition(whole.keep, bias_C=whole.bias_C), 3, {"scales": False, "bias": True}),
        (activations, lambda whole: Decomposition(whole.keep), 2, None),
        (activations, lambda whole: list(whole.keep), 2, None),
        (after_norm, lambda whole: list(whole.keep), 3, {"scales": False, "bias": False}),
    ],
)
def test_the_version_is_the_oldest_that_can_say_it(tmp_path, layers_of, part, version, parts):
    manifest, weights = make_set(tmp_path / "set", layers_of, part)
    assert (manifest["schema_version"], manifest.get("decomposition")) == (version, parts)
    tensors = {name for name in safetensors.torch.load(weights) if not name.startswith("state.")}
    expected = {"mask.0"}
    if parts:
        expected |= {"scale_sums.0", "scale_counts"} if parts["scales"] else set()
        expected |= {"bias"} if parts["bias"] else set()
    assert tensors == expected
    read(manifest, weights).compose()


def test_plain_masks_and_a_plain_decomposition_give_the_same_bytes(tmp_path):
    first = make_set(tmp_path / "first", activations, lambda whole: list(whole.keep))
    assert make_set(tmp_path / "second", activations, lambda whole: Decomposition(whole.keep)) == first


def units(manifest):
    return next(node for node in manifest["graph"]["nodes"] if node.get("unit_layer") is not None)


CHANGES = {
    "no decomposition": (lambda m: m.pop("decomposition"), "decomposition=None must hold scales and bias"),
    "a list": (lambda m: m.update(decomposition=[True, True]), "must hold scales and bias"),
    "a part missing": (lambda m: m["decomposition"].pop("bias"), "must hold scales and bias"),
    "another part": (lambda m: m["decomposition"].update(code=True), "must hold scales and bias"),
    "a number": (lambda m: m["decomposition"].update(bias=1), "must hold scales and bias"),
    "a megabyte": (lambda m: m.update(decomposition="x" * 2**20), "must hold scales and bias"),
    "scales that are not told of": (
        lambda m: m["decomposition"].update(scales=False),
        "no use for: 'scale_counts', 'scale_sums.0'",
    ),
    "a bias that is not told of": (lambda m: m["decomposition"].update(bias=False), "no use for: 'bias'"),
    "the older version": (lambda m: m.update(schema_version=2), "no use for: 'bias', 'scale_counts', 'scale_sums.0'"),
    "units that are a norm": (lambda m: units(m).update(op="batch_norm"), "batch_norm takes"),
    "units that are a pool": (
        lambda m: next(node for node in m["graph"]["nodes"] if node["op"] == "max_pool2d").update(unit_layer=0),
        "is neither an activation nor an identity",
    ),
    "two nodes of one layer": (
        lambda m: m["graph"]["nodes"].insert(4, {**units(m), "name": "again", "inputs": [units(m)["name"]]}),
        "unit layers are declared",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_manifest_is_refused(whole, manifest, name):
    change, message = CHANGES[name]
    change(manifest)
    assert message in refused(json.dumps(manifest).encode(), whole[1])


def with_tensor(weights, name, change):
    tensors = safetensors.torch.load(weights)
    tensors[name] = change(tensors[name]).contiguous()
    return safetensors.torch.save(tensors)


FORGED = {
    "scale sums of another shape": (lambda w: with_tensor(w, "scale_sums.0", lambda t: t[:2]), "is not float64 (3, 4)"),
    "scale sums in float32": (lambda w: with_tensor(w, "scale_sums.0", torch.Tensor.float), "is not float64 (3, 4)"),
    "scale sums that are masks": (lambda w: with_tensor(w, "scale_sums.0", lambda t: t > 0), "is not float64 (3, 4)"),
    "counts of another shape": (lambda w: with_tensor(w, "scale_counts", lambda t: t[:0]), "is not float64 (3,)"),
    "counts in half precision": (lambda w: with_tensor(w, "scale_counts", torch.Tensor.half), "is not float64 (3,)"),
    "a bias of another shape": (lambda w: with_tensor(w, "bias", lambda t: t[None]), "bias is not float64 (3,)"),
    "a bias in float32": (lambda w: with_tensor(w, "bias", torch.Tensor.float), "bias is not float64 (3,)"),
    "a mask of another shape": (lambda w: with_tensor(w, "mask.0", lambda t: t[:, :3]), "mask.0 is not bool (3, 4)"),
    "a scale that is not a number": (lambda w: with_value(w, "scale_sums.0", math.nan), "NaN or infinity"),
    "a count without end": (lambda w: with_value(w, "scale_counts", math.inf), "NaN or infinity"),
    "a bias without end": (lambda w: with_value(w, "bias", -math.inf), "NaN or infinity"),
    "a huge scale": (lambda w: with_value(w, "scale_sums.0", 1e300), "sum / count must lie within"),
    "a tiny count": (lambda w: with_value(w, "scale_counts", 5e-324), "sum / count must lie within"),
    "a count below zero": (lambda w: with_value(w, "scale_counts", -1.0), "at least 0"),
    "sums of no image": (lambda w: with_value(w, "scale_counts", 0.0), "sum / count must lie within"),
    "a huge bias": (lambda w: with_value(w, "bias", 1e9), "each number must lie within"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_weights_are_refused(whole, manifest, name):
    forge, message = FORGED[name]
    weights = forge(whole[1])
    assert message in refused(json.dumps(signed(manifest, weights)).encode(), weights)


def test_the_older_version_has_units_at_activations_alone(tmp_path):
    manifest, weights = make_set(tmp_path / "set", after_norm, lambda whole: list(whole.keep))
    manifest["schema_version"] = 2
    assert "is not an activation, so it is not a unit layer in schema_version 2" in refused(
        json.dumps(manifest).encode(), weights
    )


@settings(deadline=None, max_examples=50)
@given(value=JSON, place=st.sampled_from(["decomposition", "scales", "bias", "schema_version", "unit_layer", "op"]))
def test_any_value_is_read_or_refused(whole, value, place):
    manifest = json.loads(json.dumps(whole[0]))
    where = {"scales": manifest["decomposition"], "bias": manifest["decomposition"]}
    where |= {"unit_layer": units(manifest), "op": units(manifest)}
    where.get(place, manifest)[place] = value
    line = ""
    try:
        read(manifest, whole[1]).compose(NAMES[:1])
    except ModuleSetError as error:
        line = str(error)
    assert len(line) <= LONGEST_MESSAGE
    assert line.isprintable()
