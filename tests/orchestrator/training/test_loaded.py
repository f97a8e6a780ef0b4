"""The accuracy of weights from elsewhere is told before anything else, and how images were normalised for it."""

import dataclasses
import io

import pytest
import torch
from rich.console import Console
from torch.nn import functional as F

from orchestrator.runs.train import train_one
from orchestrator.training import loaded
from orchestrator.training.data.loading import load_data
from orchestrator.training.loaded import loaded_lines
from orchestrator.training.trial import make_network

ELSEWHERE = ("data.mean=[0]", "data.std=[1]")  # as ToTensor() gives images


@pytest.fixture(scope="module")
def weights(tmp_path_factory, one_thread):
    """A checkpoint of a network that was trained on images in [0, 1]."""
    from orchestrator.config.composing import load_config

    config = load_config([f"storage={tmp_path_factory.mktemp('unused')}", "tracking=none"])
    data = load_data(config.data)
    network, generator = make_network(config, data), torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    for _ in range(4):
        for batch in torch.randperm(len(data.train), generator=generator).split(64):
            optimizer.zero_grad()
            logits = network(data.train.images[batch].float() / 255)
            F.cross_entropy(logits, data.train.labels[batch]).backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        found = network(data.validation.images.float() / 255).argmax(1) == data.validation.labels
    path = tmp_path_factory.mktemp("weights") / "w.pt"
    torch.save({"epoch": 4, "state_dict": network.state_dict()}, path)
    return path, float(found.float().mean())


def lines_of(configured, weights, *overrides):
    config = configured(f"training.init_from={weights}", *overrides)
    return loaded_lines(config, load_data(config.data))


def test_the_accuracy_is_that_of_the_images_that_the_weights_know(configured, weights):
    path, accuracy = weights
    assert accuracy > 0.8
    assert lines_of(configured, path, *ELSEWHERE) == [
        f"{path} (state_dict): validation accuracy {100 * accuracy:.1f} % as loaded"
    ]


def test_a_data_sets_own_normalisation_is_warned_of(configured, weights):
    told, warning = lines_of(configured, weights[0])
    images = load_data(configured().data).train.images / 255
    assert "as loaded" in told
    assert f"own mean=[{images.mean():.4f}] std=[{images.std(correction=0):.4f}]" in warning
    assert "data.mean=[...] data.std=[...]" in warning


def test_of_many_images_some_are_shown(configured, weights, monkeypatch):
    monkeypatch.setattr(loaded, "MOST_IMAGES", 50)
    assert " of 50 images as loaded" in lines_of(configured, weights[0])[0]


def test_nothing_is_told_without_weights_from_elsewhere(configured):
    config = configured()
    assert loaded_lines(config, load_data(config.data)) == []


def test_it_is_the_first_thing_that_a_command_tells(configured, weights):
    config = configured(
        f"training.init_from={weights[0]}", "evaluation.taus=[0.9]", "evaluation.levels=[0.1]", "evaluation.targets=[]"
    )
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=0))
    out = io.StringIO()
    sweep = train_one(config, Console(file=out, width=60))
    lines = out.getvalue().splitlines()
    place = [line.startswith(str(weights[0])) for line in lines].index(True)
    assert not any(line.startswith(sweep.sweep_id) for line in lines[:place])  # only what the data is
    first, second = lines[place : place + 2]
    accuracy = sweep.points[0].metrics["accuracy"]
    assert first == f"{weights[0]} (state_dict): validation accuracy {100 * accuracy:.1f} % as loaded"
    assert second.startswith("warning: images are normalised with this data set's own")
