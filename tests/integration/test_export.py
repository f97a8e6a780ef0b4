"""``moda export``: from a sweep to a file that another runtime reads."""

import onnxruntime
import pytest
import torch

from moda_core import load_modules
from tests.integration.sweeps import call_moda, run_moda


@pytest.fixture(scope="module")
def pulled(swept, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pulled") / "modules"
    done = call_moda("pull", "tiny", "--to", str(folder), storage=swept[0])
    assert done.returncode == 0, done.stderr
    return folder


def test_a_pulled_module_runs_elsewhere(pulled, tmp_path):
    file = tmp_path / "module.onnx"
    done = run_moda("export", str(pulled), "--classes", "8", "3", "--to", str(file), storage=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "returns the logits of '8', '3'; they differ" in done.stdout
    module = load_modules(pulled, ["8", "3"])
    images = module.preprocess(torch.randint(256, (7, *module.manifest["preprocessing"]["shape"]), dtype=torch.uint8))
    (found,) = onnxruntime.InferenceSession(file).run(None, {"images": images.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(found), module(images), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--classes", "ten", "--to", "x.onnx"], "classes 'ten' are not in this module set"),
        (["--to", "x.pth"], "the ending must be one of .onnx, .pt2"),
        (["--to", "x.onnx", "training.epochs=3"], "training.epochs=3: this command takes no overrides"),
    ],
)
def test_mistakes_are_said(pulled, tmp_path, arguments, said):
    done = call_moda("export", str(pulled), *arguments, storage=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
