"""The contract that every searcher keeps."""

import pyarrow as pa
import pytest

from orchestrator.search import SEARCHERS, History, Problem, make_searcher

SPACE = {
    "alpha": {"low": 0.01, "high": 10.0, "log": True},
    "momentum": {"low": 0.0, "high": 0.9},
    "epochs": {"low": 3, "high": 6, "integer": True},
    "width": {"low": 1, "high": 1024, "integer": True, "log": True},
}
PROBLEM = Problem(SPACE, {"tau": [0.5, 0.9]}, {"reuse_accuracy": "max", "module_size": "min"}, seed=7)
HISTORY = History(
    pa.table({"trial_id": ["t-0"], "number": [0], "status": ["finished"], "alpha": [1.0]}),
    pa.table({"trial_id": ["t-0"], "alpha": [1.0], "tau": [0.9], "reuse_accuracy": [0.9], "module_size": [0.1]}),
)


@pytest.mark.parametrize("name", sorted(SEARCHERS))
class TestContract:
    def test_proposals_lie_in_the_space(self, name):
        searcher = make_searcher(name, PROBLEM)
        for number in range(64):
            found = searcher.propose(HISTORY, [], number)
            assert list(found) == list(SPACE)
            for key, one in SPACE.items():
                assert one["low"] <= found[key] <= one["high"]
            assert isinstance(found["epochs"], int)

    def test_the_same_arguments_give_the_same_proposal(self, name):
        first, second = make_searcher(name, PROBLEM), make_searcher(name, PROBLEM)
        forward = [first.propose(HISTORY, [], number) for number in range(8)]
        backward = [second.propose(HISTORY, [], number) for number in reversed(range(8))]
        assert forward == backward[::-1]

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
        assert all(isinstance(width, int) for width in widths)
        assert 15 < widths[64] < 60  # the logarithmic middle is 27

    def test_every_integer_is_reached(self, name):
        searcher = make_searcher(name, PROBLEM)
        assert {searcher.propose(HISTORY, [], number)["epochs"] for number in range(64)} == {3, 4, 5, 6}


def test_unknown_searchers_and_empty_spaces_are_refused():
    with pytest.raises(ValueError, match="known: random, sobol"):
        make_searcher("grid", PROBLEM)
    with pytest.raises(ValueError, match="space is empty"):
        Problem({}, {}, PROBLEM.objectives)
