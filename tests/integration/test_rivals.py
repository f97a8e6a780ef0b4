"""MwT and NeMo end to end: trained, measured with their masks, chosen by every rule, published and sliced."""

import json

import pytest
import safetensors.torch
import torch
from torch import nn

from moda_core import Decomposition, compose, draw_pairs, load_modules, mask_network, reuse_by_composing
from moda_core.methods import Mwt
from moda_core.modes import evaluating
from orchestrator.config import Choice
from orchestrator.errors import ConfigError
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import accuracy, choose
from orchestrator.training.methods import with_method_defaults
from orchestrator.training.stages import stage_subsets
from orchestrator.training.trial import Trial, load_trained
from orchestrator.training.tuning import images_of, tune
from tests.integration.sweeps import call_moda, sweep_in_process

SMALL = (
    *("data.limit=400", "model.widths=[8,M,12]", "model.hidden=[16]", "training.epochs=6", "tracking=none"),
    *("evaluation.taus=[0.5,0.9]", "evaluation.thresholds=[0.0]", "evaluation.levels=[0.1]"),
    *("evaluation.targets=[0.3]", "evaluation.gate_shares=[0.5,0.9]"),
)
RULES = {"activity": 2, "contribution": 1, "size": 1, "gate": 2}
TERMS = {"mwt": ("affinity", "dispersion"), "nemo": ("contrast",)}


@pytest.fixture(scope="module", params=["mwt", "nemo"])
def trained(request, tmp_path_factory):
    """The name of a method, and a storage with a training of it named after it."""
    storage = tmp_path_factory.mktemp(request.param)
    name = request.param
    done = call_moda("train", f"method={name}", *SMALL, f"sweep.name={name}", storage=storage)
    assert done.returncode == 0, done.stderr
    assert all(f"{term} " in done.stdout for term in TERMS[name])
    return name, storage


def load(name, storage):
    config = read_sweep(DeltaStore(str(storage)), name).config
    data = load_data(config.data)
    return load_trained(Trial(name, 0, {}, config, str(storage)), data), data, config


def test_the_tables_hold_terms_and_points_of_every_rule(trained):
    name, storage = trained
    store = DeltaStore(str(storage))
    rows = store.read("epochs", name).to_pylist()
    weights = {"affinity": 0.5, "dispersion": 1.5, "contrast": 1.3}
    for row in rows:
        terms = {**row, **dict(row["terms"] or ())}
        weighted = sum(weights[term] * terms[term] for term in TERMS[name])
        assert row["loss"] == pytest.approx(row["cross_entropy"] + weighted)
    assert rows[-1]["loss"] < rows[0]["loss"]
    points = [row for row in store.read("points", name).to_pylist() if row["split"] == "validation"]
    assert {rule: sum(row["rule"] == rule for row in points) for rule in RULES} == RULES
    assert {row["gate_share"] for row in points if row["rule"] == "gate"} == {0.5, 0.9}
    assert {row["gate_share"] for row in points if row["rule"] != "gate"} == {None}
    assert all(0 < row["cut_size"] < 1 for row in points)


def test_the_whole_network_is_measured_with_its_masks(trained):
    name, storage = trained
    loaded, data, _ = load(name, storage)
    (recorded,) = {point.metrics["accuracy"] for point in read_sweep(DeltaStore(str(storage)), name).points}
    assert accuracy(loaded.whole(), data.validation) == recorded > 0.5
    whole, images = loaded.whole(), data.validation[torch.arange(8)]
    with evaluating(whole), torch.no_grad():
        assert not torch.allclose(whole(images), loaded.network(images), rtol=0.05)
    stored = safetensors.torch.load_file(storage / "trials" / f"{name}-0000" / "method.safetensors")
    assert sorted(stored) == ["0.first.weight", "0.second.bias", "0.second.weight"]
    assert stored["0.first.weight"].shape == (12, 8)  # of the second of two convolutions


def test_modules_scale_kept_units_and_are_published_and_sliced(trained, tmp_path):
    name, storage = trained
    loaded, data, config = load(name, storage)
    images = data.validation[torch.arange(32)]
    for choice in (Choice.gate(0.9), Choice.activity(0.9, 0.0)):
        chosen = choose(loaded, choice, config.evaluation)
        values = "/".join(f"{value:g}" for value in choice.values.values())
        point = "/".join(["0", *choice.prefix, values])
        folder = tmp_path / choice.rule
        pulled = call_moda("pull", f"sweep:{name}/{point}", "--classes", "3", "5", "--to", str(folder), storage=storage)
        assert pulled.returncode == 0, pulled.stderr
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["decomposition"]["scales"] is True
        masked = mask_network(loaded.network, chosen.sites, chosen.units, [5, 3])
        module = load_modules(folder, ["5", "3"])
        with evaluating(masked), torch.no_grad():
            differences = (module(images) - masked(images)).std(0)  # a stored bias is the same for every image
        assert float(differences.max()) < 1e-4


def test_as_published_modules_take_units_as_they_are_and_are_tuned_with_a_head(tmp_path):
    published = ("method=mwt", "method.published=true", "sweep.name=as-is")
    stages = ("evaluation.stages=[tuned]", "evaluation.staged=[gate/0.9]", "evaluation.tuned_epochs=2")
    done = call_moda("train", *published, *stages, *SMALL, storage=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded, data, config = load("as-is", tmp_path)
    chosen = choose(loaded, Choice.gate(0.9), config.evaluation)
    assert chosen.units.scales is None
    assert [site.name for site in chosen.sites] == ["features.5"]  # the batch norm of the second convolution
    recorded = read_sweep(DeltaStore(str(tmp_path)), "as-is").points[0].metrics["accuracy"]
    assert accuracy(loaded.whole(), data.validation) == recorded

    modules = {}
    for subset in stage_subsets(10, config.evaluation.seed):
        kept = Decomposition([mask_CN[list(subset)].any(0).expand(10, -1) for mask_CN in chosen.units.keep])
        wide = compose(loaded.network, chosen.sites, kept, range(10), data.train[torch.arange(1)])
        torch.manual_seed(config.training.seed)
        module = nn.Sequential(wide, nn.Sequential(nn.ReLU(), nn.Linear(10, len(subset))))
        modules[subset] = tune(module, images_of(data.train, subset), config)
    draw = draw_pairs(data.validation.labels, list(modules), num_classes=10)
    found = reuse_by_composing(lambda class_ids: modules[tuple(class_ids)], data.validation, draw)
    rows = DeltaStore(str(tmp_path)).read("points", "as-is").to_pylist()
    (row,) = [row for row in rows if (row["stage"], row["split"]) == ("tuned", "validation")]
    assert row["reuse_accuracy"] == pytest.approx(found.mean, abs=1e-12)


def test_a_sweep_searches_them_by_their_own_space(tmp_path):
    sweep = sweep_in_process(
        "method=nemo", *SMALL, "training.epochs=1", "sweep.trials=3", "search=sobol", storage=tmp_path
    )
    first, second, third = (trial.coefficients for trial in sweep.trials)
    assert (first["alpha"], second["alpha"], second["temperature"]) == (1.3, 0.0, 0.2)
    assert 0.05 <= third["temperature"] <= 1
    assert sweep.baseline_reference is not None  # of the second one, whose loss is the cross-entropy


@pytest.mark.slow
def test_early_stopping_measures_them_in_mid_training(tmp_path):
    sweep = sweep_in_process(
        "method=mwt", *SMALL, "search.early_stopping=pareto_halving", "sweep.trials=3", "search=sobol", storage=tmp_path
    )
    rows = DeltaStore(str(tmp_path)).read("rungs", sweep.sweep_id).to_pylist()
    assert {row["rule"] for row in rows} == set(RULES)


def test_layers_without_open_masks_are_named(tmp_path, monkeypatch):
    def prepare(self, network, example):
        from moda_core.methods.mask_generators import prepare_gated

        prepared = prepare_gated(network, example)
        torch.nn.init.constant_(prepared.parts[0].second.bias, -50)
        return prepared

    monkeypatch.setattr(Mwt, "prepare", prepare)
    done = call_moda("train", "method=mwt", *SMALL, "training.epochs=1", "sweep.name=dead", storage=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "features.5: the masks are 0 on every training image" in done.stderr


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["evaluation.gate_shares=[0.9]"],
            r"evaluation\.gate_shares=\[0\.9\]: method\.name=moda trains no gates; .* that does: mwt, nemo",
        ),
        (["method=mwt", "training.epochs=0", "training.init_from=x.pt"], "the mask generators of method.name=mwt are"),
    ],
)
def test_what_cannot_have_gates_is_refused(configured, overrides, said):
    with pytest.raises(ConfigError, match=said):
        with_method_defaults(configured(*overrides))


def test_shares_are_shares(configured):
    with pytest.raises(ConfigError, match=r"evaluation\.gate_shares=\[0\.0\]: must be each within \(0, 1\]"):
        configured("method=mwt", "evaluation.gate_shares=[0.0]")
