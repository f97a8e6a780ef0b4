"""Modules of networks with mask generators as ONNX and torch.export files: with the gates folded into scales."""

import itertools

import pytest
import torch

from moda_core import export_modules, load_modules, mask_network, save_modules
from moda_core.choosing import FoldedGates
from moda_core.methods import METHODS
from moda_core.rules import GATE
from tests.moda_core.conftest import CLASSES
from tests.moda_core.sets.test_export import Session

SHARE = {"gate_share": 0.5}
SLOW = [("vgg", ".onnx"), *itertools.product(["lenet5", "resnet18"], [".onnx", ".pt2"])]


@pytest.fixture
def gated(network_and_images, tmp_path):
    """A module of two of five classes by the rule of gates, the masked network that defines it, images, and all that
    was chosen."""
    network, images = (part.float() for part in network_and_images)
    method = METHODS["mwt"]()
    torch.manual_seed(3)
    parts = method.prepare(network, images).parts
    for generator in parts:
        torch.nn.init.normal_(generator.second.bias)  # else nearly all gates are open
    with_gates = method.gates(network, parts.eval(), images)
    labels = torch.arange(len(images)) % len(CLASSES)
    counts = GATE.count(*with_gates.counted(with_gates.sites), [(images, labels)], num_classes=len(CLASSES), grid={})
    folded = FoldedGates.join(with_gates.sites, with_gates.sites, counts)
    units = folded.extend(GATE.choose(counts, SHARE))
    shape = list(images.shape[1:])
    preprocessing = {"shape": shape, "mean": [0.5] * shape[0], "std": [0.25] * shape[0]}
    folder = tmp_path / "set"
    save_modules(folder, network, folded.sites, units, images, class_names=CLASSES, preprocessing=preprocessing)
    masked = mask_network(network, folded.sites, units, [4, 1])
    return load_modules(folder, ["eel", "bee"]), masked, images, units


def run_of(file):
    return Session(file) if file.suffix == ".onnx" else torch.export.load(file).module()


@pytest.mark.parametrize(
    ("network_and_images", "ending"),
    [("vgg", ".pt2"), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
    indirect=["network_and_images"],
)
def test_a_file_says_what_the_masked_network_with_scales_says(gated, ending, tmp_path):
    module, masked, images, units = gated
    dropped = [int((~keep_CN[[4, 1]].any(0)).sum()) for keep_CN in units.keep]
    assert sum(dropped) > 0
    scales = torch.cat(units.scales.merge([4, 1]))
    assert scales.unique().numel() > 2  # or there would be nothing to fold
    file = tmp_path / f"module{ending}"
    export_modules(module, file)
    run = run_of(file)
    for count in (1, 5, len(images)):
        assert torch.allclose(run(images[:count]), masked(images[:count]), rtol=1e-4, atol=1e-4)
    assert masked(images).std(0).min() > 0  # or anything constant would pass
