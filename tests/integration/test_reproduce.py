"""``moda reproduce``: published numbers beside those of trainings that really run, small ones."""

import io
import re
import statistics

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from orchestrator.config import Choice, Published, PublishedRow
from orchestrator.config.composing import load_config
from orchestrator.config.published import recipes
from orchestrator.results.records import read_sweep
from orchestrator.runs.reproducing import reproduce
from orchestrator.storage.delta import DeltaStore
from orchestrator.training import check_trainable
from orchestrator.training.data import load_data
from tests.integration.sweeps import call_moda

SMALL = (
    *("data=digits", "data.normalisation=statistics", "data.crop=1", "data.limit=300"),
    *("model=vgg_small", "model.widths=[8,M,8]", "model.hidden=[16]"),
    *("training.epochs=2", "training.batch_size=64", "tracking=none", "evaluation.test_pairs=300"),
)
TITLES = ("reuse accuracy", "module size (published count)")
# Recipes of one model differ in the constants of their images alone: all compose in test_published.py.
NINE = [
    pytest.param(recipe, marks=[] if recipe.endswith("_cifar10") else pytest.mark.slow)
    for recipe in recipes()
    if "ablation" not in recipe
]


def sweeps_of(storage):
    store = DeltaStore(str(storage))
    ids = sorted({row["sweep_id"] for row in store.read("trials").to_pylist()})
    return [read_sweep(store, sweep_id) for sweep_id in ids]


def test_what_is_published_beside_what_two_seeds_give(tmp_path):
    command = ("reproduce", "paper/ablation_tau", "--seeds", "2", *SMALL)
    done = call_moda(*command, storage=tmp_path)
    assert done.returncode == 0, done.stderr
    sweeps = sweeps_of(tmp_path)
    assert sorted(sweep.config.training.seed for sweep in sweeps) == [0, 1]
    titles = "|".join(map(re.escape, TITLES))
    rows = re.findall(rf"({titles}) % +([\d.]+) +([\d.]+)±([\d.]+) +([+-][\d.]+)", done.stdout)
    published = {0.1: ("94.20", "15.00"), 0.5: ("94.50", "5.60"), 0.8: ("94.70", "3.50")}
    published |= {0.9: ("94.50", "2.70"), 0.95: ("93.30", "2.20")}
    expected = []
    for tau, stated in published.items():
        found = [sweep.find(f"0/{tau}/0").test for sweep in sweeps]
        for title, name, text in zip(TITLES, ("reuse_accuracy", "module_size"), stated, strict=True):
            values = [100 * metrics[name] for metrics in found]
            mean = statistics.fmean(values)
            difference = f"{mean - float(text):+.2f}"
            expected.append((title, text, f"{mean:.2f}", f"{statistics.stdev(values):.2f}", difference))
    assert rows == expected
    assert "paper/ablation_tau, method moda: published against measured on test" in done.stdout
    assert "published: MODA, arXiv 2411.01074 (ICSE 2026), the figure of tau" in done.stdout
    assert sorted(done.stdout.splitlines()[-1].removeprefix("measured with ").split()) == sorted(SMALL)

    again = call_moda(*command, storage=tmp_path)
    assert again.stdout.count("read from the tables; nothing to train") == 2
    assert again.stdout[again.stdout.index("\ntraining ") :] == done.stdout[done.stdout.index("\ntraining ") :]


def test_every_set_of_coefficients_is_trained(tmp_path):
    config = load_config(["experiment=paper/ablation_alpha", *SMALL, f"storage={tmp_path}"])
    choice = Choice.activity(0.9, 0.0)
    values = {"accuracy": 0.9, "affinity": 0.3, "hours": 1.13}
    rows = (
        PublishedRow({"alpha": 0.0}, None, values),
        PublishedRow({"alpha": 1.0}, None, values),
        PublishedRow({"alpha": 1.0}, choice, {"module_overlap": 0.014}),
    )
    compared = reproduce(config, Published("here", rows), 1, Console(file=io.StringIO()))
    assert [(one.row, one.name) for one in compared] == [(row, name) for row in rows for name in row.values]
    found = {sweep.config.method.coefficients["alpha"]: sweep for sweep in sweeps_of(tmp_path)}
    assert set(found) == {0.0, 1.0}
    store = DeltaStore(str(tmp_path))
    for one in compared:
        sweep = found[one.row.coefficients["alpha"]]
        losses = next(row for row in store.read("epochs", sweep.sweep_id).to_pylist() if row["epoch"] == 2)
        point = sweep.find("0/0.9/0").test
        wanted = {
            "accuracy": point["accuracy"],
            "affinity": losses["affinity"],
            "hours": sweep.trials[0].seconds / 3600,
            "module_overlap": point["module_overlap"],
        }
        assert one.measured == (wanted[one.name],)
        assert (one.mean, one.spread) == (one.measured[0], None)
    assert compared[1].mean != compared[4].mean


@pytest.fixture(scope="module")
def colour_table(tmp_path_factory):
    """30 colour images of 32 x 32 as a table."""
    path = tmp_path_factory.mktemp("table") / "images.parquet"
    images = []
    for pixels in np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        images.append(buffer.getvalue())
    pq.write_table(pa.table({"image": images, "label": np.arange(30) % 3}), path)
    return path


@pytest.mark.parametrize("recipe", NINE)
def test_every_recipe_takes_a_step(recipe, colour_table):
    """Steps, weights, counting and a module set of a few images: what precedes every training."""
    small = ("data=table", f"data.path={colour_table}", "model.width=2", "training.batch_size=8", "training.epochs=1")
    config = load_config([f"experiment={recipe}", *small])
    data = load_data(config.data)
    check_trainable(config, data)
    assert (len(data.train), len(data.validation), data.num_classes) == (24, 0, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0"], "--seeds 0: must be at least 1"),
        (["data.validation_fraction=0.2"], "data.validation_fraction=0.2: published trainings hold nothing out"),
        (["sweep.name=mine"], "sweep.name=mine: every training has a name of its own here; leave it out"),
    ],
)
def test_what_would_be_another_recipe_is_refused(tmp_path, words, message):
    done = call_moda("reproduce", "paper/vgg16_cifar10", *words, storage=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
