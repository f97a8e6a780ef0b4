"""A training method in a file of one's own: trained, searched, killed and resumed, shown; refused where it is wrong.

Nothing under orchestrator/ or moda_core/ knows tests/seams/toy_method.py.
"""

import json
import re
import sys

import pytest
import safetensors.torch
import torch

from orchestrator.errors import ConfigError
from orchestrator.results.records import claim_sweep, read_sweep, utc_now
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.data.loading import load_data
from orchestrator.training.fingerprinting import fingerprints
from orchestrator.training.methods import with_method_defaults
from orchestrator.training.trial import Trial, check_trainable, load_trained
from tests.integration.gates import Gate
from tests.integration.sweeps import ROOT, call_moda, run_moda, start_at_gate
from tests.integration.waiting import kill

METHODS = "tests.seams.toy_method"
TOY = ("method=own", f"method.name={METHODS}:Toy")
SMALL = (
    *("data.limit=200", "model.widths=[8,M,8]", "model.hidden=[8]", "training.epochs=3", "training.learning_rate=0.05"),
    *(
        "evaluation.taus=[0.5,0.9]",
        "evaluation.thresholds=[0.0,0.1]",
        "evaluation.levels=[0.1]",
        "evaluation.targets=[]",
    ),
)
EPOCHS, BEFORE = 3, 1


@pytest.fixture
def absent(monkeypatch):
    """From now on the methods cannot be imported in this process."""
    return lambda: monkeypatch.setitem(sys.modules, METHODS, None)


@pytest.mark.slow
def test_a_sweep_on_two_workers_killed_in_training_and_after_it_goes_on_and_is_shown(tmp_path, absent):
    storage, store = tmp_path / "storage", DeltaStore(str(tmp_path / "storage"))
    gate, gate_after = Gate(tmp_path / "gate", BEFORE), Gate(tmp_path / "after", 0)
    sweep = (
        *("sweep", *TOY, f"method.gate={tmp_path / 'after'}", *gate.overrides, "sweep.name=toy", "sweep.trials=2"),
        "search.reference.calibrated_reuse_accuracy=0.5",  # whether an own method trains by standard loss is unknown
        *("sweep.concurrency=1", "training.num_workers=2", f"training.epochs={EPOCHS}", "tracking=none"),
    )
    trial = storage / "trials" / "toy-0000"
    kill(start_at_gate(gate, *sweep, storage=storage))
    assert sorted(file.name for file in trial.iterdir()) == ["checkpoint.pt"]
    gate.open()
    kill(start_at_gate(gate_after, *sweep, storage=storage))
    assert sorted(file.name for file in trial.iterdir()) == ["after.pt", "checkpoint.pt"]
    gate_after.open()
    done = run_moda(*sweep, storage=storage)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(file.name for file in trial.iterdir()) == [
        "contributions.safetensors",
        "frequencies.safetensors",
        "method.safetensors",
        "weights.safetensors",
    ]

    # A trial that was killed twice is the one that was never killed: every row, weights and generators are the same.
    again = run_moda("rerun", "toy/0", storage=storage)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "0 values differ; the weights are the same" in again.stdout

    trials = read_sweep(store, "toy").trials
    assert [(one.status, one.attempt) for one in trials] == [("finished", 3), ("finished", 1)]
    assert trials[0].coefficients == {"weight": 0.0}  # the class's baseline, then its space
    assert 0.01 <= trials[1].coefficients["weight"] <= 1
    ended = [row for row in store.read("trials", "toy").to_pylist() if row["event"] == "finished"]
    assert all(row["after_seconds"] > 0 for row in ended)
    rows = store.read("epochs", "toy").to_pylist()
    assert len(rows) == 2 * EPOCHS
    for row in rows:
        weight = trials[int(row["trial_id"][-1])].coefficients["weight"]
        terms = dict(row["terms"])
        assert list(terms) == ["sparsity"]
        assert row["loss"] == pytest.approx(row["cross_entropy"] + weight * terms["sparsity"])
        assert 0 < terms["sparsity"] < 1
        assert row["affinity"] is None

    # Who looks does not import the class: its name and coefficients are in the record.
    absent()
    front = call_moda("front", "toy", storage=storage)
    assert front.returncode == 0, front.stderr
    assert "weight" in front.stdout
    page = tmp_path / "report.html"
    assert call_moda("report", "toy", "--to", str(page), storage=storage).returncode == 0
    assert f"method {METHODS}:Toy" in page.read_text()
    assert "Loss and its terms over the epochs" in page.read_text()
    assert "sparsity" in page.read_text()
    asked = call_moda("query", "toy", "select max(terms['sparsity']) as most from epochs", storage=storage)
    assert float(asked.stdout.split()[-1]) == pytest.approx(max(dict(row["terms"])["sparsity"] for row in rows), 1e-4)
    pulled = call_moda("pull", "sweep:toy/best", "--to", str(tmp_path / "set"), storage=storage)
    assert pulled.returncode == 0, pulled.stderr
    refused = call_moda(*sweep, storage=storage)
    assert refused.returncode == 2
    assert f"{METHODS} cannot be imported here" in refused.stderr


def test_a_training_shows_its_terms_and_keeps_its_parts(configured, tmp_path):
    done = call_moda("train", *TOY, *SMALL, "sweep.name=alone", "tracking=none", storage=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "(sparsity 0." in done.stdout
    config = read_sweep(DeltaStore(str(tmp_path)), "alone").config
    assert config.method.coefficients == {"weight": 0.1, "passes": 2, "gate": ""}
    trained = load_trained(Trial("alone", 0, {}, config, str(tmp_path)), load_data(config.data))
    stored = safetensors.torch.load_file(tmp_path / "trials" / "alone-0000" / "method.safetensors")
    parts = trained.parts().state_dict()
    assert list(parts) == [f"{layer}.{name}" for layer in range(3) for name in ("weight", "bias")]
    assert all(torch.equal(tensor, stored[name]) for name, tensor in parts.items())
    removed = call_moda("gc", "alone", storage=tmp_path)
    assert "there is nothing to remove" in removed.stdout


def test_gates_of_ones_own_are_folded_into_modules(tmp_path, absent):
    own = ("method=own", f"method.name={METHODS}:Gated", "evaluation.gate_shares=[0.9]")
    done = call_moda("train", *own, *SMALL, "sweep.name=gated", "tracking=none", storage=tmp_path)
    assert done.returncode == 0, done.stderr
    points = DeltaStore(str(tmp_path)).read("points", "gated").to_pylist()
    assert {row["rule"] for row in points} == {"activity", "contribution", "gate"}
    for point in ("0/gate/0.9", "0/0.5/0.1"):
        folder = tmp_path.parent / f"{tmp_path.name}-{point.replace('/', '-')}"
        pulled = call_moda("pull", f"sweep:gated/{point}", "--to", str(folder), storage=tmp_path)
        assert pulled.returncode == 0, pulled.stderr
        assert json.loads((folder / "manifest.json").read_text())["decomposition"]["scales"] is True
    absent()
    refused = call_moda("pull", "sweep:gated/0/0.9/0", "--to", str(tmp_path.parent / "no"), storage=tmp_path)
    assert refused.returncode == 2
    assert f"{METHODS} cannot be imported here" in refused.stderr


def test_a_method_without_epochs_takes_a_trained_network(tmp_path):
    first = call_moda("train", "method=standard", *SMALL, "sweep.name=first", "tracking=none", storage=tmp_path)
    assert first.returncode == 0, first.stderr
    weights = tmp_path / "trials" / "first-0000" / "weights.safetensors"
    alone = ("train", "method=own", f"method.name={METHODS}:AfterAlone", *SMALL, f"training.init_from={weights}")
    refused = call_moda(*alone, "tracking=none", storage=tmp_path)
    assert refused.returncode == 2
    assert "takes a trained network; set training.epochs=0" in refused.stderr
    done = call_moda(*alone, "training.epochs=0", "tracking=none", "sweep.name=second", storage=tmp_path)
    assert done.returncode == 0, done.stderr
    before, after = (
        safetensors.torch.load_file(tmp_path / "trials" / name / "weights.safetensors")
        for name in ("first-0000", "second-0000")
    )
    assert torch.equal(after["features.0.weight"], before["features.0.weight"] / 2)
    points = DeltaStore(str(tmp_path)).read("points", "second").to_pylist()
    assert {row["level"] for row in points} == {None}  # it offers no contributions


def test_the_space_that_is_stated_wins_over_the_class_and_its_defaults_are_recorded(configured):
    complete = with_method_defaults(configured(*TOY))
    assert {key: one.stated for key, one in complete.search.space.items()} == {
        "weight": {"low": 0.01, "high": 1.0, "log": True, "integer": False}
    }
    assert complete.search.baselines == ({"weight": 0.0},)
    assert with_method_defaults(complete) == complete
    stated = with_method_defaults(configured(*TOY, "search.space={passes: {low: 1, high: 4, integer: true}}"))
    assert list(stated.search.space) == ["passes"]
    assert stated.search.baselines == ()
    assert stated.with_coefficients({"passes": 3.0}).method.coefficients["passes"] == 3
    with pytest.raises(ConfigError, match=r"search\.space\.passes=1\.5 must be of type int"):
        stated.with_coefficients({"passes": 1.5})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.methods:Toy", "nowhere.methods cannot be imported here"),
        (f"{METHODS}:Toi", f"{METHODS} has no Toi; it has Toy"),
        (f"{METHODS}:NoDataclass", "is not a dataclass; a method is a frozen dataclass of its coefficients"),
        (f"{METHODS}:Gate", "has no Gate"),
        (f"{METHODS}:Reserved", "terms names 'seconds'"),
        ("orchestrator.config.data_section:DataConfig", "has no prepare; derive it from moda_core.methods.Method"),
    ],
)
def test_what_is_no_method_is_refused(configured, name, said):
    with pytest.raises(ConfigError) as refused:
        with_method_defaults(configured("method=own", f"method.name={name}"))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method.wait=1", r"unknown key method.wait \(did you mean method\.weight\?\)"),
        ("method.weight=much", "method.weight='much' must be of type float"),
        ("method.weight=-1", "method.weight=-1.0 must be at least 0"),
    ],
)
def test_wrong_coefficients_are_refused(configured, override, said):
    with pytest.raises(ConfigError, match=said):
        with_method_defaults(configured(*TOY, override))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("Outside", "weight of its parts is not a parameter of the model that prepare"),
        ("Undeclared", r"objective\(\) gives terms \['sparsity'\], and terms declares \[\]"),
    ],
)
def test_what_does_not_keep_to_the_protocol_is_refused_before_training(configured, kind, said):
    config = with_method_defaults(configured("method=own", f"method.name={METHODS}:{kind}", *SMALL))
    with pytest.raises(ConfigError, match=said):
        check_trainable(config, load_data(config.data))


def test_a_changed_method_under_an_old_name_is_refused(configured, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    store = DeltaStore(str(tmp_path / "storage"))
    text = "from dataclasses import dataclass\nfrom moda_core.methods import Standard\n\n\n@dataclass(frozen=True)\n"
    text += "class Mine(Standard):\n    strength: float = 1.0\n"

    def claimed(text):
        (tmp_path / "edited_method.py").write_text(text)
        monkeypatch.delitem(sys.modules, "edited_method", raising=False)
        asked = configured("method=own", "method.name=edited_method:Mine", "sweep.name=mine", *SMALL)
        config = with_method_defaults(asked)
        prints = fingerprints(config, load_data(config.data))
        return claim_sweep(store, config, prefix="x", now=utc_now(), fingerprints=prints)

    assert claimed(text) == claimed(text) == "mine"
    (row,) = store.read("sweeps", "mine").to_pylist()
    method = json.loads(row["identity"])["method"]
    assert (method["name"], method["strength"], len(method["source"])) == ("edited_method:Mine", 1.0, 64)
    with pytest.raises(ConfigError, match=r"method.source is .* the file of edited_method:Mine has changed since"):
        claimed(text + "\n\ndef helper():\n    return 1\n")
    with pytest.raises(ConfigError, match=r"method.strength is 1.0, not 2.0"):
        claimed(text.replace("1.0", "2.0"))


def test_standard_training_has_a_space_of_its_own(configured):
    config = configured("method=standard")
    assert list(config.search.space) == ["learning_rate", "weight_decay"]
    assert config.search.baselines == ({"weight_decay": 0.0},)


def test_the_example_of_the_documentation_trains(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "method.md").read_text(), re.S)
    (tmp_path / "quiet_methods.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    method = ("method=own", "method.name=quiet_methods:Quiet", "method.weight=0.2", "sweep.name=quiet")
    done = call_moda("train", *method, *SMALL, "tracking=none", storage=tmp_path / "storage")
    assert done.returncode == 0, done.stderr
    rows = DeltaStore(str(tmp_path / "storage")).read("epochs", "quiet").to_pylist()
    for row in rows:
        assert row["loss"] == pytest.approx(row["cross_entropy"] + 0.2 * dict(row["terms"])["loudness"])
