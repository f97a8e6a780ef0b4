"""How far chosen points held, and which sweep confirms them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.config.config import parse_config, to_plain
from orchestrator.config.identities import identity
from orchestrator.config.space import check_space
from orchestrator.errors import ConfigError
from orchestrator.results.confirmation import Confirmation, compare, confirmations
from orchestrator.results.records import canonical, claim_sweep, read_sweep, utc_now
from orchestrator.runs.confirming import Request, chosen_points, confirming
from orchestrator.runs.proposals import Proposals
from orchestrator.search import pareto
from orchestrator.storage.delta import DeltaStore
from orchestrator.views.confirmed import confirmation_lines, confirmation_rows
from tests.objectives import LINEAR
from tests.orchestrator.results.test_records import event, point

WAYS, REFERENCE = ("max", "min"), (0.0, 1.0)
TABLES = arrays(np.float64, st.tuples(st.integers(1, 9), st.just(2)), elements=st.integers(0, 20).map(lambda n: n / 20))


def hypervolume(values):
    return pareto.hypervolume(values, WAYS, REFERENCE)


def concordance(first, second):
    """Kendall's tau-b, by its definition."""
    signs = [
        [np.sign(one[i] - one[j]) for i in range(len(one)) for j in range(i)] for one in map(list, (first, second))
    ]
    scale = np.sqrt(np.abs(signs[0]).sum() * np.abs(signs[1]).sum())
    return None if scale == 0 else float(np.dot(*signs) / scale)


@given(TABLES)
def test_what_is_the_same_held(values):
    held = compare(values, values, WAYS, hypervolume)
    assert held.claimed == held.found == hypervolume(values)
    assert held.on_front == held.of == pareto.on_front(values, WAYS).sum()
    assert all(one is None or one == pytest.approx(1) for one in held.correlations)


@given(TABLES, st.data())
def test_ranks_and_the_front_by_their_definitions(claimed, data):
    found = data.draw(arrays(np.float64, claimed.shape, elements=st.integers(0, 20).map(lambda n: n / 20)))
    assume(len(claimed) > 1)
    held = compare(claimed, found, WAYS, hypervolume)
    assert held.correlations == [
        None if one is None else pytest.approx(one) for one in map(concordance, claimed.T, found.T)
    ]

    def beaten(one, others):
        return any(other[0] >= one[0] and other[1] <= one[1] and tuple(other) != tuple(one) for other in others)

    front = [index for index, one in enumerate(claimed) if not beaten(one, claimed)]
    still = [index for index in front if not beaten(found[index], found[front])]
    assert (held.on_front, held.of) == (len(still), len(front))


def test_nothing_to_compare():
    held = compare([], [], WAYS, hypervolume)
    assert (held.claimed, held.found, held.on_front, held.of) == (0.0, 0.0, 0, 0)
    assert held.correlations == [None, None]


@pytest.fixture
def store(tmp_path):
    return DeltaStore(str(tmp_path))


@pytest.fixture
def parent(store, configured):
    """Trials 0 and 1 share coefficients; the front is 0 at tau 0.9, 1 at 0.5 and 2 at 0.5."""
    claim_sweep(store, configured("sweep.name=s", "training.seed=5", *LINEAR), prefix="x", now=utc_now())
    rows = [{**event(n, "finished", 1), "coefficients": canonical({"alpha": n // 2})} for n in range(3)]
    store.append("trials", rows)
    store.append("points", [point(0, 0.9, 0.90, 0.1), point(1, 0.5, 0.94, 0.2), point(2, 0.5, 0.99, 0.4)])
    store.append("points", [point(2, 0.9, 0.5, 0.5)])
    return read_sweep(store, "s")


def test_a_confirmation_is_a_sweep_of_the_points_coefficients(parent):
    points = chosen_points(parent, ["front"])
    config = confirming(parent, points, Request(seeds=2, overrides=["training.epochs=200", "data.limit=null"]))
    assert config.search.baselines == ({"alpha": 0}, {"alpha": 1})
    assert (config.search.repeats, config.sweep.trials, config.training.seed) == (2, 4, 1005)
    assert (config.sweep.confirms, config.sweep.chosen) == ("s", ("0/0.9/0", "1/0.5/0", "2/0.5/0"))
    assert (config.training.epochs, config.data.limit) == (200, None)
    assert config.evaluation == parent.config.evaluation
    assert identity(parse_config(to_plain(config))) == identity(config)


def test_its_id_follows_from_the_sweep_the_points_and_the_overrides(parent):
    def name(*names, seeds=3, overrides=()):
        return confirming(parent, chosen_points(parent, names), Request(names, seeds, overrides)).sweep.name

    assert name("front").startswith("s-confirm-")
    assert name("front") == name("0/0.9/0", "1/0.5/0", "2/0.5/0") == name("front", "best")
    assert name("front") == name("front", overrides=["sweep.concurrency=1", "tracking=none"])
    assert name("best") == name("2/0.5/0")
    others = [name("best"), name("2/0.9/0"), name("front", seeds=2)]
    others += [name("front", overrides=[one]) for one in ("training.epochs=200", "training.seed=50")]
    assert len({name("front"), *others}) == 1 + len(others)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.alpha=2", "method.alpha=2: confirming trains the sweep's own coefficients"),
        ("search.space.alpha.low=0.5", "search and grid are as recorded"),
        ("sweep.name=mine", "it takes training., data., model."),
        ("data=cifar10", "confirming trains"),
        ("data.name=cifar10", "without data.name"),
        ("evaluation.taus=[0.5]", "evaluation.taus"),
        ("training.seed=4", "the sweep used seeds from 5 on; use other seeds"),
        ("training.epoch=3", "unknown key training.epoch "),
        ("training.epochs=0", "training.epochs=0: must be a whole number"),
        ("model.alpha=3", "every point of 's' has its own, it was searched"),
    ],
)
def test_overrides_that_would_change_the_search_are_refused(parent, override, message):
    with pytest.raises(ConfigError) as error:
        confirming(parent, parent.front, Request(overrides=[override]))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ("search.warm_start=[s]",),
        ("search.early_stopping=pareto_halving",),
        ("search=optuna_tpe", "search.objectives.flops=min", 'search.constraints=["accuracy >= 0.1"]'),
        ("search.repeats=2", "sweep.trials=4"),
        ("search.space.epochs={low: 2, high: 9, integer: true}",),
        ("search.space.optimizer={choices: [sgd, adamw]}", "search.baselines=[{alpha: 0.0}]"),
    ],
)
def test_a_confirmation_searches_nothing_whatever_its_parent_does(parent, store, configured, overrides):
    """Whatever the help says may be overridden can be, and what is trained is the chosen coefficients alone."""
    claim_sweep(store, configured("sweep.name=t", *overrides), prefix="x", now=utc_now())
    values = {"alpha": 1.0, "epochs": 3, "optimizer": "adamw"}
    own = {name: value for name, value in values.items() if name in configured(*overrides).search.space}
    trials = [{**event(number, "finished", 1), "coefficients": canonical(own), "sweep_id": "t"} for number in (0, 1)]
    store.append("trials", trials)
    store.append("points", [{**point(number, 0.5, 0.9, 0.2), "sweep_id": "t", "flops": 0.1} for number in (0, 1)])
    sweep = read_sweep(store, "t")
    for override in ("training.batch_size=32", "data.crop=1", "data.limit=900", "evaluation.pairs=50"):
        config = confirming(sweep, sweep.front, Request(seeds=2, overrides=[override]))
        check_space(config)
        assert (config.search.warm_start, config.search.early_stopping) == ((), "none")
        claim_sweep(store, config, prefix="x", now=utc_now())
        proposals = Proposals(config, config.sweep.name, store)
        assert (proposals.missing, proposals.exhausted) == (2, "")
        assert [proposals.next() for _ in range(2)] == [(0, own), (1, own)]


def test_the_id_of_a_confirmation_does_not_tell_how_its_parent_searched(parent):
    def name(**search):
        changed = dataclasses.replace(parent.config, search=dataclasses.replace(parent.config.search, **search))
        sweep = dataclasses.replace(parent, config=changed)
        return confirming(sweep, chosen_points(sweep, ["front"]), Request()).sweep.name

    assert name() == name(warm_start=("other",)) == name(early_stopping="pareto_halving")


def test_other_mistakes(parent, store, configured):
    with pytest.raises(ConfigError, match="--seeds 0: must be at least 1"):
        Request(seeds=0)
    with pytest.raises(ConfigError, match="no such point; use best, knee"):
        chosen_points(parent, ["9/0.5/0"])
    empty = claim_sweep(store, configured("sweep.name=t"), prefix="x", now=utc_now())
    with pytest.raises(ConfigError, match="'t' has no points yet; let a trial finish first"):
        chosen_points(read_sweep(store, empty), ["front"])
    lone = claim_sweep(store, configured("sweep.name=u", "search.space=null"), prefix="x", now=utc_now())
    with pytest.raises(ConfigError, match="'u' is a single training, not a search"):
        confirming(read_sweep(store, lone), [], Request())


def test_what_fresh_seeds_say_is_read_from_the_tables(parent, store):
    """Trial 2's lead was luck; of the second set one training is missing at first."""
    assert confirmations(store, parent) == []
    config = confirming(parent, chosen_points(parent, ["front"]), Request(seeds=2))
    child = claim_sweep(store, config, prefix="x", now=utc_now())

    def add(number, tau, reuse, size):
        own = {"sweep_id": child, "trial_id": f"{child}-{number}"}
        mark = {**event(number, "finished", 1), **own, "coefficients": canonical({"alpha": number // 2})}
        store.append("trials", [mark])
        test = {**point(number, tau, reuse - 0.1, size, "test"), **own}
        store.append("points", [{**point(number, tau, reuse, size), **own}, test])

    for number, reuse in ((0, 0.88), (1, 0.90)):
        add(number, 0.9, reuse, 0.1)
        add(number, 0.5, reuse + 0.05, 0.2)
    add(2, 0.5, 0.90, 0.4)
    (partly,) = confirmations(store, parent)
    assert [one.found is not None for one in partly.points] == [True, True, False]
    assert any("not finished" in row for row in confirmation_rows(partly))
    add(3, 0.5, 0.91, 0.4)
    whole = Confirmation(parent, read_sweep(store, child))
    assert [found.metrics["reuse_accuracy"] for _, found in whole.told] == pytest.approx([0.89, 0.94, 0.905])
    assert (whole.held.on_front, whole.held.of) == (2, 3)
    assert whole.held.correlations == [pytest.approx(1 / 3), pytest.approx(1)]
    assert parent.find("best").label == "2/0.5/0"
    assert whole.name("best").label == "1/0.5/0"
    lines = "\n".join(confirmation_lines(whole))
    assert "fresh seeds 1005 to 1006" in lines
    assert "2 of 3 points" in lines
    assert "best now: 1/0.5/0 (in the sweep: 2/0.5/0)" in lines
    row = next(row for row in confirmation_rows(whole) if row[1] == "2/0.5/0")
    assert row[4:] == ["99.0±2.0", "90.5±0.7", "-8.5", "no", "80.5±0.7"]
    lost, error = whole.points[2].lost("reuse_accuracy", "max")
    assert (lost, error) == (pytest.approx(0.085), pytest.approx((0.02**2 + 0.005**2 * 2 * 1.5) ** 0.5))
    assert "2 of 3 points held; 2/0.5/0 did not" in lines
    assert [one.has_held(whole.directions) for one in whole.points] == [True, True, False]
    assert whole.on_test == pytest.approx(
        pareto.hypervolume([[0.79, 0.1], [0.84, 0.2], [0.805, 0.4]], ("max", "min"), [0.5, 1.0])
    )
