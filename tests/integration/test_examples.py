"""Each example of docs/examples.md that no other test runs."""

import re
import sys
from pathlib import Path

import pytest

from tests.integration.sweeps import TINY, call_moda, sweep_in_process

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = (ROOT / "docs" / "examples.md").read_text()
RUN_BY = {  # where each example is run
    "demo.sh": "Makefile",
    "own_images.py": "tests/integration/test_examples.py",
    "own_network.py": "tests/integration/test_examples.py",
    "own_metric.py": "tests/integration/test_examples.py",
    "own_loop.py": "tests/test_docs.py",
    "first_sweep.ipynb": "tests/integration/test_notebook.py",
    "serve": "tests/integration/test_downstream.py",
    "two_classes.py": "docs/examples/demo.sh",
    "wandb_workspace.py": "tests/test_workspace_example.py",
}


@pytest.fixture
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in ("own_images", "own_network", "own_metric"):
        sys.modules.pop(name, None)


def test_the_page_lists_every_example_and_each_is_run():
    assert set(RUN_BY) == {path.name for path in EXAMPLES.iterdir() if not path.name.startswith(("_", "."))}
    for name, file in RUN_BY.items():
        assert f"examples/{name}" in PAGE
        assert name.partition(".")[0] in (ROOT / file).read_text()


@pytest.mark.slow
def test_own_images(importable, tmp_path):
    import own_images

    assert own_images.main(tmp_path) == ["across", "slanted"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("DigitNet", "data=digits", marks=pytest.mark.slow),
        ("make", "data.classes=[3,5,8]"),
    ],
)
def test_own_network(importable, tmp_path, name, data):
    short = ("training.epochs=5", "evaluation.pairs=100", "evaluation.test_pairs=100", "tracking=none")
    done = call_moda("train", "model=own", f"model.name=own_network:{name}", data, *short, storage=tmp_path)
    assert done.returncode == 0, done.stderr
    (accuracy,) = re.findall(r"^best: .*, accuracy ([\d.]+) %$", done.stdout, re.M)
    assert float(accuracy) > 90


def test_a_network_that_does_not_fit_says_what_to_write(importable, tmp_path):
    done = call_moda("train", "model=own", "model.name=own_network:DigitNet", "data.classes=[3,8]", storage=tmp_path)
    assert done.returncode == 2
    assert (
        "must give logits of (2, 2); its constructor does not take in_channels, image_size, num_classes" in done.stderr
    )
    assert "def make(in_channels, image_size, num_classes): return DigitNet(...)" in done.stderr


@pytest.mark.slow
def test_own_metric(importable, tmp_path):
    objectives = "search.objectives={calibrated_reuse_accuracy: max, largest_module: min}"
    metric = "evaluation.metrics=[own_metric:LargestModule]"
    sweep = sweep_in_process(*TINY, "sweep.trials=2", metric, objectives, storage=tmp_path)
    assert list(sweep.config.search.objectives) == ["calibrated_reuse_accuracy", "largest_module"]
    values = [point.metrics["largest_module"] for point in sweep.front]
    assert values
    assert all(0 < value <= 1 for value in values)
    by_accuracy = sorted(sweep.front, key=lambda point: point.metrics["calibrated_reuse_accuracy"])
    assert [point.metrics["largest_module"] for point in by_accuracy] == sorted(values)
