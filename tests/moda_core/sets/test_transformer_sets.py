"""Module sets of Transformers: what only they have in a manifest, their slices, exports and replaced classes."""

import json

import pytest
import torch
from torch import nn

from moda_core import (
    Decomposition,
    build_model,
    largest_difference,
    load_modules,
    mask_network,
    open_modules,
    save_modules,
    slice_modules,
    unit_layers,
)
from moda_core.errors import ModuleSetError
from moda_core.sets import replace_class
from tests.moda_core.conftest import CLASSES, random_decomposition, randomise

IMAGES = torch.randn(12, 3, 6, 6, generator=torch.Generator().manual_seed(0))
PREPROCESSING = {"shape": [3, 6, 6], "mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.fixture(scope="module", params=["vit_small", "deit_small"])
def transformer(request, tmp_path_factory):
    """A set with scales and a bias, in which no class keeps a head of the second block, and what it was made of."""
    sizes = {"in_channels": 3, "image_size": 6, "num_classes": 5, "width": 12, "heads": 3, "depth": 2, "patch": 3}
    network = randomise(build_model(request.param, **sizes), seed=7).float()
    layers = unit_layers(network, IMAGES)
    units = random_decomposition(layers.widths, 5, seed=3)
    units = Decomposition(
        [*units.keep[:2], torch.zeros(5, 3, dtype=torch.bool), units.keep[3]], units.scales, units.bias_C
    )
    folder = tmp_path_factory.mktemp("transformer") / "set"
    saved = save_modules(folder, network, layers, units, IMAGES, class_names=CLASSES, preprocessing=PREPROCESSING)
    assert saved.difference < 1e-5
    return folder, network, layers, units


def test_any_classes_of_a_set_and_of_its_slice_say_what_the_masked_network_says(transformer, tmp_path):
    folder, network, layers, units = transformer
    slice_modules(folder, tmp_path / "part", ["dog", "bee", "cat"])
    slice_modules(tmp_path / "part", tmp_path / "one", ["bee"])
    for where, names in ((folder, ["eel", "ant"]), (tmp_path / "part", ["cat", "dog"]), (tmp_path / "one", ["bee"])):
        masked = mask_network(network, layers, units, [CLASSES.index(name) for name in names])
        assert largest_difference(masked, load_modules(where, names), IMAGES) < 1e-5
    whole, part = (
        sum(tensor.numel() for tensor in open_modules(where).state.values()) for where in (folder, tmp_path / "one")
    )
    assert part < whole


def test_a_class_is_replaced_by_the_module_of_a_transformer(transformer):
    folder, *_ = transformer
    module = load_modules(folder, ["cat"])
    weak = randomise(nn.Sequential(nn.Flatten(), nn.Linear(108, 3)), seed=1).float()
    labels = torch.arange(12) % 3
    replaced = replace_class(weak, module, [(IMAGES, labels)], class_id=1, num_classes=3).network
    exchanged = replaced.features(IMAGES)[1]
    torch.testing.assert_close(exchanged[:, 1:2], module(IMAGES))
    torch.testing.assert_close(exchanged[:, [0, 2]], weak(IMAGES)[:, [0, 2]])


HOSTILE = {
    "heads that do not split": (
        "attention",
        lambda n, m: n["attributes"].update(heads=5),
        "do not split into 5 groups",
    ),
    "no head": ("attention", lambda n, m: n["attributes"].update(heads=0), "do not split into 0 groups"),
    "other heads than units": (
        "attention",
        lambda n, m: n["attributes"].update(heads=4),
        "has 4 heads, its layer 3 units",
    ),
    "queries alone": ("attention", lambda n, m: n.update(inputs=n["inputs"][:1]), "attention does not take 1 inputs"),
    "keys of images": ("attention", lambda n, m: n["inputs"].__setitem__(1, "images"), "are not those of 3 heads"),
    "an endless scale": ("attention", lambda n, m: n["attributes"].update(scale=1e300), "must be a finite number"),
    "hidden units as heads": (
        "gelu",
        lambda n, m: m["graph"]["widths"].__setitem__(1, 3),
        "has 48 channels, its layer 3",
    ),
    "a token too many": ("concat_tokens", lambda n, m: n.update(size=[n["size"][0] + 1]), "concat_tokens of sizes"),
    "no token": ("positions", lambda n, m: n["attributes"].update(index=[]), "positions of sizes"),
    "a token that there is not": ("positions", lambda n, m: n["attributes"].update(index=[99]), "positions of sizes"),
    "a token by a name": ("positions", lambda n, m: n["attributes"].update(index=["a"]), "must be a list of whole"),
    "a huge embedding": ("embedding", lambda n, m: n.update(size=[2**24]), "has not 1 to 16777216 pixels"),
    "an embedding of images": ("embedding", lambda n, m: n.update(inputs=["images"]), "does not take 1 inputs"),
    "a norm of others": ("channel_norm", lambda n, m: n.update(channels=3), "its inputs make 12"),
    "a norm as units": ("channel_norm", lambda n, m: n.update(unit_layer=0), "neither an activation nor an identity"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_manifests_are_refused(transformer, tmp_path, name):
    op, change, message = HOSTILE[name]
    folder, *_ = transformer
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    change(next(node for node in manifest["graph"]["nodes"] if node["op"] == op), manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModuleSetError, match=message):
        load_modules(tmp_path)


def test_attention_over_too_many_tokens_is_refused(transformer, tmp_path):
    """Its scores grow with the square of the tokens: a short manifest could ask for any memory."""
    folder, *_ = transformer
    manifest = json.loads((folder / "manifest.json").read_text())
    side = 2**17
    nodes = [
        {"name": "images", "op": "input", "inputs": [], "channels": 3, "size": [side], "attributes": {}},
        *(
            {
                "name": "attended",
                "op": "attention",
                "inputs": ["images"] * 3,
                "channels": 3,
                "size": [side],
                "attributes": {"heads": 3, "scale": 1.0},
                "unit_layer": 0,
            },
        ),
    ]
    manifest["graph"] = {"widths": [3], "nodes": nodes}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    with pytest.raises(ModuleSetError, match=r"one image costs \d+ numbers|the logits are a unit layer"):
        load_modules(tmp_path)
