"""Warm start: whose trials count, as what, and which are refused."""

from datetime import UTC, datetime

import pytest

from orchestrator.errors import ConfigError
from orchestrator.results.records import canonical, claim_sweep, history, read_sweep
from orchestrator.runs.proposals import Proposals
from orchestrator.runs.warm_start import earlier_points
from orchestrator.search import make_searcher
from orchestrator.search.problem import History
from orchestrator.storage.delta import DeltaStore
from tests.defaults import THREE_COEFFICIENTS

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TEXT = "search.space.optimizer={choices: [sgd, adamw]}"
RATE = "search.space.learning_rate={low: 0.01, high: 0.5}"


@pytest.fixture
def configured(configured):
    """Of sweeps over alpha, beta and gamma."""
    return lambda *overrides: configured(*THREE_COEFFICIENTS, *overrides)


@pytest.fixture
def store(tmp_path):
    return DeltaStore(str(tmp_path))


def trial(sweep_id, number, event="finished", **coefficients):
    return {
        "sweep_id": sweep_id,
        "trial_id": f"{sweep_id}-{number:04d}",
        "number": number,
        "attempt": 1,
        "event": event,
        "time": NOW,
        "coefficients": canonical({"alpha": 1.0, "beta": 1.0, "gamma": 0.1 + number, **coefficients}),
    }


def point(sweep_id, number, tau=0.5):
    return {
        "sweep_id": sweep_id,
        "trial_id": f"{sweep_id}-{number:04d}",
        "tau": tau,
        "threshold": 0.0,
        "split": "validation",
        "accuracy": 0.9,
        "reuse_accuracy": 0.9 - 0.1 * number,
        "cut_size": tau / (1 + number),
    }


@pytest.fixture
def past(store, configured):
    """Two sweeps: of 3 trials, one of which diverged, and of one whose optimiser was searched."""
    claim_sweep(store, configured("sweep.name=a", "training.epochs=3", "data.limit=500"), prefix="x", now=NOW)
    store.append("trials", [trial("a", 0), trial("a", 1, "diverged"), trial("a", 2)])
    store.append("points", [point("a", n, tau) for n in (0, 1, 2) for tau in (0.5, 0.9)])
    claim_sweep(store, configured("sweep.name=b", TEXT), prefix="x", now=NOW)
    store.append("trials", [trial("b", 0, optimizer="adamw")])
    store.append("points", [point("b", 0)])
    claim_sweep(store, configured("sweep.name=t", "data.validation_fraction=0"), prefix="x", now=NOW)
    return store


def test_earlier_trials_come_first_in_the_searcher_s_history_and_nowhere_else(past, configured):
    config = configured("sweep.name=c", "search.warm_start=[a, b]", TEXT, RATE, "search=optuna_tpe")
    claim_sweep(past, config, prefix="x", now=NOW)
    past.append("trials", [trial("c", 0, optimizer="sgd", learning_rate=0.2)])
    past.append("points", [{**point("c", 0), "flops": 0.3}])
    proposals = Proposals(config, "c", past)
    known = history(proposals.sweep(), proposals.earlier)
    assert known.trials["trial_id"].to_pylist() == ["a-0000", "a-0002", "b-0000", "c-0000"]
    assert known.trials["number"].to_pylist() == [-3, -2, -1, 0]
    assert known.points["trial_id"].to_pylist() == ["a-0000", "a-0000", "a-0002", "a-0002", "b-0000", "c-0000"]
    # What a trial did not search has the value that it was trained with.
    assert known.trials["optimizer"].to_pylist() == ["sgd", "sgd", "adamw", "sgd"]
    assert known.trials["learning_rate"].to_pylist() == [0.1, 0.1, 0.1, 0.2]
    assert known.points["flops"].to_pylist() == [None] * 5 + [0.3]  # a column that only some points have
    assert {one.trial.trial_id for one in proposals.sweep().points} == {"c-0000"}
    assert proposals.next()[0] == 1  # numbers go on from this sweep's own


def test_a_warm_start_takes_the_place_of_the_quasi_random_start(past, configured):
    config = configured("sweep.name=c", "search.warm_start=[b, a]", "search=optuna_tpe", TEXT)
    claim_sweep(past, config, prefix="x", now=NOW)
    proposals = Proposals(config, "c", past)
    known = history(proposals.sweep(), proposals.earlier)
    sobol = make_searcher("sobol", proposals.searcher.problem)
    propose = proposals.searcher.propose
    assert propose(known, [], 0) == sobol.propose(known, [], 0)  # three trials are known, the start is five
    assert propose(known, [], 2) != sobol.propose(known, [], 2)
    assert propose(History(), [], 2) == sobol.propose(known, [], 2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["search.warm_start=[z]"], r"search.warm_start: sweep 'z' is not in the storage; it holds \['a', 'b', 't'\]"),
        (["search.warm_start=[a]", "sweep.name=a"], "'a' is this sweep itself"),
        (["search.warm_start=[a, a]"], "must be different sweeps"),
        (["search.warm_start=[a]", "model.hidden=[32]"], r"trial 0 of 'a'.*model.hidden is \[64\], not \[32\]"),
        (["search.warm_start=[a]", "data.classes=[1, 2]"], "data.classes is None"),
        (["search.warm_start=[a]", "training.learning_rate=0.2"], "learning_rate is 0.1, not 0.2; leave its sweep out"),
        (["search.warm_start=[b]"], "optimizer is 'adamw', not 'sgd'.*or search that key"),
        (["search.warm_start=[t]"], r"'t' was measured on test alone \(data.validation_fraction=0\), .*; leave it out"),
    ],
)
def test_what_is_of_another_kind_is_refused_with_a_diff(past, configured, overrides, message):
    with pytest.raises(ConfigError, match=message):
        earlier_points(configured(*overrides), "a" if "sweep.name=a" in overrides else "c", past)


def test_how_much_was_trained_may_differ(past, configured):
    config = configured("search.warm_start=[a]", "training.seed=4", "data.seed=2", "evaluation.taus=[0.9]")
    assert len(earlier_points(config, "c", past)) == 4


def test_a_warm_start_is_no_part_of_what_a_sweep_is(past, configured):
    plain = claim_sweep(past, configured(), prefix="x", now=NOW)
    assert claim_sweep(past, configured("search.warm_start=[a]"), prefix="x", now=NOW) == plain
    assert read_sweep(past, plain).config.search.warm_start == ()
