"""A trial that is interrupted anywhere, or whose tracking fails, ends with the same rows."""

import dataclasses
from datetime import UTC, datetime

import pytest
import torch
import wandb
import wandb.errors

from moda_core import choosing, count_contributions
from moda_core.measuring import sizes_and_overlaps
from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.errors import ConfigError
from orchestrator.results import NoTracker
from orchestrator.results.records import claim_sweep, read_sweep
from orchestrator.runs.proposals import Proposals
from orchestrator.runs.tracked import run_tracked
from orchestrator.search.problem import History
from orchestrator.storage.delta import DeltaStore
from orchestrator.training import trial as trial_module
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import accuracy, choose
from orchestrator.training.trial import Trial, check_trainable, load_trained, run_trial
from orchestrator.training.weights import dump_weights

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LEVELS = ("evaluation.levels=[0.1,0.5]", "evaluation.targets=[]")
SMALL = ("training.epochs=2", "data.limit=200", "evaluation.taus=[0.9]", *LEVELS, "sweep.name=s", "sweep.trials=4")


@pytest.fixture
def prepared(tmp_path):
    def make(*overrides):
        config = load_config([*SMALL, f"storage={tmp_path}", *overrides])
        store = DeltaStore(str(tmp_path))
        claim_sweep(store, config, prefix="x", now=NOW)
        return Trial("s", 0, {"alpha": 1.0}, config, str(tmp_path)), load_data(config.data), store

    return make


def events(store):
    rows = store.read("trials", "s").to_pylist()
    return sorted((row["attempt"], row["event"]) for row in rows)


@pytest.mark.parametrize("step", ["prepare", "dump_weights", "dump_counts", "measure", "_keyed"])
def test_a_crash_after_the_last_epoch_loses_nothing(prepared, monkeypatch, step):
    trial, data, store = prepared("tracking=none")

    def crash(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(trial_module, step, crash)
        with pytest.raises(OSError, match="disk full"):
            run_trial(trial, data, report=lambda _: None)
    assert read_sweep(store, "s").trials[0].reason == "OSError: disk full"
    reports = []
    run_trial(trial, data, report=reports.append)
    assert reports == []  # no epoch was trained again
    sweep = read_sweep(store, "s")
    assert sweep.trials[0].status == "finished"
    assert sweep.trials[0].seconds > 0
    assert store.read("epochs", "s").num_rows == 2
    assert len(sweep.points) == 4 + 2
    assert events(store) == [(1, "failed"), (1, "started"), (2, "finished"), (2, "started")]
    assert not (trial_module.Files(trial.root).exists(trial.file("checkpoint.pt")))
    run_trial(trial, data, report=reports.append)  # once more changes nothing
    assert len(events(store)) == 4


class BrokenRun:
    id = "s-0000"
    dir = "nowhere/files"
    offline = False
    starting_step = 0
    url = None

    def __init__(self, at):
        self.at = at
        self.summary = {}

    def define_metric(self, *_, **__):
        pass

    def log(self, values, **_):
        if self.at in values or self.at == "log":
            raise wandb.errors.CommError("connection lost")

    def finish(self, **_):
        if self.at == "finish":
            raise RuntimeError("no service")


@pytest.mark.parametrize("at", ["log", "points", "finish"])
def test_a_tracker_that_fails_never_stops_a_training(prepared, monkeypatch, caplog, at):
    trial, data, store = prepared("tracking=wandb")
    monkeypatch.setattr(wandb, "init", lambda **_: BrokenRun(at))
    run_tracked(trial, data, report=lambda _: None)
    assert events(store) == [(1, "finished"), (1, "started")]
    assert caplog.text.count("W&B failed") == 1


def test_a_tracker_that_cannot_start_is_said(prepared, monkeypatch, caplog):
    trial, data, store = prepared("tracking=wandb")
    monkeypatch.setenv("WANDB_MODE", "sideways")
    run_tracked(trial, data, report=lambda _: None)
    assert events(store) == [(1, "finished"), (1, "started")]
    assert "W&B could not be started" in caplog.text


def test_a_diverged_trial_is_recorded_and_not_tried_again(prepared):
    trial, data, store = prepared("tracking=none", "training.learning_rate=1e20")
    run_trial(trial, data, report=lambda _: None)
    run_trial(trial, data, report=lambda _: None)
    assert events(store) == [(1, "diverged"), (1, "started")]
    assert "the loss is" in read_sweep(store, "s").trials[0].reason


@pytest.mark.parametrize("fault", [2, 5])
def test_memory_that_runs_out_is_recorded_and_raised_to_be_tried_again(prepared, fault):
    model = ("model=own", "model.name=tests.faults.nets:Faulty", f"model.fault={fault}")
    trial, data, store = prepared("tracking=none", *model)
    with pytest.raises((MemoryError, torch.cuda.OutOfMemoryError)):
        run_trial(trial, data, report=lambda _: None)
    assert events(store) == [(1, "failed"), (1, "started")]
    reason = {
        2: "MemoryError: no memory for the gradient",
        5: "OutOfMemoryError: CUDA out of memory. Tried to allocate 1 TiB",
    }
    assert read_sweep(store, "s").trials[0].reason == reason[fault]


@pytest.mark.parametrize("kind", ["TwoNames", "Views"])
def test_a_network_whose_tensors_have_several_names_is_trained_resumed_and_read(prepared, kind):
    trial, data, store = prepared(
        "tracking=none", "model=own", f"model.name=tests.orchestrator.training.test_dry_run:{kind}"
    )
    check_trainable(trial.config, data)
    epochs = []

    def stop(row):
        epochs.append(row["epoch"])
        if len(epochs) == 1:
            raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        run_trial(trial, data, report=stop)
    run_trial(trial, data, report=stop)
    assert epochs == [1, 2]
    (point, *_) = read_sweep(store, "s").points
    trained = load_trained(trial, data)
    assert accuracy(trained.network, data.validation) == point.metrics["accuracy"]
    assert dump_weights(trained.network) == trial_module.Files(trial.root).read(trial.file(trial_module.WEIGHTS))


def test_levels_and_target_sizes_share_one_pass_and_points_are_chosen_again_from_the_files(prepared, monkeypatch):
    trial, data, store = prepared("tracking=none", "evaluation.targets=[0.3,0.1]")
    passes = []

    def counting(*arguments, **options):
        passes.append(options["num_classes"])
        return count_contributions(*arguments, **options)

    monkeypatch.setattr(choosing, "count_contributions", counting)
    run_trial(trial, data, report=lambda _: None)
    assert len(passes) == 1
    points = [point for point in read_sweep(store, "s").points if point.choice.rule == "size"]
    assert [point.choice for point in points] == [Choice.size(0.1), Choice.size(0.3)]
    assert all(point.choice.reaches_target(point.metrics["cut_size"]) for point in points)
    trained = load_trained(trial, data, [Choice.size(0.3)])
    assert list(trained.rules) == ["size"]
    for point in points:
        chosen = choose(trained, point.choice, trial.config.evaluation)
        assert sizes_and_overlaps(chosen.graph, chosen.units).cut_size == point.metrics["cut_size"]
    with pytest.raises(ConfigError, match=r"level 0\.1: the trial has no counts of the rule contribution"):
        choose(trained, Choice.contribution(0.1), trial.config.evaluation)


class Shown(NoTracker):
    """Remembers what it was shown."""

    def __init__(self):
        self.tables, self.summary = {}, {}

    def table(self, name, columns, rows):
        self.tables[name] = rows(lambda _: "")

    def finish(self, summary, *, failed=False):
        self.summary = summary


@pytest.mark.parametrize(("fraction", "prefix", "split"), [(0.2, "", "validation"), (0, "test_", "test")])
def test_a_tracker_is_told_which_images_points_were_measured_on(prepared, fraction, prefix, split):
    trial, data, store = prepared("tracking=none", f"data.validation_fraction={fraction}")
    shown = Shown()
    run_trial(trial, data, report=lambda _: None, track=lambda: shown)
    assert list(shown.tables) == [f"{prefix}points"]
    assert {row["split"] for row in shown.tables[f"{prefix}points"]} == {split}
    assert shown.summary[f"{prefix}accuracy"] == shown.tables[f"{prefix}points"][0]["accuracy"]
    assert shown.summary["status"] == "finished"
    assert ("best/cut_size" in shown.summary) == bool(fraction)  # nothing is chosen on test images
    assert {row["split"] for row in store.read("points", "s").to_pylist()} == {split}


def test_two_drivers_at_once_propose_the_same_trials(prepared):
    trial, _, store = prepared("tracking=none", "search.baselines=[]")
    other = prepared("tracking=none", "search.baselines=[]", "search=random")[0]
    first, second = (Proposals(one.config, "s", store) for one in (trial, other))
    assert [first.next() for _ in range(4)] == [second.next() for _ in range(4)]


def test_the_order_in_which_a_space_is_written_changes_nothing(prepared):
    def proposed(names):
        trial, _, store = prepared("tracking=none", "search.baselines=[]")
        space = {name: trial.config.search.space[name] for name in names}
        search = dataclasses.replace(trial.config.search, space=space)
        config = dataclasses.replace(trial.config, search=search)
        return Proposals(config, f"s-{names[0]}", store).searcher.propose(History(), [], 3)

    assert proposed(["alpha", "beta", "gamma"]) == proposed(["gamma", "alpha", "beta"])
