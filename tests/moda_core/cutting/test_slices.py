"""Some classes of a module set as a set of their own."""

import itertools
import json
import os

import pytest
import torch

from moda_core import (
    ModuleSetError,
    largest_difference,
    load_modules,
    mask_network,
    merge_masks,
    open_modules,
    slice_modules,
)
from moda_core.sets.manifest import MANIFEST, WEIGHTS
from tests.moda_core.conftest import CLASSES


@pytest.mark.parametrize("classes", [["dog"], ["eel", "ant"], ["bee", "cat", "dog"], CLASSES])
def test_a_slice_says_what_the_set_says_and_is_smaller(saved, tmp_path, classes):
    folder, network, layers, masks, images, _ = saved
    slice_modules(folder, tmp_path / "slice", classes)
    found, expected = load_modules(tmp_path / "slice"), load_modules(folder, classes)
    assert found.class_names == classes
    torch.testing.assert_close(found(images), expected(images))
    ids = [CLASSES.index(name) for name in classes]
    assert largest_difference(mask_network(network, layers, merge_masks(masks, ids), ids), found, images) < 1e-4
    whole, part = ((one / WEIGHTS).stat().st_size for one in (folder, tmp_path / "slice"))
    assert part < whole or classes == CLASSES
    assert found.manifest["about"] == {"tau": 0.9, "slice_of": CLASSES}
    assert (tmp_path / "slice" / "model_card.md").read_bytes() == b"# A card"


def test_classes_of_a_slice_are_composed_and_sliced_again(saved, tmp_path):
    folder, *_, images, _ = saved
    slice_modules(folder, tmp_path / "three", ["eel", "bee", "dog"])
    slice_modules(tmp_path / "three", tmp_path / "two", ["dog", "eel"], documents={"why.txt": b"sent to a friend"})
    expected = load_modules(folder, ["dog", "eel"])(images)
    for found in (load_modules(tmp_path / "three", ["dog", "eel"]), load_modules(tmp_path / "two")):
        torch.testing.assert_close(found(images), expected)
    assert sorted(open_modules(tmp_path / "two").manifest["files"]) == [WEIGHTS, "why.txt"]


def test_the_same_classes_give_the_same_bytes(saved, tmp_path):
    for name in ("one", "other"):
        slice_modules(saved[0], tmp_path / name, ["cat", "bee"])
    for file in (MANIFEST, WEIGHTS):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


@pytest.mark.parametrize(
    ("classes", "message"),
    [(["fox"], "are not in this module set"), (["ant", "ant"], "names a class twice"), ([], "names none")],
)
def test_wrong_classes_leave_nothing(saved, tmp_path, classes, message):
    with pytest.raises(ValueError, match=message):
        slice_modules(saved[0], tmp_path / "slice", classes)
    assert not (tmp_path / "slice").exists()


def test_a_manifest_that_lies_about_images_cannot_ask_for_much_memory(saved, tmp_path):
    folder, *_ = saved
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["preprocessing"]["shape"][1:] = [65_536, 65_536]  # 17 GB an image
    (folder / MANIFEST).write_text(json.dumps(manifest))
    for read in (load_modules, lambda folder: slice_modules(folder, tmp_path / "slice", ["ant"])):
        with pytest.raises(ModuleSetError, match=r"images are .*65536.*its graph takes"):
            read(folder)


def test_a_taken_folder_is_refused(saved):
    with pytest.raises(ValueError, match="already holds a module set"):
        slice_modules(saved[0], saved[0], ["ant"])


@pytest.mark.parametrize("write", [0, 1, 2], ids=["card", "weights", "manifest"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt("no more")], ids=["full", "interrupted"])
def test_a_write_that_ends_early_leaves_nothing(saved, tmp_path, monkeypatch, error, write):
    sync, writes = os.fsync, itertools.count()

    def failing(descriptor):
        if next(writes) == write:
            raise error
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(type(error), match=str(error)):
        slice_modules(saved[0], tmp_path / "slice", ["ant"])
    assert [place.name for place in tmp_path.iterdir()] == [saved[0].name]
