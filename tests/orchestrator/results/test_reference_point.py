"""The reference values that follow from the first standard training: which they are, and that they stay."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from orchestrator.config.composing import override_config
from orchestrator.declarations import MARGIN
from orchestrator.results.records import canonical, claim_sweep, read_sweep
from orchestrator.results.reference_point import BaselineReference, record_reference, recorded_reference
from orchestrator.runs.confirming import Request, chosen_points, confirming
from orchestrator.runs.proposals import Proposals
from orchestrator.storage.delta import DeltaStore
from orchestrator.storage.schema import SCHEMA_VERSION
from orchestrator.views.page import render_report
from orchestrator.views.progress import Progress
from orchestrator.views.terminal import reference_text
from orchestrator.views.wandb_front import front_summary
from tests.orchestrator.results.test_records import NOW, event, point

STANDARD = {"alpha": 0.0, "beta": 0.0, "gamma": 0.0}
DECAYED = {**STANDARD, "weight_decay": 0.01}
MODULAR = {"alpha": 1.0, "beta": 1.0, "gamma": 0.3}
WHY = (
    "no standard training has finished, from which the reference value of calibrated_reuse_accuracy follows; let one"
    " finish, or state search.reference.calibrated_reuse_accuracy"
)
BOTH = dict.fromkeys(("reuse_accuracy", "calibrated_reuse_accuracy"), pytest.approx(0.9))


@pytest.fixture
def store(tmp_path):
    return DeltaStore(str(tmp_path))


@pytest.fixture
def swept(store, configured):
    """A sweep with one finished trial for each set of coefficients, with the whole network's accuracy each."""

    def make(*trained, overrides=()):
        config = configured("sweep.name=s", *overrides)
        claim_sweep(store, config, prefix="x", now=NOW)
        for number, (coefficients, baseline) in enumerate(trained):
            finish(store, number, coefficients, baseline)
        return read_sweep(store, "s")

    return make


def finish(store, number, coefficients, baseline):
    """Record a finished trial with two points."""
    rows = [
        {**point(number, 0.5, 0.97, 0.1), "reuse_baseline": baseline},
        {**point(number, 0.9, 0.93, 0.01), "reuse_baseline": baseline},
    ]
    store.append("points", rows)
    store.append("trials", [{**event(number, "finished", 1), "coefficients": canonical(coefficients)}])


def test_it_is_the_whole_network_of_the_first_standard_training_less_five_points(swept):
    sweep = swept((MODULAR, 0.99), (STANDARD, 0.95), (STANDARD, 0.5))
    assert sweep.reference == {"calibrated_reuse_accuracy": pytest.approx(0.90), "cut_size": 1.0}
    assert sweep.baseline_reference.trial_id == "s-1"
    # Of (0.97, a tenth) and (0.93, a hundredth): two rectangles of one decade each.
    assert sweep.hypervolume == pytest.approx((0.97 - 0.90) * 1 + (0.93 - 0.90) * 1)
    assert MARGIN == 0.05


def test_a_standard_training_with_weight_decay_counts(swept):
    assert swept((MODULAR, 0.99), (DECAYED, 0.96)).reference["calibrated_reuse_accuracy"] == pytest.approx(0.91)


def test_in_a_sweep_of_standard_training_it_is_the_first_training(swept):
    sweep = swept(({"weight_decay": 0.0}, 0.94), ({"weight_decay": 0.1}, 0.99), overrides=["method=standard"])
    assert sweep.reference["calibrated_reuse_accuracy"] == pytest.approx(0.89)


def test_of_several_draws_the_largest_says_how_good_the_whole_network_is(store, swept):
    sweep = swept((STANDARD, 0.95))
    few, many = (dataclasses.replace(one, metrics={**one.metrics, "reuse_images": images, "reuse_baseline": accuracy})
                 for one, images, accuracy in zip(sweep.points, (100, 400), (0.8, 0.9), strict=True))  # fmt: skip
    for points in ([few, many], [many, few]):
        assert dataclasses.replace(sweep, points=points).reference["calibrated_reuse_accuracy"] == pytest.approx(0.85)


def test_before_it_is_known_there_is_no_hypervolume_and_all_say_why(swept):
    sweep = swept((MODULAR, 0.99))
    assert (sweep.hypervolume, sweep.hypervolume_text) == (None, f"— ({WHY})")
    assert sweep.reference == {"calibrated_reuse_accuracy": None, "cut_size": 1.0}
    assert len(sweep.front) == 2  # which needs no reference point, nor do these
    assert {name for names in sweep.roles.values() for name in names} == {"best", "knee"}
    assert f"Hypervolume — ({WHY})" in render_report(sweep)
    assert front_summary(sweep) == {"front_points": 2}
    assert reference_text(sweep) == (
        "calibrated reuse accuracy (of the first standard training, less 5 points; not known yet),"
        " module size 100.0 % (on a logarithmic scale)"
    )


def test_where_it_is_known_all_say_what_it_is(swept):
    sweep = swept((MODULAR, 0.99), (STANDARD, 0.95))
    told = (
        "calibrated reuse accuracy 90.0 % (of trial 1, a standard training, less 5 points), module size 100.0 % (on a"
        " logarithmic scale)"
    )
    assert reference_text(sweep) == told
    report = render_report(sweep)
    assert "Hypervolume 0.1000: " in report
    assert f"up to the reference point: {told}." in report
    assert front_summary(sweep) == {
        "front_points": 2, "hypervolume": pytest.approx(0.1), "reference": sweep.reference,
    }  # fmt: skip
    console = Console(width=200, record=True, file=io.StringIO())
    progress = Progress(console)
    progress.begin(sweep.config, 0, lambda: sweep, budget=2)
    progress.end(sweep)
    printed = console.export_text()
    assert f"hypervolume up to the reference point {told}" in printed
    assert "2 points on the front, hypervolume 0.1000" in printed


def test_what_is_stated_wins_and_null_is_by_the_baseline(swept):
    sweep = swept((STANDARD, 0.95), overrides=["search.reference={calibrated_reuse_accuracy: 0.6, cut_size: 0.5}"])
    assert sweep.reference == {"calibrated_reuse_accuracy": 0.6, "cut_size": 0.5}
    assert reference_text(sweep) == "calibrated reuse accuracy 60.0 %, module size 50.0 % (on a logarithmic scale)"
    judged = dataclasses.replace(
        sweep, config=override_config(sweep.config, ["search.reference.calibrated_reuse_accuracy=null"])
    )
    assert judged.reference == {"calibrated_reuse_accuracy": pytest.approx(0.9), "cut_size": 0.5}


def test_accuracy_and_other_metrics_have_their_declared_values(swept):
    sweep = swept(
        (MODULAR, 0.99),
        overrides=[
            "search.objectives={cut_size: min, accuracy: max, cut_overlap: min}",
        ],
    )
    assert {name: sweep.reference[name] for name in ("accuracy", "cut_overlap")} == {
        "accuracy": 0.0,
        "cut_overlap": 1.0,
    }
    assert sweep.hypervolume is not None


def test_once_recorded_it_stays_whatever_finishes_later(store, swept):
    swept((MODULAR, 0.99))
    finish(store, 5, STANDARD, 0.95)
    proposals = Proposals(read_sweep(store, "s").config, "s", store)
    proposals.record_reference()
    assert recorded_reference(store, "s") == BaselineReference("s-5", BOTH)
    finish(store, 1, STANDARD, 0.7)  # an earlier number, but it finished later
    proposals.record_reference()
    sweep = read_sweep(store, "s")
    assert sweep.frozen.trial_id == "s-5"
    assert sweep.reference["calibrated_reuse_accuracy"] == pytest.approx(0.9)
    assert dataclasses.replace(sweep, frozen=None).reference["calibrated_reuse_accuracy"] == pytest.approx(0.65)


def test_the_first_of_two_writers_wins(store):
    for trial_id, value in (("s-1", 0.9), ("s-2", 0.8)):
        record_reference(store, "s", BaselineReference(trial_id, {"calibrated_reuse_accuracy": value}), NOW)
    assert recorded_reference(store, "s") == BaselineReference("s-1", {"calibrated_reuse_accuracy": 0.9})
    (row,) = store.read("reference_points", "s").to_pylist()
    assert (json.loads(row["reference_values"]), row["time"], row["schema_version"]) == (
        {"calibrated_reuse_accuracy": 0.9},
        NOW,
        SCHEMA_VERSION,
    )


def test_a_metric_that_is_newer_than_the_record_follows_from_the_same_training(store, swept):
    swept((STANDARD, 0.95))
    record_reference(store, "s", BaselineReference("s-0", {"another": 0.3}), NOW)
    assert read_sweep(store, "s").baseline_reference.values == {**BOTH, "another": 0.3}


def test_it_is_recorded_when_the_trial_ends_and_the_searcher_is_told(store, configured):
    config = configured("sweep.name=s", "search=optuna_tpe", "sweep.trials=6")
    claim_sweep(store, config, prefix="x", now=NOW)
    proposals = Proposals(config, "s", store)
    known = []
    for _ in range(5):  # the baselines, then a proposal of the searcher
        number, coefficients = proposals.next()
        store.append(
            "points", [{**point(number, 0.5, 0.97, 0.1), "trial_id": f"s-{number:04d}", "reuse_baseline": 0.95}]
        )
        ended = {**event(number, "finished", 1), "trial_id": f"s-{number:04d}", "coefficients": canonical(coefficients)}
        store.append("trials", [ended])
        proposals.over(number, coefficients)
        known.append(recorded_reference(store, "s") and recorded_reference(store, "s").trial_id)
    assert known == [None, *["s-0001"] * 4]  # the published coefficients come first
    assert proposals.problem.reference == {"calibrated_reuse_accuracy": pytest.approx(0.9), "cut_size": 1.0}
    assert proposals.problem.scales == {"calibrated_reuse_accuracy": "linear", "cut_size": "log"}


def test_a_confirmation_is_measured_at_the_reference_point_of_its_sweep(swept):
    parent = swept((MODULAR, 0.99), (STANDARD, 0.95))
    config = confirming(parent, chosen_points(parent, ["front"]), Request(seeds=2))
    assert config.search.reference == {"calibrated_reuse_accuracy": pytest.approx(0.9), "cut_size": 1.0}
