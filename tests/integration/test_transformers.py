"""A Transformer from training to a module in another program."""

import json

import pytest
import torch

from moda_core import draw_pairs, load_modules, reuse_by_composing
from moda_core.methods import Nemo
from orchestrator.config import Choice
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import choose
from orchestrator.training.stages import stage_subsets
from orchestrator.training.trial import Trial, load_trained
from orchestrator.training.tuning import images_of, tune
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


GATED = ("evaluation.thresholds=[1.0]", "evaluation.gate_shares=[0.9]", "method.alpha=0.06")


@pytest.mark.parametrize("method", ["mwt", "nemo"])
def test_one_block_has_no_mask_generators_and_is_refused_before_training(method, tmp_path):
    done = call_moda("train", *TINY, "model.depth=1", f"method={method}", *GATED, storage=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "VisionTransformer has neither a convolution after a first one nor linear layers in a second block of"
        " attention, which mask generators need; choose another model or another method"
    )
    assert "evaluation." not in done.stderr


@pytest.mark.slow
def test_nemo_on_a_transformer_is_cut_exactly_and_pulled(tmp_path):
    storage, folder = tmp_path / "storage", tmp_path / "set"
    done = call_moda("train", "method=nemo", *TINY, *GATED, "sweep.name=nemo", storage=storage)
    assert done.returncode == 0, done.stderr
    done = call_moda("pull", "sweep:nemo/0/gate/0.9", "--classes", "3", "8", "--to", str(folder), storage=storage)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["decomposition"]["scales"] is True
    assert load_modules(folder).manifest["cut_masked_difference"] < 1e-5


@pytest.mark.slow
def test_nemo_as_published_is_tuned_from_its_own_slice(tmp_path):
    stages = ("evaluation.stages=[tuned]", "evaluation.staged=[gate/0.9]", "evaluation.tuned_epochs=2")
    published = ("method=nemo", "method.published=true", "sweep.name=as-is")
    done = call_moda("train", *published, *stages, *TINY, *GATED, storage=tmp_path)
    assert done.returncode == 0, done.stderr
    store = DeltaStore(str(tmp_path))
    config = read_sweep(store, "as-is").config
    data = load_data(config.data)
    loaded = load_trained(Trial("as-is", 0, {}, config, str(tmp_path)), data)
    chosen = choose(loaded, Choice.gate(0.9), config.evaluation)
    assert chosen.units.scales is None

    def slice_of(subset):
        torch.manual_seed(config.training.seed)
        keep = [mask_CN[list(subset)].any(0) for mask_CN in chosen.units.keep]
        return Nemo(published=True).tuning_module(loaded.network, chosen.sites, keep, len(subset))

    def parameters(network):
        return sum(parameter.numel() for parameter in network.parameters())

    subsets = stage_subsets(10, config.evaluation.seed)
    modules = {subset: tune(slice_of(subset), images_of(data.train, subset), config) for subset in subsets}
    draw = draw_pairs(data.validation.labels, subsets, num_classes=10)
    found = reuse_by_composing(lambda class_ids: modules[tuple(class_ids)], data.validation, draw)
    rows = store.read("points", "as-is").to_pylist()
    (row,) = [row for row in rows if (row["stage"], row["split"]) == ("tuned", "validation")]
    assert row["reuse_accuracy"] == pytest.approx(found.mean, abs=1e-12)
    whole = parameters(loaded.network)
    sizes = [sum(parameters(slice_of([class_id])) for class_id in range(10)) / 10 / whole, row["cut_size"]]
    assert sizes[0] == pytest.approx(sizes[1])
    by_size = {len(subset): [] for subset in subsets}
    for subset, module in modules.items():
        by_size[len(subset)].append(parameters(module) / whole)
    means = [sum(of_size) / len(of_size) for of_size in by_size.values()]
    assert row["composed_size"] == pytest.approx(sum(means) / len(means))
    (cut,) = [row for row in rows if row["gate_share"] == 0.9 and (row["stage"], row["split"]) == ("cut", "validation")]
    assert row["linear_retention"] < cut["linear_retention"]
