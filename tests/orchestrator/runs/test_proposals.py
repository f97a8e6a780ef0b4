"""What a sweep still has to train: nothing twice, and no more than its space holds."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from orchestrator.errors import RunError
from orchestrator.results.records import canonical, claim_sweep, history
from orchestrator.runs import tuning
from orchestrator.runs.capacity import Node
from orchestrator.runs.interrupts import Interrupt
from orchestrator.runs.proposals import Proposals
from orchestrator.runs.time_limit import TimeLimit
from orchestrator.search.problem import SpaceExhausted
from orchestrator.storage.delta import DeltaStore
from tests.clock import Clock
from tests.defaults import NO_SPACE

NOW = datetime(2026, 1, 2, tzinfo=UTC)
EPOCHS = "search.space={epochs: {low: 1, high: 3, integer: true}, optimizer: {choices: [sgd, adamw]}}"
ONLY = (*NO_SPACE, EPOCHS, "sweep.name=s", "sweep.trials=40")
LOOK_AT_NOTHING = ("search=sobol", "search.baselines=[]")


@pytest.fixture
def store(tmp_path):
    return DeltaStore(str(tmp_path / "storage"))


@pytest.fixture
def proposals(store, configured):
    """Of a sweep over three numbers of epochs and two optimisers."""

    def make(*overrides):
        config = configured(*ONLY, *LOOK_AT_NOTHING, *overrides)
        claim_sweep(store, config, prefix="x", now=NOW)
        return Proposals(config, "s", store)

    return make


def event(number, event, coefficients, attempt=1):
    return {
        "sweep_id": "s",
        "trial_id": f"s-{number:04d}",
        "number": number,
        "attempt": attempt,
        "event": event,
        "time": NOW,
        "coefficients": canonical(coefficients),
    }


def train(store, proposals, status="finished"):
    """All that is proposed, one after the other, each ending in the same way; the budget that is left then."""
    begun = []
    while len(begun) < proposals.missing:
        number, coefficients = proposals.next()
        store.append("trials", [event(number, status, coefficients)])
        proposals.over(number, coefficients)
        begun.append(coefficients)
    return begun


def test_a_sweep_ends_when_its_space_is_exhausted(store, proposals):
    first = proposals()
    assert (first.missing, first.budget) == (6, 6)
    begun = train(store, first)
    assert len({canonical(one) for one in begun}) == 6
    assert {(type(one["epochs"]), type(one["optimizer"])) for one in begun} == {(int, str)}
    with pytest.raises(SpaceExhausted):
        first.next()
    again = proposals()
    assert (again.missing, again.budget) == (0, 6)
    assert again.exhausted.startswith("all 6 sets of coefficients of the space are trained; ")
    assert "6 of sweep.trials=40" in again.exhausted


@pytest.mark.parametrize("status", ["failed", "diverged", "stopped", "started"])
def test_trials_that_were_begun_are_not_proposed_again(store, proposals, status):
    begun = train(store, proposals(), status)
    assert len({canonical(one) for one in begun}) == 6
    again = proposals()
    assert again.missing == (6 if status in ("failed", "started") else 0)
    assert [again.next()[0] for _ in range(again.missing)] == list(range(again.missing))
    with pytest.raises(SpaceExhausted):
        again.next()


def test_as_many_trials_as_were_asked_for_where_the_space_has_more(store, proposals):
    found = proposals("sweep.trials=4")
    assert (found.missing, found.budget, found.exhausted) == (4, 4, "")
    assert len(train(store, found)) == 4
    assert len(train(store, proposals("sweep.trials=5"))) == 1


def test_each_set_is_trained_as_often_as_is_asked(store, proposals):
    found = proposals("search.repeats=3", "sweep.trials=17")
    assert (found.missing, found.exhausted) == (17, "")
    found = proposals("search.repeats=3")
    assert (found.missing, found.budget) == (18, 18)
    begun = train(store, found)
    assert [begun[place] for place in range(18)] == [begun[place // 3 * 3] for place in range(18)]
    assert len({canonical(one) for one in begun}) == 6


def test_baselines_are_trained_and_what_they_cover_is_not_proposed(store, proposals):
    """The first is in the space, the second by the configured epochs and optimiser, the third has another rate."""
    baselines = "[{epochs: 1, optimizer: adamw}, {alpha: 1.0}, {epochs: 2, optimizer: sgd, learning_rate: 0.01}]"
    found = proposals(f"search.baselines={baselines}", "training.epochs=3", "method.alpha=1.0")
    assert found.budget == 3 + 4
    begun = train(store, found)
    assert sorted((one["epochs"], one["optimizer"]) for one in begun[3:]) == [
        (1, "sgd"), (2, "adamw"), (2, "sgd"), (3, "adamw"),
    ]  # fmt: skip
    with pytest.raises(SpaceExhausted):
        found.next()


def test_two_drivers_share_what_is_left(store, proposals):
    first, second = proposals(), proposals()
    begun = [(first.next(), second.next()) for _ in range(6)]
    assert all(mine == theirs for mine, theirs in begun)
    assert len({canonical(coefficients) for (_, coefficients), _ in begun}) == 6
    for proposals in (first, second):
        with pytest.raises(SpaceExhausted):
            proposals.next()
        assert proposals.budget == 6


NAMES = ("tau", "threshold", "level", "accuracy", "number", "status", "trial_id", "reason")


@pytest.mark.parametrize("search", ["curve", "optuna_tpe"])
def test_a_searcher_learns_of_dimensions_whatever_their_names(store, configured, search):
    """A network's options may be called as columns of the tables are: the proposals are those of other names."""

    def proposed(names, sweep_id):
        space = ", ".join(f"{name}: {{low: 0.0, high: 1.0}}" for name in names)
        config = configured(
            *NO_SPACE, f"search.space={{{space}}}", f"sweep.name={sweep_id}", f"search={search}", "search.baselines=[]",
            "sweep.trials=30", "model=own", "model.name=tests.orchestrator.runs.test_proposals:network",
            "evaluation.taus=[0.5, 0.9]", "evaluation.thresholds=[0]", "evaluation.levels=[]", "evaluation.targets=[]",
        )  # fmt: skip
        claim_sweep(store, config, prefix="x", now=NOW)
        for number in range(12):
            coefficients = {name: round((number * (3 + place) % 13) / 13, 3) for place, name in enumerate(names)}
            key = {"sweep_id": sweep_id, "trial_id": f"{sweep_id}-{number:04d}"}
            store.append("trials", [{**event(number, "finished", coefficients), **key}])
            metrics = {
                "accuracy": 0.9,
                "reuse_accuracy": next(iter(coefficients.values())),
                "cut_size": 0.1 + number / 20,
            }
            rows = [{**key, "tau": tau, "threshold": 0.0, "split": "validation", **metrics} for tau in (0.5, 0.9)]
            store.append("points", rows)
        proposals = Proposals(config, sweep_id, store)
        known = history(proposals.sweep())
        assert set(known.points["tau"].to_pylist()) == {0.5, 0.9}
        assert known.trials["number"].to_pylist() == list(range(12))
        return list(proposals.next()[1].values())

    plain = [f"a{place}" for place in range(len(NAMES))]
    assert proposed(sorted(NAMES), "own") == proposed(plain, "plain")


@pytest.fixture
def cores():
    """How many a node has, and how many of them are free."""
    return {"has": 4.0, "free": 4.0}


@pytest.fixture
def adapter(monkeypatch, cores):
    """Gives Tune as many trials as a node holds."""
    monkeypatch.setattr(tuning, "nodes_of_cluster", lambda: [Node("a", {"CPU": cores["has"]}, {"CPU": cores["free"]})])
    return lambda proposed, clock: tuning._TuneAdapter(proposed, TimeLimit(proposed.config.sweep.hours, clock), clock)


def start(tune, *names):
    """Tune says that it has started trials."""
    for name in names:
        tune.waiting.on_trial_start(0, [], SimpleNamespace(trial_id=name))


def test_no_trial_is_begun_when_the_time_is_over(store, proposals, adapter):
    clock, proposed = Clock(), proposals("sweep.hours=0.5")
    tune = adapter(proposed, clock)
    assert [tune.suggest(f"t{number}")["number"] for number in range(3)] == [0, 1, 2]
    start(tune, "t0", "t1", "t2")
    clock.now += 1799
    assert tune.suggest("t3")["number"] == 3
    clock.now += 1
    assert tune.suggest("t4") == tune.FINISHED
    assert proposed.exhausted == (
        "sweep.hours=0.5: the time is over, and 4 of 40 trials were begun; the same command goes on, with as many hours"
        " again"
    )
    for number in range(3):
        store.append("trials", [event(number, "finished", proposed.sweep().trials[number].coefficients)])
        tune.on_trial_complete(f"t{number}")
    with pytest.raises(RunError, match=r"the sweep is not over: \['trial 3 is proposed'\]"):
        tuning._check_over(proposed, Interrupt())
    store.append("trials", [event(3, "finished", proposed.sweep().trials[3].coefficients)])
    tuning._check_over(proposed, Interrupt())


def test_as_many_trials_as_have_room_start_beside_each_other_and_one_more_waits(proposals, adapter, cores):
    """Another program holds two of a node's six cores."""
    cores.update(has=6.0, free=4.0)
    clock = Clock()
    tune = adapter(proposals(), clock)
    names = [f"t{number}" for number in range(7)]
    given = [tune.suggest(name) for name in names[:5]]
    assert [trial and trial["number"] for trial in given] == [0, 1, 2, 3, None]
    cores["free"] = 0.0
    clock.now += 3
    assert tune.suggest("t4") is None  # the four hold their places while their processes start
    start(tune, *names[:4])
    assert tune.suggest("t4")["number"] == 4
    assert tune.suggest("t5") is None
    cores["free"] = 2.0  # the other program has ended
    clock.now += 3
    assert tune.suggest("t5")["number"] == 5
    assert tune.suggest("t6") is None  # six are what the node holds


def test_nothing_is_proposed_while_a_trial_that_died_waits_for_a_place(proposals, adapter, cores):
    """Tune would give a place that becomes free to the trial that was proposed last."""
    clock = Clock()
    tune = adapter(proposals(), clock)
    for name in ("t0", "t1"):
        tune.suggest(name)
        start(tune, name)
    tune.waiting.on_trial_recover(0, [], SimpleNamespace(trial_id="t0"))
    cores["free"] = 0.0
    clock.now += 3
    assert tune.suggest("t2") is None
    start(tune, "t0")
    assert tune.suggest("t2")["number"] == 2
    tune.waiting.on_trial_recover(0, [], SimpleNamespace(trial_id="t0"))
    assert tune.suggest("t3") is None
    tune.on_trial_complete("t0", error=True)
    tune.on_trial_complete("t2", error=True)  # before it ever started
    assert tune.suggest("t3")["number"] == 3


def test_what_was_in_flight_waits_for_the_next_command_if_the_time_is_over(store, proposals, adapter):
    first = proposals()
    for _ in range(3):
        first.next()
    clock, again = Clock(), proposals("sweep.hours=1")
    tune = adapter(again, clock)
    assert tune.suggest("t0")["number"] == 0
    clock.now += 3600
    assert tune.suggest("t1") == tune.FINISHED
    store.append("trials", [event(0, "finished", again.sweep().trials[0].coefficients)])
    tuning._check_over(again, Interrupt())
    later = proposals("sweep.hours=1")  # has hours of its own, and is no other sweep
    assert [later.next()[0] for _ in range(2)] == [1, 2]
    assert later.exhausted != again.exhausted
