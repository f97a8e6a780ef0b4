"""The known fronts of the benchmark's problems: evaluated densely, they have the stated hypervolume, and no more."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.pareto import hypervolume
from tests.benchmarks.search_problems import PROBLEMS, KnownProblem

LINE = np.linspace(0, 1, 4001).tolist()
SQUARE = list(itertools.product(np.linspace(0, 1, 61).tolist(), repeat=2))
UNIT = st.floats(0, 1)


def zdt_front(problem: KnownProblem):
    return [dict.fromkeys(problem.names, 0.0) | {"x0": first} for first in LINE]


def dtlz2_front(problem: KnownProblem):
    middle = dict.fromkeys(problem.names, 0.5)
    if problem.objectives == 2:
        return [middle | {"x0": first} for first in LINE]
    return [middle | {"x0": first, "x1": second} for first, second in SQUARE]


def tau_front(problem: KnownProblem):
    return [{"a": place, "b": 0.3 + 0.4 * place, "c": 0.7 - 0.4 * place, "t": place} for place in LINE]


FRONTS = {
    "zdt1": zdt_front,
    "zdt2": zdt_front,
    "zdt3": zdt_front,
    "dtlz2_2": dtlz2_front,
    "dtlz2_3": dtlz2_front,
    "tau_6": tau_front,
    "tau_21": tau_front,
}


def share(problem: KnownProblem, points) -> float:
    values = [problem.evaluate(point) for point in points]
    return hypervolume(values, ["min"] * problem.objectives, [1.1] * problem.objectives) / problem.hypervolume


@pytest.mark.parametrize("name", list(PROBLEMS))
class TestProblems:
    def test_a_dense_front_has_the_stated_hypervolume(self, name):
        least = 0.97 if PROBLEMS[name].objectives == 3 else 0.999  # a surface takes more points than a line
        assert least < share(PROBLEMS[name], FRONTS[name](PROBLEMS[name])) <= 1 + 1e-6

    def test_nothing_has_more(self, name):
        problem = PROBLEMS[name]
        generator = np.random.default_rng(0)
        points = [
            dict(zip((*problem.names, *problem.free), row, strict=True))
            for row in generator.random((2000, len(problem.names) + len(problem.free))).tolist()
        ]
        assert share(problem, [*points, *FRONTS[name](problem)]) <= 1 + 1e-6

    def test_twenty_points_of_the_front_stay_below_the_best_twenty(self, name):
        problem = PROBLEMS[name]
        if problem.best_of_20 is not None:
            chosen = FRONTS[name](problem)[::210]
            assert len(chosen) == 20
            assert 0.9 * problem.best_of_20 < share(problem, chosen) * problem.hypervolume <= problem.best_of_20 + 1e-5


@given(a=UNIT, b=UNIT, c=UNIT, t=UNIT)
def test_the_tau_problem_is_beyond_the_unit_circle_and_on_it_at_its_best(a, b, c, t):
    evaluate = PROBLEMS["tau_6"].evaluate
    place = (a + t) / 2
    assert np.hypot(*evaluate({"a": a, "b": b, "c": c, "t": t})) >= 1 - 1e-12
    best = evaluate({"a": a, "b": 0.3 + 0.4 * place, "c": 0.7 - 0.4 * place, "t": t})
    assert best == pytest.approx((np.cos(np.pi / 2 * place), np.sin(np.pi / 2 * place)))


@given(st.lists(UNIT, min_size=5, max_size=5))
def test_dtlz2_lies_on_a_sphere(values):
    problem = PROBLEMS["dtlz2_3"]
    found = problem.evaluate(dict(zip(problem.names, values, strict=True)))
    assert np.linalg.norm(found) == pytest.approx(1 + sum((one - 0.5) ** 2 for one in values[2:]))
    # The order of the definition: x0 alone decides between the last objective and the others.
    assert found[2] == pytest.approx(np.linalg.norm(found) * np.sin(np.pi / 2 * values[0]))
