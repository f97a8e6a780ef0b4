"""``moda train`` and ``moda decompose``, with one worker and with two."""

import pytest
import safetensors.torch
import torch

from moda_core import load_modules
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import prepare
from orchestrator.training.trial import Trial, load_trained
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
    assert "on test: accuracy" in done.stdout
    trained = read_sweep(DeltaStore(str(tmp_path)), "one")
    assert trained.trials[0].coefficients == {"alpha": 1.0, "beta": 1.0, "gamma": 0.3}

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
    more = ("search.baselines=[]", "sweep.trials=1", "training.epochs=1", "data.limit=200", "tracking=none")
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
