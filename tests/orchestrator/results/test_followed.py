"""A sweep that is followed is at each look what a whole read gives."""

import random
from datetime import UTC, datetime

import pytest

from orchestrator.errors import ConfigError
from orchestrator.results import FollowedSweep, canonical, claim_sweep, read_sweep
from orchestrator.results.reference_point import BaselineReference, record_reference
from orchestrator.storage import DeltaStore

REFERENCE = ("search.reference.calibrated_reuse_accuracy=0.5",)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    return DeltaStore(str(tmp_path))


def event(number, name, attempt=1):
    key = {"sweep_id": "s", "trial_id": f"s-{number}", "number": number, "attempt": attempt, "event": name}
    return {**key, "time": NOW, "coefficients": canonical({"alpha": 1.0 + number})}


def point(number, tau, split="validation", stage="cut"):
    choice = {"rule": "activity", "rule_parameters": canonical({"tau": tau, "threshold": 0.0}), "tau": tau}
    key = {"sweep_id": "s", "trial_id": f"s-{number}", "threshold": 0.0, "split": split, "stage": stage, **choice}
    return {**key, "reuse_accuracy": 0.9, "calibrated_reuse_accuracy": 0.9, "cut_size": tau}


STEPS = [
    ("trials", [event(1, "proposed", 0), event(0, "proposed", 0)]),
    ("trials", [event(0, "started"), event(1, "started")]),
    ("points", [point(0, 0.9), point(0, 0.5), point(0, 0.5, stage="refit")]),
    ("trials", [event(0, "finished"), event(1, "failed")]),
    ("points", [point(1, 0.5)]),
    ("trials", [event(1, "started", 2), event(1, "finished", 2), event(2, "proposed", 0)]),
    ("points", [point(0, 0.9, "test")]),
    ("trials", [event(0, "failed", 3)]),
]


def test_it_is_what_a_whole_read_gives(store, configured):
    followed = FollowedSweep(store, "s")
    assert followed.states() == []
    with pytest.raises(ConfigError, match="'s' is not in the storage"):
        followed.read()
    claim_sweep(store, configured("sweep.name=s"), prefix="x", now=NOW)
    counts = []
    for table, rows in STEPS:
        store.append(table, rows)
        whole = read_sweep(store, "s")
        assert followed.states() == whole.trials
        assert followed.read() == whole
        counts.append((len(whole.points), len(whole.staged)))
    assert counts == [(0, 0), (0, 0), (0, 0), (2, 1), (2, 1), (3, 1), (3, 1), (3, 1)]
    assert [point.test is not None for point in followed.read().points] == [False, True, False]
    store.compact("points", "s")
    assert followed.read() == FollowedSweep(store, "s").read() == read_sweep(store, "s")


def test_reference_values_are_read_until_there_are_some(store, configured):
    followed = FollowedSweep(store, "s")
    claim_sweep(store, configured("sweep.name=s"), prefix="x", now=NOW)
    assert followed.reference() is None
    reference = BaselineReference("s-0", {"calibrated_reuse_accuracy": 0.85})
    record_reference(store, "s", reference, NOW)
    assert followed.reference() == followed.read().frozen == reference


def test_the_front_and_the_hypervolume_are_those_of_all_points(store, configured):
    """Trials that end in any order, with equal points, points that dominate earlier ones, and test metrics later."""
    draw = random.Random(0)
    config = configured("sweep.name=s", *REFERENCE)
    claim_sweep(store, config, prefix="x", now=NOW)
    followed = FollowedSweep(store, "s")
    sizes, tested = [], 0
    for number in draw.sample(range(8), 8):
        store.append("points", [drawn(number, tau, draw) for tau in (0.5, 0.7, 0.9)])
        store.append("trials", [event(number, "finished")])
        if number % 3 == 0:
            best = read_sweep(store, "s").front[0]
            store.append("points", [point(best.trial.number, best.choice.values["tau"], "test")])
        whole, sweep = read_sweep(store, "s"), followed.read_front(config)
        assert sweep.front == whole.front
        assert sweep.hypervolume == whole.hypervolume
        assert sweep.trials == whole.trials
        sizes.append(len(sweep.points))
        tested += sum(point.test is not None for point in sweep.front)
    assert max(sizes) < len(whole.points) == 24
    assert len(whole.front) > 1
    assert tested > 0


def drawn(number, tau, draw):
    """A point of coarse values, so that some are equal."""
    reuse = draw.choice([0.6, 0.7, 0.8, 0.9])
    values = {"reuse_accuracy": reuse, "calibrated_reuse_accuracy": reuse, "cut_size": draw.choice([0.1, 0.2, 0.4])}
    return {**point(number, tau), **values}
