"""Rungs: where they are, that they leave a training alone, and that the tables alone decide."""

import dataclasses
import math
from datetime import UTC, datetime

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.composing import load_config
from orchestrator.results import BaselineReference, NoTracker
from orchestrator.results.records import claim_sweep, history, read_sweep, trial_event
from orchestrator.runs.proposals import Proposals
from orchestrator.search import halving
from orchestrator.storage.delta import DeltaStore
from orchestrator.training import pace
from orchestrator.training import trial as trial_module
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import grid
from orchestrator.training.own_parts import with_own_parts
from orchestrator.training.rungs import Rung, rungs_of, verdict
from orchestrator.training.trial import Trial, run_trial
from orchestrator.views.page import render_report
from tests.defaults import THREE_COEFFICIENTS

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SMALL = (
    *THREE_COEFFICIENTS,
    "model=own",
    "model.name=tests.faults.nets:Faulty",
    "training.epochs=9",
    "data.limit=200",
    "evaluation.taus=[0.5,0.9]",
    "evaluation.thresholds=[0.0]",
    "evaluation.levels=[0.1]",
    "evaluation.targets=[]",
    "tracking=none",
    "sweep.name=s",
)
HALVING = "search.early_stopping=pareto_halving"
COEFFICIENTS = {"alpha": 0.5}
CONFIG = load_config([HALVING, "training.epochs=27", "search.reference.calibrated_reuse_accuracy=0.5"])
SEARCH = CONFIG.search


@pytest.fixture
def prepared(tmp_path):
    def make(*overrides, name="storage", coefficients=COEFFICIENTS):
        config = load_config([*SMALL, f"storage={tmp_path}/{name}", *overrides])
        store = DeltaStore(config.storage)
        claim_sweep(store, config, prefix="x", now=NOW)
        trial = Trial("s", 0, coefficients, config.with_coefficients(coefficients), config.storage)
        return trial, load_data(config.data), store

    return make


@pytest.fixture
def each_epoch(monkeypatch):
    """Every epoch is kept and reported, whatever time that takes."""
    monkeypatch.setattr(pace, "SHARE", 1.0)


@pytest.fixture
def no_epoch(monkeypatch):
    """Only those are that must be: the first and the last one, and those of rungs."""
    monkeypatch.setattr(pace, "SHARE", 1e-9)
    monkeypatch.setattr(pace, "LONGEST", 1e9)


def others(store, *, count, rung, fraction, epoch, reuse=1.0, size=0.001):
    """Surfaces of other trials at a rung."""
    at = {"rung": rung, "fraction": fraction, "epoch": epoch, "tau": 0.5, "threshold": 0.0}
    store.append(
        "rungs",
        [
            {
                "sweep_id": "s",
                "trial_id": f"s-{9000 + n}",
                **at,
                "reuse_accuracy": reuse - 1e-3 * n,
                "cut_size": size,
            }
            for n in range(count)
        ],
    )


def run(trial, data):
    reports = []
    run_trial(trial, data, report=reports.append)
    return [one["epoch"] for one in reports]


def same_file(name, *trials):
    """Whether trials have the same tensors to the bit."""
    first, second = (safetensors.torch.load_file(f"{one.root}/{one.file(name)}") for one in trials)
    return first.keys() == second.keys() and all(torch.equal(tensor, second[key]) for key, tensor in first.items())


@given(st.integers(1, 300), st.integers(2, 5), st.floats(0.01, 0.9))
def test_rungs_are_different_epochs_before_the_last_one(epochs, reduction, first):
    search = dataclasses.replace(SEARCH, reduction=reduction, first_rung=first)
    found = rungs_of(search, epochs)
    ends = [one.epoch for one in found]
    assert ends == sorted(set(ends))
    assert all(1 <= end < epochs for end in ends)
    places = halving.rungs(epochs, reduction, first)
    assert all(places[one.number - 1] == one.epoch for one in found)
    assert set(places) - {epochs} == set(ends)


def test_a_training_of_another_length_has_the_same_fractions():
    assert rungs_of(SEARCH, 27) == [Rung(1, 0.111111, 3), Rung(2, 0.333333, 9)]
    assert rungs_of(SEARCH, 90) == [Rung(1, 0.111111, 10), Rung(2, 0.333333, 30)]
    assert rungs_of(SEARCH, 3) == [Rung(1, 0.111111, 1)]  # the second one is there too
    assert rungs_of(SEARCH, 1) == []
    assert rungs_of(dataclasses.replace(SEARCH, early_stopping="none"), 27) == []
    shifted = dataclasses.replace(SEARCH, first_rung=1 / 3)
    assert {one.fraction for one in rungs_of(shifted, 27)} == {0.333333}  # compared with the others' second rung


values = st.tuples(st.sampled_from([0.4, 0.6, 0.8, 0.9]), st.sampled_from([0.05, 0.2, 0.5]))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcdefgh"), st.lists(values, max_size=4), min_size=1))
def test_the_verdict_is_the_rules_of_the_rows_at_that_fraction(surfaces):
    def row(name, one, fraction=0.111111):
        return {"trial_id": name, "fraction": fraction, "calibrated_reuse_accuracy": one[0], "cut_size": one[1]}

    rows = [row(name, one) for name, points in surfaces.items() for one in points]
    empty = [row(name, (math.nan, 0.01)) for name in surfaces] + [row(name, (None, 0.01)) for name in surfaces]
    elsewhere = [row("a", (1.0, 0.0), fraction=0.333333), row("z", (1.0, 0.0), fraction=0.333333)]
    arrays = {
        name: np.array([(reuse, np.log10(size)) for reuse, size in points]).reshape(-1, 2)
        for name, points in surfaces.items()
    }
    for name in surfaces:
        reason = verdict([*elsewhere, *rows, *empty], name, Rung(1, 0.111111, 3), CONFIG)
        options = {"reference": [0.5, 0.0]}  # the logarithm of 1
        assert (reason is None) == halving.keeps(arrays, name, ["max", "min"], reduction=3, **options)
        if reason is not None:
            rank = 1 + halving.ranking(arrays, ["max", "min"], **options).index(name)
            best = math.ceil(len(surfaces) / 3)
            assert (
                reason == f"stopped at epoch 3 of 27: rank {rank} of {len(surfaces)} at rung 1, the best {best} go on"
            )


def test_before_the_baseline_is_known_the_worst_value_there_is_the_reference():
    """Of four trials two go on. d is the worst in both; c adds most, then a by ratios of size (b by differences)."""
    config = load_config([HALVING, "training.epochs=27"])
    points = {"a": (0.4, 0.01), "b": (0.9, 0.2), "c": (0.8, 0.1), "d": (0.3, 0.5)}
    rows = [
        {"trial_id": name, "fraction": 0.111111, "calibrated_reuse_accuracy": reuse, "cut_size": size}
        for name, (reuse, size) in points.items()
    ]

    def goes_on(name, baseline=None):
        return verdict(rows, name, Rung(1, 0.111111, 3), config, baseline) is None

    assert [name for name in points if goes_on(name)] == ["a", "c"]
    known = BaselineReference("baseline", {"calibrated_reuse_accuracy": 0.85})
    assert [name for name in points if goes_on(name, known)] == ["a", "b"]  # only b is within it; a is the next by name


def test_a_metric_of_ones_own_stands_in_the_column_of_own_ones():
    """Of three trials one goes on: c has the fewest units at the same accuracy."""
    metric = "evaluation.metrics=[tests.seams.toy_metric:FirstUnits]"
    config = with_own_parts(
        load_config(
            [
                HALVING,
                "training.epochs=27",
                metric,
                *(f"search.objectives.{way}" for way in ("accuracy=max", "first_units=min")),
            ]
        )
    )
    rows = [
        {"trial_id": name, "fraction": 0.111111, "calibrated_reuse_accuracy": 0.9, "cut_size": 0.1, "accuracy": 0.9}
        | {"own": [("first_units", units)]}
        for name, units in {"a": 9.0, "b": 8.0, "c": 4.0}.items()
    ]
    known = BaselineReference("baseline", {"calibrated_reuse_accuracy": 0.85})
    reasons = {name: verdict(rows, name, Rung(1, 0.111111, 3), config, known) for name in "abc"}
    assert reasons["c"] is None
    assert all("the best 1 go on" in reasons[name] for name in "ab")


def test_a_trial_with_rungs_has_the_weights_and_points_of_one_without(prepared, each_epoch):
    """To the bit, with dropout, batch norm and every unit watched."""
    trial, data, store = prepared(HALVING)
    assert run(trial, data) == list(range(1, 10))
    rows = store.read("rungs", "s").to_pylist()
    assert sorted({(row["rung"], row["epoch"]) for row in rows}) == [(1, 1), (2, 3)]
    assert len(rows) == 2 * len(grid(trial.config.evaluation))
    plain, _, other = prepared(name="plain")
    run(plain, data)
    assert other.read("rungs").num_rows == 0
    for name in ("weights.safetensors", "frequencies.safetensors", "contributions.safetensors"):
        assert same_file(name, trial, plain)
    points = [sorted(one.read("points").to_pylist(), key=repr) for one in (store, other)]
    assert points[0] == points[1]


def test_a_trial_that_others_beat_is_stopped(prepared, each_epoch):
    trial, data, store = prepared(HALVING)
    others(store, count=3, rung=2, fraction=0.333333, epoch=3)
    assert run(trial, data) == [1, 2]
    sweep = read_sweep(store, "s")
    (state,) = sweep.trials
    assert (state.status, state.is_over) == ("stopped", True)
    assert state.reason == "stopped at epoch 3 of 9: rank 4 of 4 at rung 2, the best 2 go on"
    assert state.seconds > 0
    assert state.evaluation_seconds > 0
    assert store.read("epochs").num_rows == 3
    assert store.read("points").num_rows == 0
    assert not trial_module.Files(trial.root).exists(trial.file("checkpoint.pt"))
    assert run(trial, data) == []  # once more changes nothing
    assert len(store.read("trials")) == 2
    assert state.reason in render_report(sweep)
    assert "0 of 1 trials finished, 1 stopped early" in render_report(sweep)


def test_searchers_see_a_stopped_trial_and_no_points_of_it(prepared):
    trial, data, store = prepared(HALVING, "sweep.trials=1")
    others(store, count=3, rung=1, fraction=0.111111, epoch=1)
    run(trial, data)
    known = history(read_sweep(store, "s"))
    assert known.trials["status"].to_pylist() == ["stopped"]
    assert known.points.num_rows == 0
    assert Proposals(trial.config, "s", store).missing == 0


def test_a_finished_trial_stays_finished_whatever_a_second_driver_judges(prepared):
    trial, _, store = prepared()
    for event, attempt in (("finished", 1), ("stopped", 2)):
        store.append("trials", [trial_event("s", trial, event, attempt=attempt, now=NOW)])
    assert read_sweep(store, "s").trials[0].status == "finished"


def test_a_baseline_is_never_stopped(prepared):
    coefficients = {"alpha": 0.0, "beta": 0.0, "gamma": 0.0}
    trial, data, store = prepared(HALVING, "training.epochs=4", coefficients=coefficients)
    others(store, count=5, rung=1, fraction=0.111111, epoch=1)
    run(trial, data)
    assert read_sweep(store, "s").trials[0].status == "finished"
    assert len({row["trial_id"] for row in store.read("rungs").to_pylist()}) == 6  # the others are judged against it


@pytest.mark.parametrize("beaten", [False, True])
def test_a_trial_that_dies_at_its_rung_is_judged_again_from_the_tables(prepared, monkeypatch, beaten):
    trial, data, store = prepared(HALVING, "training.epochs=4")

    def crash(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(trial_module.Files, "write", crash)
        with pytest.raises(OSError, match="disk full"):
            run(trial, data)
    before = store.read("rungs").to_pylist()
    assert {row["epoch"] for row in before} == {1}
    if beaten:
        others(store, count=3, rung=1, fraction=0.111111, epoch=1)
    run(trial, data)
    mine = [row for row in store.read("rungs").to_pylist() if row["trial_id"] == trial.trial_id]
    assert sorted((row for row in mine if row["epoch"] == 1), key=repr) == sorted(before, key=repr)
    state = read_sweep(store, "s").trials[0]
    assert (state.status, state.attempt) == ("stopped" if beaten else "finished", 2)
    if not beaten:
        plain, _, _ = prepared("training.epochs=4", name="plain")
        run(plain, data)
        assert same_file("weights.safetensors", trial, plain)


def test_a_trial_that_dies_after_its_rung_is_not_judged_there_again(prepared, no_epoch):
    """By then others may be there that would stop it."""
    trial, data, store = prepared(HALVING)
    reported = []

    def report(metrics):
        reported.append(metrics["epoch"])
        if reported == [1, 3]:
            raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        run_trial(trial, data, report=report)
    others(store, count=3, rung=2, fraction=0.333333, epoch=3)
    run_trial(trial, data, report=report)
    assert reported == [1, 3, 4, 9]  # what goes on begins with an epoch that is kept
    assert read_sweep(store, "s").trials[0].status == "finished"


def test_a_stopped_trials_run_does_not_say_that_it_finished(prepared):
    summaries = []

    class Tracker(NoTracker):
        def finish(self, summary, *, failed=False):
            summaries.append((summary, failed))

    trial, data, store = prepared(HALVING)
    others(store, count=3, rung=1, fraction=0.111111, epoch=1)
    run_trial(trial, data, report=lambda _: None, track=Tracker)
    assert summaries == [({"status": "stopped"}, False)]
