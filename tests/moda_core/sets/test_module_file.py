"""Module sets on disk: round trip, any subset, and files from elsewhere."""

import hashlib
import json
import os

import pytest
import torch
from torch import nn

from moda_core import (
    ModuleSetError,
    NetworkError,
    largest_difference,
    load_modules,
    mask_network,
    merge_masks,
    save_modules,
    unit_layers,
)
from moda_core.sets.manifest import MANIFEST, WEIGHTS
from tests.moda_core.conftest import CLASSES as NAMES


def test_any_subset_of_classes_is_a_slice(saved):
    folder, network, layers, masks, images, result = saved
    assert result.difference < 1e-4
    for classes in (NAMES, ["dog"], ["eel", "ant"], ["bee", "cat", "dog"]):
        ids = [NAMES.index(name) for name in classes]
        module = load_modules(folder, classes)
        assert module.class_names == classes
        assert module(images).shape == (16, len(classes))
        masked = mask_network(network, layers, merge_masks(masks, ids), ids)
        assert largest_difference(masked, module, images) < 1e-4
    assert sum(p.numel() for p in load_modules(folder, ["dog"]).parameters()) < sum(
        p.numel() for p in load_modules(folder).parameters()
    )


def test_saving_twice_gives_the_same_bytes(saved, tmp_path):
    folder, network, layers, masks, images, _ = saved
    manifest = json.loads((folder / MANIFEST).read_text())
    save_modules(
        tmp_path / "again",
        network,
        layers,
        masks,
        images,
        class_names=NAMES,
        preprocessing=manifest["preprocessing"],
        about={"tau": 0.9},
        documents={"model_card.md": b"# A card"},
    )
    for name in (MANIFEST, WEIGHTS):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


class Views(nn.Module):
    """Two layers whose weights are parts of one storage, and as wide as each other."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        storage = torch.randn(24)
        self.first.weight, self.second.weight = (nn.Parameter(storage[at : at + 16].view(4, 4)) for at in (0, 8))

    def forward(self, images):
        return self.head(torch.relu(self.second(torch.relu(self.first(images.flatten(1))))))


@pytest.mark.parametrize("all_units", [False, True])
def test_tensors_and_masks_that_are_shared_are_written_apart(tmp_path, all_units):
    network, images = Views().eval(), torch.randn(6, 1, 2, 2)
    layers = unit_layers(network, images)
    mask_CN = torch.eye(3, 4, dtype=torch.bool) | all_units
    names, preprocessing = ["a", "b", "c"], {"shape": [1, 2, 2], "mean": [0.5], "std": [0.5]}
    save_modules(tmp_path, network, layers, [mask_CN, mask_CN], images, class_names=names, preprocessing=preprocessing)
    masked = mask_network(network, layers, merge_masks([mask_CN, mask_CN], [0, 2]), [0, 2])
    assert largest_difference(masked, load_modules(tmp_path, ["a", "c"]), images) < 1e-5


def test_classify_takes_raw_images(saved):
    folder, *_, images, _ = saved
    module = load_modules(folder, ["eel", "ant"])
    raw = (torch.rand(4, *images.shape[1:]) * 255).to(torch.uint8)
    expected = module((raw.float() / 255 - 0.5) / 0.25).argmax(1).tolist()
    assert module.classify(raw) == [["eel", "ant"][index] for index in expected]
    with pytest.raises(ValueError, match="uint8"):
        module.classify(raw.float())


def test_a_folder_is_never_overwritten(saved):
    folder, network, layers, masks, images, _ = saved
    with pytest.raises(ValueError, match="already holds"):
        save_modules(folder, network, layers, masks, images, class_names=NAMES, preprocessing={})


def rewrite(folder, change):
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_hostile_manifests_are_refused(saved):
    folder, *_ = saved
    original = (folder / MANIFEST).read_text()

    def node(*ops):
        return lambda m: next(n for n in m["graph"]["nodes"] if n["op"] in ops)

    linear, flatten = node("linear"), node("flatten", "positions")
    changes = [
        (lambda m: m.update(schema_version=99), "schema_version 99"),
        (lambda m: m["files"].update({"../../evil": m["files"][WEIGHTS]}), "is not a file name"),
        (lambda m: m["files"][WEIGHTS].update(bytes=10**15), "wrong size"),
        (lambda m: m["files"][WEIGHTS].update(bytes=17), "bytes, the manifest says 17"),
        (lambda m: m["files"][WEIGHTS].update(sha256="0" * 64), "another sha256"),
        (lambda m: m["files"][WEIGHTS].update(sha256="../" * 20), "no sha256"),
        (lambda m: m.update(about=[]), "about is not an object"),
        (lambda m: m.update(cut_masked_difference="small"), "not a measured difference"),
        (lambda m: m.update(cut_masked_difference=float("nan")), "not a finite number"),
        (lambda m: linear(m).update(op="os.system"), "is not one of"),
        (lambda m: linear(m).update(channels=10**12), "not a positive whole number"),
        (lambda m: linear(m).update(inputs=["nowhere"]), "no earlier node"),
        (lambda m: linear(m)["attributes"].update(bias="yes"), "must be true or false"),
        (lambda m: linear(m)["attributes"].update(more=1), "takes"),
        (lambda m: flatten(m).update(channels=7), "its inputs make"),
        (lambda m: linear(m).update(size=[2]), "of sizes"),
        (lambda m: linear(m).update(size=[2**40, 2**40]), "pixels"),
        (lambda m: linear(m).update(size=3), "malformed"),
        (lambda m: linear(m).update(size=[1000] * 50_000), "pixels"),
        (lambda m: linear(m).update(name="\ufb01"), "not an ASCII identifier"),
        (lambda m: linear(m).update(name="a" * 10_000), "not an ASCII identifier"),
        (lambda m: linear(m).update(shares=True), "is not a name"),
        (lambda m: node("conv2d")(m)["attributes"].update(stride=[0, 1]), "must be two whole numbers of at least 1"),
        (lambda m: node("conv2d")(m).update(size=[3, 3]), "of sizes"),
        (lambda m: node("conv2d")(m).update(unit_layer=0), "is neither an activation nor an identity"),
        (lambda m: m.update(class_names=["a", "a", "b", "c", "d"]), "a name twice"),
        (lambda m: flatten(m).update(op="concat", inputs=["x"] * 10**6, channels=10**6, attributes={}), "more than"),
        (lambda m: linear(m).update(shares=linear(m)["name"]), "none of its own"),
        (lambda m: linear(m).update(shares=flatten(m)["name"]), "none of its own"),
        (lambda m: m["graph"].update(widths=[1]), "its layer 1 units"),
        (lambda m: m["graph"].update(nodes=[]), "nodes"),
        (lambda m: m["graph"]["nodes"].append(3), "malformed"),
        (lambda m: m.update(class_names=["a"]), "1 classes"),
        (lambda m: m.update(graph=[]), "not a list of nodes"),
        (lambda m: m["graph"].update(widths=[]), "0 unit layers"),
        (lambda m: m["files"].update({"manifest.json": m["files"][WEIGHTS]}), "is not a file name"),
        (lambda m: m["files"].update({"evil\n": m["files"][WEIGHTS]}), "is not a file name"),
        (lambda m: linear(m).update(attributes=[]), "linear takes"),
        (lambda m: linear(m).update(name="not a name"), "not an ASCII identifier"),
        (lambda m: m["graph"]["nodes"][0].update(channels=10**6), "its graph takes|costs|in common|channels"),
        (lambda m: m.pop("preprocessing"), "preprocessing="),
        (lambda m: m["preprocessing"].update(std=[0.0] * len(m["preprocessing"]["std"])), "preprocessing="),
        (lambda m: m["preprocessing"].update(mean=[1.0] * 9), "preprocessing="),
    ]
    for change, message in changes:
        (folder / MANIFEST).write_text(original)
        rewrite(folder, change)
        with pytest.raises(ModuleSetError, match=message):
            load_modules(folder)


def test_a_small_manifest_cannot_ask_for_much_memory(saved):
    folder, *_ = saved
    bomb = {"op": "identity", "inputs": ["n0"], "channels": 10**6, "size": [], "attributes": {}, "unit_layer": None}
    nodes = [{**bomb, "name": f"n{index}"} for index in range(1, 100)]
    first = {
        "name": "n0",
        "op": "input",
        "inputs": [],
        "channels": 10**6,
        "size": [],
        "attributes": {},
        "unit_layer": None,
    }
    rewrite(folder, lambda m: m["graph"].update(nodes=[first, *nodes]))
    with pytest.raises(ValueError, match="channels together"):
        load_modules(folder)


@pytest.mark.parametrize("name", ["for", "forward", "_modules", "training", "self", "__class__"])
def test_a_node_may_have_any_identifier_for_a_name(saved, name):
    folder, *_, images, _ = saved
    expected = load_modules(folder)(images)

    def rename(manifest):
        nodes = manifest["graph"]["nodes"]
        old = nodes[-2]["name"]  # holds no tensors: they are stored by name
        assert nodes[-2]["op"] in ("relu", "flatten", "reshape", "positions")
        for node in nodes:
            node["inputs"] = [name if one == old else one for one in node["inputs"]]
        nodes[-2]["name"] = name

    rewrite(folder, rename)
    assert torch.equal(load_modules(folder)(images), expected)


def test_a_network_whose_logits_are_no_numbers_is_not_published(saved, tmp_path):
    _, network, layers, masks, images, _ = saved
    preprocessing = {"shape": list(images.shape[1:]), "mean": [0.5] * images.shape[1], "std": [1.0] * images.shape[1]}
    next(network.parameters()).data.view(-1)[0] = float("nan")
    with pytest.raises(NetworkError, match="NaN or infinity: its training went wrong"):
        save_modules(tmp_path / "x", network, layers, masks, images, class_names=NAMES, preprocessing=preprocessing)
    assert not (tmp_path / "x").exists()


def test_tampered_weights_are_refused(saved):
    folder, *_ = saved
    weights = (folder / WEIGHTS).read_bytes()
    for changed, message in [(weights[:-3], "bytes"), (weights[:-1] + b"\x07", "sha256")]:
        (folder / WEIGHTS).write_bytes(changed)
        with pytest.raises(ValueError, match=message):
            load_modules(folder)
    # A forger who fixes size and hash still cannot change shapes, nor smuggle in another format.
    for forged in (b"\x80\x04not a safetensors file", _reshaped(weights)):
        (folder / WEIGHTS).write_bytes(forged)
        entry = {"bytes": len(forged), "sha256": hashlib.sha256(forged).hexdigest()}
        rewrite(folder, lambda m, entry=entry: m["files"].update({WEIGHTS: entry}))
        with pytest.raises(ValueError, match=r"not a safetensors|has not the shape"):
            load_modules(folder)
    (folder / WEIGHTS).unlink()
    os.symlink("/etc/hostname", folder / WEIGHTS)
    with pytest.raises(ValueError, match="lacks the file"):
        load_modules(folder)


def _reshaped(weights):
    import safetensors.torch

    tensors = safetensors.torch.load(weights)
    key = next(name for name in tensors if name.endswith(".weight"))
    tensors[key] = tensors[key][:, :0] if tensors[key].ndim > 1 else tensors[key][:0]
    return safetensors.torch.save(tensors)


def test_a_folder_without_manifest_is_no_module_set(tmp_path):
    (tmp_path / WEIGHTS).write_bytes(b"")
    with pytest.raises(ValueError, match="no module set"):
        load_modules(tmp_path)


def test_sets_pulled_apart_cannot_be_merged(saved):
    with pytest.raises(ValueError, match=r"2 module sets cannot be merged.*pull one set with all of these classes"):
        load_modules([saved[0], saved[0]])


def test_a_class_twice_is_refused(saved):
    with pytest.raises(ValueError, match="'dog', 'ant', 'dog' names a class twice"):
        load_modules(saved[0], ["dog", "ant", "dog"])


def test_unknown_classes_are_named(saved):
    with pytest.raises(ValueError, match="'fox' are not in this module set"):
        load_modules(saved[0], ["ant", "fox"])
