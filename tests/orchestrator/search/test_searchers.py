"""The contract that every searcher keeps, and what those that look at nothing keep besides."""

import pyarrow as pa
import pytest

from orchestrator.search import SEARCHERS, make_searcher
from orchestrator.search.problem import History, Problem

SPACE = {
    "alpha": {"low": 0.01, "high": 10.0, "log": True},
    "momentum": {"low": 0.0, "high": 0.9},
    "epochs": {"low": 3, "high": 6, "integer": True},
    "width": {"low": 1, "high": 1024, "integer": True, "log": True},
}
PROBLEM = Problem(SPACE, {"tau": [0.5, 0.9]}, {"reuse_accuracy": "max", "cut_size": "min"}, seed=7)
LOOK_AT_NOTHING = ("random", "sobol")
NUMBERS = (0, 3, 5, 6)  # before and after a start that looks at nothing


def known() -> History:
    """A baseline outside the space, four trials inside, and one that diverged."""
    units = [(0.1, 0.2, 0.3, 0.4), (0.9, 0.1, 0.6, 0.2), (0.3, 0.8, 0.1, 0.9), (0.6, 0.5, 0.9, 0.6)]
    inside = [PROBLEM.from_unit(unit) for unit in units]
    trials = [{"status": "finished", **dict.fromkeys(SPACE), "alpha": 0.0}]
    trials += [{"status": "finished", **one} for one in inside]
    trials += [{"status": "diverged", **PROBLEM.from_unit([0.5] * 4)}]
    trials = [{"trial_id": f"t-{number}", "number": number, **one} for number, one in enumerate(trials)]
    points = [
        {**trial, "tau": tau, "reuse_accuracy": tau - 0.1 * index, "cut_size": 0.1 * index * tau}
        for index, trial in enumerate(trials[:5])
        for tau in (0.5, 0.9)
    ]
    return History(pa.Table.from_pylist(trials), pa.Table.from_pylist(points))


HISTORY = known()


@pytest.mark.parametrize("name", sorted(SEARCHERS))
class TestContract:
    def test_proposals_lie_in_the_space(self, name):
        searcher = make_searcher(name, PROBLEM)
        for number in NUMBERS:
            for history in (History(), HISTORY):
                found = searcher.propose(history, [], number)
                assert list(found) == list(SPACE)
                for key, one in SPACE.items():
                    assert one["low"] <= found[key] <= one["high"]
                assert isinstance(found["epochs"], int)
                assert isinstance(found["width"], int)

    def test_the_same_arguments_give_the_same_proposal(self, name):
        first, second = make_searcher(name, PROBLEM), make_searcher(name, PROBLEM)
        forward = [first.propose(HISTORY, [], number) for number in NUMBERS]
        backward = [second.propose(HISTORY, [], number) for number in reversed(NUMBERS)]
        assert forward == backward[::-1]

    def test_pending_trials_are_not_proposed_again(self, name):
        searcher = make_searcher(name, PROBLEM)
        pending = []
        for number in NUMBERS:
            pending.append(searcher.propose(HISTORY, pending, number))
        assert all(one not in pending[:index] for index, one in enumerate(pending))

    def test_seeds_differ(self, name):
        first, second = (make_searcher(name, Problem(SPACE, {}, PROBLEM.objectives, seed=seed)) for seed in (7, 8))
        assert first.propose(HISTORY, [], 0) != second.propose(HISTORY, [], 0)

    def test_choices_are_proposed_as_they_are_written(self, name):
        space = {"optimizer": {"choices": ["sgd", "adamw"]}, "alpha": SPACE["alpha"]}
        searcher = make_searcher(name, Problem(space, {}, PROBLEM.objectives))
        found = {searcher.propose(History(), [], number)["optimizer"] for number in range(8)}
        assert found == {"sgd", "adamw"}


def best_at_zero(problem):
    """Eight trials, three of them at 0, of which these are far better than the others."""
    shares = (0.0, 0.3, 0.0, 0.5, 0.7, 0.0, 0.9, 1.0)
    rows = []
    for number, share in enumerate(shares):
        coefficients = problem.from_unit([share, (number + 0.5) / len(shares)])
        for tau in (0.5, 0.9):
            metrics = {"reuse_accuracy": 0.9 - 0.3 * share - 0.01 * tau, "cut_size": 0.1 + 0.5 * share - 0.05 * tau}
            rows.append({"trial_id": f"t-{number}", **coefficients, "tau": tau, **metrics})
    states = {row["trial_id"]: {key: row[key] for key in ("trial_id", *problem.space)} for row in rows}
    trials = [{**state, "number": n, "status": "finished", "reason": None} for n, state in enumerate(states.values())]
    return History(pa.Table.from_pylist(trials), pa.Table.from_pylist(rows))


@pytest.mark.parametrize("name", sorted(SEARCHERS))
def test_a_zero_of_its_own_is_proposed_and_learned_from(name):
    space = {"alpha": {"low": 0.03, "high": 3.0, "log": True, "zero": True}, "momentum": SPACE["momentum"]}
    problem = Problem(space, {"tau": [0.5, 0.9]}, PROBLEM.objectives, seed=3)
    searcher, history = make_searcher(name, problem), best_at_zero(problem)
    looks = name not in LOOK_AT_NOTHING
    proposed = [searcher.propose(history, [], number)["alpha"] for number in range(8, 16 if looks else 72)]
    assert all(alpha == 0 or 0.03 <= alpha <= 3.0 for alpha in proposed)
    zeros = sum(alpha == 0 for alpha in proposed)
    assert zeros > 3 if looks else 6 <= zeros <= 19  # of 64 that look at nothing a fifth


@pytest.mark.parametrize("name", LOOK_AT_NOTHING)
class TestEvenness:
    def test_trials_differ_and_so_do_seeds(self, name):
        searcher = make_searcher(name, PROBLEM)
        other = make_searcher(name, Problem(SPACE, {}, PROBLEM.objectives, seed=8))
        alphas = {searcher.propose(HISTORY, [], number)["alpha"] for number in range(32)}
        assert len(alphas) == 32
        assert alphas.isdisjoint({other.propose(HISTORY, [], number)["alpha"] for number in range(32)})

    def test_a_logarithmic_dimension_is_even_in_the_logarithm(self, name):
        searcher = make_searcher(name, PROBLEM)
        alphas = [searcher.propose(HISTORY, [], number)["alpha"] for number in range(128)]
        decades = [sum(low <= alpha < 10 * low for alpha in alphas) for low in (0.01, 0.1, 1.0)]
        assert min(decades) > 25

    def test_a_logarithmic_integer_is_even_in_the_logarithm(self, name):
        searcher = make_searcher(name, PROBLEM)
        widths = sorted(searcher.propose(HISTORY, [], number)["width"] for number in range(128))
        assert 15 < widths[64] < 60  # the logarithmic middle is 27

    def test_every_integer_is_reached(self, name):
        searcher = make_searcher(name, PROBLEM)
        assert {searcher.propose(HISTORY, [], number)["epochs"] for number in range(64)} == {3, 4, 5, 6}


def test_unknown_searchers_and_empty_spaces_are_refused():
    with pytest.raises(ValueError, match=r"known: .*random, sobol"):
        make_searcher("grid", PROBLEM)
    with pytest.raises(ValueError, match="space is empty"):
        Problem({}, {}, PROBLEM.objectives)
