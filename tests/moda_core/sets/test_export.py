"""Composed modules as ONNX and torch.export files, against the masked network that they come from."""

import io
import json
import sys

import onnxruntime
import pytest
import torch

from moda_core import export_modules, largest_difference, load_modules, mask_network, merge_masks
from moda_core.sets import export
from tests.moda_core.conftest import NETWORKS

SOME = sorted(NETWORKS)[::2]


@pytest.fixture
def module_and_masked(saved):
    """A module of two of five classes, the masked network that defines it, and images."""
    folder, network, layers, masks, images, _ = saved
    masked = mask_network(network, layers, merge_masks(masks, [4, 1]), [4, 1])
    return load_modules(folder, ["eel", "bee"]), masked, images


class Session(torch.nn.Module):
    """An ONNX file as a network."""

    def __init__(self, file):
        super().__init__()
        self.session = onnxruntime.InferenceSession(file)

    def forward(self, images):
        return torch.from_numpy(self.session.run(["logits"], {"images": images.numpy()})[0])


@pytest.mark.parametrize("network_and_images", SOME, indirect=True)
def test_onnx_says_what_the_masked_network_says(module_and_masked, tmp_path):
    module, masked, images = module_and_masked
    file = tmp_path / "module.onnx"
    assert export_modules(module, file) <= 1e-4
    exported = Session(file)
    for count in (1, 2, len(images)):
        assert largest_difference(masked, exported, images[:count]) < 1e-4
    assert masked(images).std(0).min() > 0  # or anything constant would pass
    metadata = exported.session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == ["eel", "bee"]
    assert json.loads(metadata["preprocessing"]) == module.manifest["preprocessing"]


@pytest.mark.parametrize("network_and_images", SOME, indirect=True)
def test_pt2_says_what_the_masked_network_says(module_and_masked, tmp_path):
    module, masked, images = module_and_masked
    file = tmp_path / "module.pt2"
    assert export_modules(module, file) <= 1e-4
    names = {"class_names": ""}
    program = torch.export.load(io.BytesIO(file.read_bytes()), extra_files=names)
    for count in (1, 2, len(images)):
        assert torch.allclose(program.module()(images[:count]), masked(images[:count]), rtol=1e-4, atol=1e-4)
    assert json.loads(names["class_names"]) == ["eel", "bee"]


@pytest.mark.parametrize("network_and_images", SOME[:1], indirect=True)
def test_mistakes_leave_nothing_behind(module_and_masked, tmp_path, monkeypatch):
    module, _, _ = module_and_masked
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"the ending must be one of \.onnx, \.pt2"):
        export_modules(module, folder / "module.pth")
    (folder / "there.pt2").write_bytes(b"mine")
    with pytest.raises(ValueError, match="is there already"):
        export_modules(module, folder / "there.pt2")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"needs onnxruntime.*moda-core\[export\]"):
        export_modules(module, folder / "module.onnx")
    assert [one.name for one in folder.iterdir()] == ["there.pt2"]
    assert (folder / "there.pt2").read_bytes() == b"mine"


@pytest.mark.parametrize("network_and_images", SOME[:1], indirect=True)
def test_a_file_that_somebody_else_wrote_in_the_meantime_stays(module_and_masked, tmp_path, monkeypatch):
    file, compare = tmp_path / "module.pt2", export.relative_difference

    def write_meanwhile(*logits):
        file.write_bytes(b"theirs")
        return compare(*logits)

    monkeypatch.setattr(export, "relative_difference", write_meanwhile)
    with pytest.raises(ValueError, match="is there already"):
        export_modules(module_and_masked[0], file)
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["module.pt2"]
    assert file.read_bytes() == b"theirs"
