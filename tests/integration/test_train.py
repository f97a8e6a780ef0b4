"""``moda train`` and ``moda decompose``, with one worker and with two."""

import dataclasses
import json
import re

import pytest
import safetensors.torch
import torch

from moda_core import count_frequencies, load_modules, unit_layers
from moda_core.rules.built_in import ActivityRule
from orchestrator import open_sweep
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.batches import augmented_once
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import prepare
from orchestrator.training.trial import Trial, load_trained, make_network
from tests.integration.sweeps import call_moda, run_moda

FAST = (
    "data.limit=400",
    "tracking=none",
    "evaluation.taus=[0.5,0.9]",
    "evaluation.levels=[0.1]",
    "evaluation.targets=[]",
)


@pytest.mark.slow
def test_train_then_decompose_its_weights_elsewhere(tmp_path):
    done = call_moda("train", *FAST, "training.epochs=2", "sweep.name=one", storage=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "validation" in done.stdout
    assert re.search(r"^best: .*; on test calibrated reuse accuracy .* %", done.stdout, re.M)
    trained = read_sweep(DeltaStore(str(tmp_path)), "one")
    assert trained.trials[0].coefficients == {"alpha": 1.0, "beta": 0.3, "gamma": 3.0, "gamma_warmup": None}

    weights = tmp_path / "elsewhere.pt"
    state = safetensors.torch.load_file(tmp_path / "trials" / "one-0000" / "weights.safetensors")
    torch.save({"state_dict": state}, weights)
    done = run_moda("decompose", str(weights), *FAST, "sweep.name=two", storage=tmp_path)
    assert done.returncode == 0, done.stderr
    found = read_sweep(DeltaStore(str(tmp_path)), "two")
    assert [point.metrics for point in found.points] == [point.metrics for point in trained.points]

    again = ("training.epochs=2", f"training.init_from={weights}", "training.learning_rate=1e-9")
    done = call_moda("train", *FAST, *again, storage=tmp_path)
    assert done.returncode == 0, done.stderr

    done = call_moda("decompose", str(weights), "model.widths=[8,M,8]", *FAST, storage=tmp_path)
    assert done.returncode == 2
    assert "holds the weights of a different network" in done.stderr


@pytest.mark.parametrize(("rate", "is_warned"), [(1e-9, True), (0.1, False)])
def test_a_network_that_has_learned_nothing_is_called_so(tmp_path, rate, is_warned):
    fast = ("training.epochs=4", f"training.learning_rate={rate}", "sweep.name=one", "evaluation.pairs=10")
    done = call_moda("train", *FAST, *fast, storage=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("it has learned nothing" in done.stdout) == is_warned


PUBLISHED = (
    *("training=published", "training.epochs=1", "method=moda_published", "model.init=published"),
    *("data.flip=true", "evaluation.augmented=true", "sweep.name=whole"),
)


@pytest.mark.slow
def test_a_training_on_all_images_is_measured_on_test_and_nothing_is_chosen(tmp_path):
    storage = tmp_path / "storage"
    done = call_moda("train", *FAST, *PUBLISHED, storage=storage)
    assert done.returncode == 0, done.stderr
    assert "test (no validation images: nothing is chosen)" in done.stdout
    assert "best" not in done.stdout
    assert "moda pull sweep:whole/0/0.5/0 --to modules" in done.stdout
    store = DeltaStore(str(storage))
    sweep, rows = read_sweep(store, "whole"), store.read("points", "whole").to_pylist()
    assert {row["split"] for row in rows} == {"test"}
    assert len(sweep.points) == len(rows) == 2 * 4 + 1
    assert {point.test["accuracy"] for point in sweep.points} == {rows[0]["accuracy"]}
    assert not any(point.metrics for point in sweep.points)
    data = load_data(sweep.config.data)
    assert (len(data.train), len(data.validation)) == (400, 0)

    row = open_sweep("whole", storage=storage).points().to_pylist()[0]
    assert (row["cut_size"], row["test_cut_size"]) == (None, sweep.points[0].test["cut_size"])
    assert (row["role"], row["on_front"]) == (None, False)

    refusal = "sweep 'whole' has no validation images (data.validation_fraction=0), so nothing is chosen: name a point"
    for command in (["front", "whole"], ["pull", "sweep:whole/best", "--to", str(tmp_path / "x")]):
        refused = call_moda(*command, storage=storage)
        assert refused.returncode == 2
        assert refusal in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
    assert call_moda("report", "whole", "--to", str(tmp_path / "r.html"), storage=storage).returncode == 0
    assert "has no validation images" in (tmp_path / "r.html").read_text()
    warm = call_moda("sweep", "search.warm_start=[whole]", *FAST, storage=storage)
    assert "'whole' was measured on test alone (data.validation_fraction=0)" in warm.stderr
    assert "there is nothing to remove" in call_moda("gc", storage=storage).stdout

    pulled = call_moda("pull", "sweep:whole/0/0.5/0", "--to", str(tmp_path / "modules"), storage=storage)
    assert pulled.returncode == 0, pulled.stderr
    about = json.loads((tmp_path / "modules" / "manifest.json").read_text())["about"]
    assert about["validation"] == {}
    assert about["test"] == sweep.find("0/0.5/0").test
    card = (tmp_path / "modules" / "model_card.md").read_text()
    assert "Not chosen: there were no validation images." in card
    assert "of the same trained network, on test;" in card
    again = call_moda("rerun", "whole/0", storage=storage)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 rows of epochs and 9 rows of points compared, 0 values differ; the weights are the same" in again.stdout


def frequencies_of(trained):
    return ActivityRule.unpack(trained.rules["activity"].counts)


def test_counting_sees_augmented_images_if_it_is_asked_to(configured):
    config = configured(*FAST, "data.flip=true", "data.crop=1", "evaluation.augmented=true", "evaluation.seed=3")
    data = load_data(config.data)
    network = make_network(config, data).eval()
    counted = frequencies_of(prepare(network, data, config))
    once = augmented_once(data.train, crop=1, flip=True, seed=3)
    batches = [(once[torch.arange(len(once))], once.labels)]
    layers = unit_layers(network, once[torch.arange(1)])
    expected = count_frequencies(network, layers, batches, num_classes=10, thresholds=config.evaluation.thresholds)
    assert torch.equal(counted.counts_TCN, expected.counts_TCN)
    plain = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, augmented=False))
    assert not torch.equal(counted.counts_TCN, frequencies_of(prepare(network, data, plain)).counts_TCN)


def test_two_workers_run_the_same_loop(shared_ray, tmp_path):
    asked = ("training.epochs=2", "training.num_workers=2", "sweep.name=one", *FAST[1:])  # three batches to count
    done = run_moda("train", *asked, storage=tmp_path, **shared_ray)
    assert done.returncode == 0, done.stderr
    store = DeltaStore(str(tmp_path))
    rows = sorted(store.read("epochs", "one").to_pylist(), key=lambda row: row["epoch"])
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["cross_entropy"] < rows[0]["cross_entropy"]
    events = [row["event"] for row in store.read("trials", "one").to_pylist()]
    assert sorted(events) == ["finished", "proposed", "started"]

    config = read_sweep(store, "one").config
    trial = Trial("one", 0, {}, config, str(tmp_path))
    counted = load_trained(trial, load_data(config.data))
    alone = prepare(counted.network, load_data(config.data), config).rules["activity"].counts
    together = counted.rules["activity"].counts
    assert torch.equal(together["counts"], alone["counts"])
    assert torch.equal(together["sizes"], alone["sizes"])
    torch.testing.assert_close(together["means"], alone["means"], rtol=1e-14, atol=0)


def test_standard_training_on_another_model(tmp_path):
    overrides = ("method=standard", "model=resnet18", "model.width=4", "training.epochs=1")
    done = call_moda("train", *FAST, *overrides, storage=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "knee" in done.stdout


@pytest.mark.slow
def test_a_sweep_over_ones_own_network(shared_ray, tmp_path, monkeypatch):
    """Its module is in a folder that only PYTHONPATH names; Ray's workers import it too."""
    (tmp_path / "nets_of_mine.py").write_text(OWN)
    overrides = ("model=own", "model.name=nets_of_mine:net", "search.space.width={low: 2, high: 5, integer: true}")
    more = (
        "search.baselines=[]",
        "search.reference.calibrated_reuse_accuracy=0.5",
        "sweep.trials=1",
        "training.epochs=1",
        "data.limit=200",
        "tracking=none",
    )
    sweep = ("sweep", *overrides, *more, "sweep.name=own")
    done = run_moda(*sweep, storage=tmp_path / "storage", PYTHONPATH=str(tmp_path), **shared_ray)
    assert done.returncode == 0, done.stderr
    assert read_sweep(DeltaStore(str(tmp_path / "storage")), "own").trials[0].coefficients["width"] in range(2, 6)
    monkeypatch.syspath_prepend(tmp_path)
    done = call_moda("pull", "own", "--to", str(tmp_path / "modules"), storage=tmp_path / "storage")
    assert done.returncode == 0, done.stderr
    assert load_modules(tmp_path / "modules", classes=["3", "8"])(torch.zeros(2, 1, 8, 8)).shape == (2, 2)


OWN = """
from torch import nn

def net(*, in_channels, image_size, num_classes, width):
    convolution = nn.Conv2d(in_channels, width, 3, padding=1)
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(width * image_size**2, num_classes))
"""
