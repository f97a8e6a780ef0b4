"""What modules cost: parameters and memory by count, time by rounds in which all networks take part."""

import json

import pytest
import torch
from torch import fx, nn

from moda_core import build_model, open_modules, save_modules, unit_layers
from moda_core.sets import whole_network
from orchestrator.cli.command_line import main
from orchestrator.modules import measuring
from orchestrator.modules.measuring import LEAST_ROUNDS, MOST_ROUNDS, measure_modules, peak_bytes

SIDE, CLASSES = 16, ["a", "b", "c"]
NETWORKS = {
    "vgg": {"widths": [8, "M", 6], "hidden": [10]},
    "resnet18": {"width": 4},
    "mobilenet_v1": {"width": 8},
    "vit_small": {"width": 8, "depth": 2, "heads": 2, "patch": 4},
}


def saved_set(folder, name="vgg"):
    torch.manual_seed(0)
    network = build_model(name, num_classes=3, image_size=SIDE, in_channels=3, **NETWORKS[name]).eval()
    images = torch.randn(4, 3, SIDE, SIDE)
    layers = unit_layers(network, images)
    masks = [torch.rand(3, width) < torch.tensor([[0.2], [0.5], [0.8]]) for width in layers.widths]
    masks = [mask_CN | (torch.arange(mask_CN.shape[1]) == 0) for mask_CN in masks]
    preprocessing = {"shape": [3, SIDE, SIDE], "mean": [0.5] * 3, "std": [0.5] * 3}
    save_modules(folder, network, layers, masks, images, class_names=CLASSES, preprocessing=preprocessing)
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_the_whole_network_has_all_its_layers(tmp_path, name):
    network = saved_set(tmp_path / "set", name)
    whole = whole_network(open_modules(tmp_path / "set"))
    sizes = sorted(tensor.numel() for tensor in network.parameters())
    assert sum(tensor.numel() for tensor in whole.parameters()) == sum(sizes)
    logits = whole(torch.randn(2, 3, SIDE, SIDE))
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, images):
        wide = torch.relu(self.wide(images))
        return self.narrow(wide).flatten(1) + images.mean()


def test_memory_is_what_is_alive_at_once():
    network, images = fx.symbolic_trace(Twice()), torch.zeros(5, 1, 4, 4)
    image, wide, narrow = (5 * channels * 16 * 4 for channels in (1, 8, 2))
    assert peak_bytes(network, images) == image + 2 * wide  # relu beside what it is of; the image is needed later
    last = fx.symbolic_trace(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten()))
    assert peak_bytes(last, images) == image + narrow  # what is only looked at otherwise takes nothing


class Clock:
    def __init__(self, step):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.mark.parametrize(("step", "rounds"), [(10.0, LEAST_ROUNDS), (1e-6, MOST_ROUNDS)])
def test_times_are_medians_of_rounds(tmp_path, step, rounds):
    saved_set(tmp_path / "set")
    costs = measure_modules(str(tmp_path / "set"), classes=["c", "a"], batches=[2], clock=Clock(step))
    assert [cost.name for cost in costs] == ["whole network", "all 3 classes", "classes c, a"]
    assert [cost.classes for cost in costs] == [3, 3, 2]
    for cost in costs:
        assert cost.seconds == {2: pytest.approx(step)}
        assert cost.rounds == {2: rounds}
        assert cost.weight_bytes >= 4 * cost.parameters
    assert costs[0].parameters > costs[1].parameters > costs[2].parameters
    module = open_modules(tmp_path / "set").compose(["c", "a"])
    assert costs[2].parameters == sum(tensor.numel() for tensor in module.network.parameters())


def test_the_command_prints_a_table_and_json(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(measuring, "SECONDS", 0.0)  # the least number of rounds
    saved_set(tmp_path / "set")
    assert main(["measure", str(tmp_path / "set"), "--batch", "1", "3", "--json"]) == 0
    given = json.loads(capfd.readouterr().out)
    assert [network["name"] for network in given["networks"]] == [
        "whole network",
        "all 3 classes",
        "class c, the largest",
    ]
    assert all(set(network["seconds"]) == {"1", "3"} for network in given["networks"])
    assert main(["measure", str(tmp_path / "set"), "--batch", "2"]) == 0
    printed = capfd.readouterr().out
    assert "ms / 2" in printed
    assert "whole network" in printed
    assert "100.0" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere"),
        (["set", "--batch", "0"], "--batch 0: a batch has one image or more"),
        (["set", "--device", "tpu7"], "--device tpu7: PyTorch has no such device here"),
        (["set", "--classes", "x"], "classes 'x' are not in this module set; it has 'a', 'b', 'c'"),
        (["set", "data=digits"], "data=digits: this command takes no overrides"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, monkeypatch, capfd, arguments, message):
    saved_set(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    assert main(["measure", *arguments]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
