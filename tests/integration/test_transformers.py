"""A Transformer from training to a module in another program."""

import torch

from moda_core import load_modules
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.sweeps import call_moda

TINY = (
    *("model=vit_small", "model.width=12", "model.depth=2", "model.heads=3", "model.patch=2"),
    *("training.optimizer=adamw", "training.learning_rate=0.003", "training.epochs=2", "data.limit=300"),
    *("evaluation.taus=[0.5]", "evaluation.levels=[]", "evaluation.targets=[0.2]", "tracking=none"),
)


def test_a_transformer_is_trained_chosen_by_size_and_pulled(tmp_path):
    storage = tmp_path / "storage"
    done = call_moda("train", *TINY, "evaluation.thresholds=[1.0]", "sweep.name=vit", storage=storage)
    assert done.returncode == 0, done.stderr
    found = read_sweep(DeltaStore(str(storage)), "vit")
    point = next(point for point in found.points if point.choice.rule == "size")
    assert 0.18 < point.metrics["cut_size"] < 0.22
    done = call_moda(
        "pull", "sweep:vit/0/size/0.2", "--classes", "3", "8", "--to", str(tmp_path / "set"), storage=storage
    )
    assert done.returncode == 0, done.stderr
    module = load_modules(tmp_path / "set")
    assert module.manifest["cut_masked_difference"] < 1e-5
    assert set(module.classify(torch.randint(17, (20, 1, 8, 8), dtype=torch.uint8))) <= {"3", "8"}


def test_threshold_0_is_refused_before_training(tmp_path):
    done = call_moda("train", *TINY, "evaluation.thresholds=[0.0,1.0]", storage=tmp_path)
    assert done.returncode == 2
    assert "heads at 'blocks.0.attention.heads' is never exactly zero; choose thresholds above 0" in done.stderr
