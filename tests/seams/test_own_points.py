"""A rule and a metric of one's own, from toy_rule.py and toy_metric.py alone: a sweep has their points, searches by
them, shows them, publishes them, and slices and exports what it published."""

import sys

import numpy as np
import onnxruntime
import pytest
import torch

from moda_core import export_modules, load_modules, open_modules
from orchestrator import UserError, open_sweep
from orchestrator.storage import DeltaStore
from tests.integration.sweeps import call_moda, run_moda

RULE, METRIC = "tests.seams.toy_rule:StrengthRule", "tests.seams.toy_metric:FirstUnits"
pytestmark = pytest.mark.slow
OVERRIDES = (
    *("experiment=digits", "sweep.name=own", "sweep.trials=2", "training.epochs=1", "tracking=none"),
    *("model.widths=[8,M,8]", "model.hidden=[8]", "evaluation.taus=[0.5]", "evaluation.thresholds=[0.0]"),
    *("evaluation.levels=[]", "evaluation.targets=[]", f"evaluation.rules=[{{name: {RULE}, share: [0.25, 0.75]}}]"),
    *(f"evaluation.metrics=[{METRIC}]", "search.objectives.reuse_accuracy=max", "search.objectives.first_units=min"),
)


@pytest.fixture(scope="module")
def storage(shared_ray, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    done = run_moda("sweep", *OVERRIDES, storage=folder, **shared_ray)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_tables_hold_them(storage):
    rows = [row for row in DeltaStore(str(storage)).read("points").to_pylist() if row["split"] == "validation"]
    own = [row for row in rows if row["rule"] == RULE]
    assert sorted(row["rule_parameters"] for row in own) == ['{"share": 0.25}'] * 2 + ['{"share": 0.75}'] * 2
    assert {row["tau"] for row in own} == {None}
    assert all(0 < dict(row["own"])["first_units"] <= 8 for row in rows)
    assert len(rows) == 6


def test_they_are_searched_and_shown(storage):
    sweep = open_sweep("own", storage=storage)
    table = sweep.points()
    assert set(table["StrengthRule.share"].to_pylist()) == {0.25, 0.75, None}
    assert "first_units" in table.column_names
    labels = {label for label in table["point"].to_pylist() if "StrengthRule" in label}
    assert "0/StrengthRule/0.25" in labels
    page = sweep.report(storage / "own.html").read_text()
    assert "<h3>Over share (StrengthRule)</h3>" in page
    assert "first layer (units)" in page  # its axis
    assert "<dt>StrengthRule</dt><dd>share: 0.25, 0.75</dd>" in page
    shown = call_moda("front", "own", storage=storage)
    assert (shown.returncode, "first" in shown.stdout) == (0, True)
    judged = call_moda("front", "own", "search.constraints=[first_units <= 0]", storage=storage)
    assert "6 of 6 points violate first_units <= 0" in judged.stderr


def test_such_a_point_is_published_sliced_and_exported(storage, tmp_path):
    done = call_moda("pull", "sweep:own/0/StrengthRule/0.75", "--to", str(tmp_path / "set"), storage=storage)
    assert done.returncode == 0, done.stderr
    assert open_modules(tmp_path / "set").decomposition.scales is not None
    done = call_moda(
        "pull", "sweep:own/0/StrengthRule/0.75", "--classes", "3", "7", "--to", str(tmp_path / "two"), storage=storage
    )
    assert done.returncode == 0, done.stderr
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    whole, sliced = (load_modules(tmp_path / name, ["3", "7"]) for name in ("set", "two"))
    expected, found = whole(whole.preprocess(images)), sliced(sliced.preprocess(images))
    torch.testing.assert_close(found, expected)
    export_modules(whole, tmp_path / "two.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "two.onnx"))
    (exported,) = session.run(None, {session.get_inputs()[0].name: whole.preprocess(images).numpy()})
    np.testing.assert_allclose(exported, expected.detach().numpy(), rtol=1e-3, atol=1e-4)


def test_who_looks_or_pulls_another_point_needs_neither_of_them(storage, tmp_path, monkeypatch):
    for module in ("tests.seams.toy_rule", "tests.seams.toy_metric"):
        monkeypatch.setitem(sys.modules, module, None)  # it cannot be imported
    shown = call_moda("front", "own", storage=storage)
    assert (shown.returncode, "first" in shown.stdout) == (0, True)
    done = call_moda("pull", "sweep:own/0/0.5/0", "--to", str(tmp_path / "set"), storage=storage)
    assert done.returncode == 0, done.stderr
    done = call_moda("pull", "sweep:own/1/StrengthRule/0.25", "--to", str(tmp_path / "own"), storage=storage)
    assert (done.returncode, "tests.seams.toy_rule cannot be imported here" in done.stderr) == (2, True)


def test_the_same_sweep_goes_on_and_other_values_are_another(storage, shared_ray):
    again = call_moda("sweep", *OVERRIDES, storage=storage)
    assert again.returncode == 0, again.stderr
    other = call_moda("sweep", *OVERRIDES, f"evaluation.rules=[{{name: {RULE}, share: [0.5]}}]", storage=storage)
    assert other.returncode == 2
    assert "evaluation.rules" in other.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.rules=[tests.seams.toy_rule:Nothing]", "has no Nothing"),
        ("evaluation.rules=[tests.seams.toy_rule:size]", "size is a built-in rule; rename yours"),
        ("evaluation.rules=[tests.seams.toy_metric:FirstUnits]", "has no name; a rule has"),
        (f"evaluation.rules=[{{name: {RULE}, power: [1.0]}}]", "has no parameter power; known: share"),
        (f"evaluation.rules=[{{name: {RULE}, share: [2.0]}}]", "share=2.0 must lie in"),
        (f"evaluation.metrics=[{RULE}]", "is not a metric: a class with declaration=Metric"),
        ("evaluation.metrics=[3]", "is not an import path"),
        ("evaluation.metrics=[tests.seams.toy_metric:Adrift]", "baseline='first_unit' is not a metric from which"),
        ("evaluation.metrics=[tests.seams.toy_metric:Undefined]", "first_units of Undefined gave nan; it"),
    ],
)
def test_what_is_neither_is_refused_in_one_line(tmp_path, override, message):
    done = call_moda("sweep", "experiment=digits", "tracking=none", override, storage=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line
    assert issubclass(UserError, ValueError)
