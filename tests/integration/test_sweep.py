"""One real sweep: 4 trials of 1 epoch on a local Ray, and everything that a person does with it."""

import json
import re

import pytest
import torch

from moda_core import load_modules
from moda_core.sets.manifest import MANIFEST
from orchestrator.config.composing import load_config
from orchestrator.config.identities import identity
from orchestrator.modules.publishing import name_of
from orchestrator.results.records import read_sweep
from orchestrator.runs.proposals import search_problem
from orchestrator.storage.delta import DeltaStore
from tests.integration.sweeps import TINY, call_moda, run_moda, sweep_in_process


@pytest.fixture(scope="module")
def sweep(swept):
    return read_sweep(DeltaStore(str(swept[0])), "tiny")


def test_every_trial_finished_with_its_whole_surface(swept, sweep):
    assert [one.status for one in sweep.trials] == ["finished"] * 4
    evaluation = sweep.config.evaluation
    grid = len(evaluation.taus) * len(evaluation.thresholds) + len(evaluation.levels) + len(evaluation.targets)
    assert len(sweep.points) == 4 * grid
    store = DeltaStore(str(swept[0]))
    events = store.read("trials", "tiny").to_pylist()
    assert sorted((row["number"], row["event"]) for row in events) == sorted(
        (number, event) for number in range(4) for event in ("proposed", "started", "finished")
    )
    assert store.read("epochs", "tiny").num_rows == 4
    for row in store.read("points", "tiny").to_pylist():
        assert 0 <= row["reuse_accuracy"] <= 1
        assert 0 < row["cut_size"] <= 1
        assert 0 <= row["cut_overlap"] <= row["cut_size"]
        assert row["reuse_accuracy_error"] > 0


def test_baselines_come_first_and_the_rest_are_the_searchers(sweep):
    coefficients = [one.coefficients for one in sweep.trials]
    assert coefficients[0] == {"alpha": 1.0, "beta": 1.0, "gamma": 0.3}
    assert coefficients[1] == {"alpha": 0.0, "beta": 0.0, "gamma": 0.0}
    config = load_config(TINY)
    problem = search_problem(config)
    keys = [problem.key(each) for each in coefficients[2:]]
    assert None not in keys  # in the space
    assert len(set(keys)) == len(keys) == 2


def test_the_front_is_tested_and_nothing_else_is(swept, sweep):
    assert {p.label for p in sweep.points if p.test is not None} == {p.label for p in sweep.front}


def test_what_it_printed(swept):
    printed = swept[1].stdout
    assert "sweep tiny" in printed
    assert "4 trials" in printed
    assert re.search(r"\[4/4\] trial \d finished", printed)
    assert "left" in printed
    assert "4 of 4 trials finished" in printed
    assert "best" in printed
    assert "knee" in printed
    assert "Traceback" not in swept[1].stderr


def test_files_are_the_weights_and_counts_and_no_optimiser(swept):
    names = sorted(file.name for file in (swept[0] / "trials" / "tiny-0002").iterdir())
    counts = ["contributions.safetensors", "counts-size.safetensors", "frequencies.safetensors"]
    assert names == [*counts, "weights.safetensors"]


def test_the_same_command_again_trains_nothing(swept):
    store = DeltaStore(str(swept[0]))
    before = {name: store.version(name) for name in ("sweeps", "trials", "epochs", "points")}
    done = call_moda("sweep", *TINY, storage=swept[0], WANDB_MODE="offline")
    assert done.returncode == 0
    assert "nothing to train" in done.stdout
    assert {name: store.version(name) for name in before} == before


def test_a_changed_part_under_the_same_name_is_refused(swept):
    done = call_moda("sweep", *TINY, "training.batch_size=32", storage=swept[0])
    assert done.returncode == 2
    assert "training.batch_size is 64, not 32" in done.stderr


def test_wandb_has_a_run_for_each_trial_and_one_for_the_sweep(swept):
    runs = sorted(folder.name for folder in (swept[0] / "wandb").glob("offline-run-*"))
    assert sorted(re.sub(r"offline-run-\d+_\d+-", "", name) for name in runs) == [
        "tiny",
        *(f"tiny-{number:04d}" for number in range(4)),
    ]
    (own,) = list((swept[0] / "wandb").glob("offline-run-*-tiny"))
    tables = list(own.rglob("*.table.json"))
    assert any("test_calibrated_reuse_accuracy" in file.read_text() for file in tables)
    assert list(own.rglob("*.plotly.json"))


def test_front_prints_a_table(swept):
    done = run_moda("front", "tiny", storage=swept[0])
    assert done.returncode == 0
    assert "test calibrated %" in done.stdout


def test_the_report_is_one_file_that_needs_no_network(swept, sweep, tmp_path):
    done = run_moda("report", "tiny", "--to", str(tmp_path / "r.html"), storage=swept[0])
    assert done.returncode == 0
    page = (tmp_path / "r.html").read_text()
    assert not re.search(r"""<(script|link|img)[^>]+(src|href)=["']https?:""", page)
    for point in sweep.front:
        assert point.label in page
    assert "tau 0.99, threshold 0.3" in page  # what hovering shows
    assert "level 0.05" in page
    assert "<h3>Over level (contribution)</h3>" in page
    assert "<h3>Over target size (size)</h3>" in page
    assert "standard training" in page


def test_pull_and_use_two_classes(swept, sweep, tmp_path):
    folder = tmp_path / "modules"
    done = run_moda("pull", "sweep:tiny/best", "--to", str(folder), storage=swept[0])
    assert done.returncode == 0, done.stderr
    difference = float(re.search(r"differ from the masked network's by ([\d.e+-]+) of", done.stdout).group(1))
    assert 0 <= difference < 1e-4
    module = load_modules(folder, classes=["3", "8"])
    images = torch.randint(0, 256, (7, 1, 8, 8), dtype=torch.uint8)
    assert module(module.preprocess(images)).shape == (7, 2)
    assert set(module.classify(images)) <= {"3", "8"}
    about = json.loads((folder / MANIFEST).read_text())["about"]
    point = sweep.find("best")
    assert {name: about[name] for name in point.choice.columns} == point.choice.columns
    assert about["trial"] == point.trial.trial_id
    assert about["test"]["reuse_accuracy"] == point.test["reuse_accuracy"]
    again = call_moda("pull", "tiny", "--to", str(folder), storage=swept[0])
    assert again.returncode == 2
    assert "is not empty" in again.stderr


def test_a_level_s_modules_are_what_its_point_says(swept, sweep, tmp_path):
    """Pulled by its name, and measured again from the files alone."""
    done = call_moda("pull", "sweep:tiny/0/0.1", "--to", str(tmp_path / "modules"), storage=swept[0])
    assert done.returncode == 0, done.stderr
    assert "trial 0, level 0.1," in done.stdout
    assert float(re.search(r"differ from the masked network's by ([\d.e+-]+) of", done.stdout).group(1)) < 1e-4
    assert (swept[0] / "modules" / "tiny-0000-level0.1" / MANIFEST).is_file()
    about = json.loads((tmp_path / "modules" / MANIFEST).read_text())["about"]
    assert (about["tau"], about["threshold"], about["level"]) == (None, None, 0.1)
    kept = [
        sum(one.numel() for one in load_modules(tmp_path / "modules", classes=[name]).parameters())
        for name in map(str, range(10))
    ]
    size = sum(kept) / len(kept) / about["full_parameters"]
    assert size == pytest.approx(sweep.find("0/0.1").metrics["cut_size"], rel=1e-9)


def test_modules_of_a_target_size_are_what_their_point_says(swept, sweep, tmp_path):
    point = sweep.find("0/size/0.2")
    assert point.choice.reaches_target(point.metrics["cut_size"])
    done = call_moda("pull", "sweep:tiny/0/size/0.2", "--to", str(tmp_path / "modules"), storage=swept[0])
    assert done.returncode == 0, done.stderr
    assert "trial 0, size target 0.2," in done.stdout
    assert (swept[0] / "modules" / "tiny-0000-size-target0.2" / MANIFEST).is_file()
    about = json.loads((tmp_path / "modules" / MANIFEST).read_text())["about"]
    assert (about["rule"], about["target"], about["level"]) == ("size", 0.2, None)
    kept = [
        sum(one.numel() for one in load_modules(tmp_path / "modules", classes=[name]).parameters())
        for name in map(str, range(10))
    ]
    size = sum(kept) / len(kept) / about["full_parameters"]
    assert size == pytest.approx(point.metrics["cut_size"], rel=1e-9)
    asked = "select count(*) as n from points where target = 0.2 and abs(cut_size / target - 1) <= 0.1"
    done = call_moda("query", "tiny", asked, "--format", "csv", storage=swept[0])
    assert int(done.stdout.split()[1]) >= 4


def test_a_level_of_a_trial_without_contributions_is_refused(own_swept, tmp_path):
    """As of trials from before they were kept."""
    (own_swept[0] / "trials" / "tiny-0001" / "contributions.safetensors").unlink()
    done = call_moda("pull", "sweep:tiny/1/0.3", "--to", str(tmp_path / "x"), storage=own_swept[0])
    assert done.returncode == 2
    assert "level 0.3: the trial has no counts of the rule contribution; choose by another one" in done.stderr
    done = call_moda("pull", "sweep:tiny/1/0.9/0.1", "--to", str(tmp_path / "y"), storage=own_swept[0])
    assert done.returncode == 0, done.stderr


def test_a_tampered_set_is_not_pulled(own_swept, tmp_path):
    storage, to = own_swept[0], tmp_path / "sets"
    to.mkdir()
    sweep = read_sweep(DeltaStore(str(storage)), "tiny")
    point = sweep.find("knee")
    arguments = ["pull", f"sweep:tiny/{point.label}", "--to"]
    assert call_moda(*arguments, str(to / "one"), storage=storage).returncode == 0
    weights = storage / "modules" / name_of(point) / "weights.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = call_moda(*arguments, str(to / "two"), storage=storage)
    assert done.returncode == 2
    assert "another sha256" in done.stderr
    assert [folder.name for folder in to.iterdir()] == ["one"]  # and nothing unfinished


def test_where_a_report_or_a_set_cannot_be_written(swept, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments in (
        ["report", "tiny", "--to", str(tmp_path)],
        ["report", "tiny", "--to", f"{tmp_path}/nowhere/r.html"],
        ["pull", "tiny", "--to", f"{tmp_path}/file/x"],
        ["pull", "tiny", "--to", str(tmp_path / "file")],
        ["pull", "tiny", "--to", str(swept[0] / "x")],
    ):
        done = call_moda(*arguments, storage=swept[0])
        assert done.returncode == 2, arguments
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


DIVERGING = ("experiment=digits", "sweep.trials=1", "training.learning_rate=1e20", "tracking=none")


@pytest.mark.slow
def test_a_sweep_whose_trials_all_diverge_says_so_and_fails(shared_ray, tmp_path):
    done = run_moda("sweep", *DIVERGING, storage=tmp_path, **shared_ray)
    assert done.returncode == 1
    assert "trial 0 diverged: the loss is nan after epoch" in done.stdout


def test_a_sweep_whose_trials_have_all_diverged_fails_again(tmp_path):
    sweep = sweep_in_process(*DIVERGING, storage=tmp_path)
    assert [trial.status for trial in sweep.trials] == ["diverged"]
    again = call_moda("sweep", *DIVERGING, storage=tmp_path)
    assert again.returncode == 1
    assert "nothing to train" in again.stdout
    assert f"moda sweep: sweep {sweep.sweep_id!r} has no points yet" in again.stderr
    train = call_moda("train", "training.learning_rate=1e20", "tracking=none", storage=tmp_path)
    assert train.returncode == 2
    assert "the training diverged: the loss is nan" in train.stderr


@pytest.mark.slow
def test_a_larger_budget_goes_on_where_the_smaller_ended(own_swept, shared_ray):
    done = run_moda("sweep", *TINY, "sweep.trials=5", "tracking=none", storage=own_swept[0], **shared_ray)
    assert done.returncode == 0, done.stderr
    assert "4 read from the tables" in done.stdout
    grown = read_sweep(DeltaStore(str(own_swept[0])), "tiny")
    assert [one.attempt for one in grown.trials] == [1] * 5
    assert identity(grown.config) == identity(load_config(TINY))
