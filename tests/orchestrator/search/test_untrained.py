"""No searcher proposes coefficients that were begun already, whatever the dimensions, until the space is exhausted."""

import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.search import make_searcher
from orchestrator.search.problem import History, Problem, SpaceExhausted
from tests.orchestrator.search.by_name import ALL

FREE = {"level": [0.1, 0.2]}
OBJECTIVES = {"good": "max", "size": "min"}
STATUSES = ("finished", "finished", "diverged", "finished", "failed", "finished", "stopped", "started")
SPACES = {
    "text and whole numbers": {"a": {"choices": ["x", "y"]}, "k": {"low": -1.0, "high": 2.0, "integer": True}},
    "numbers of every type": {"a": {"choices": [0, 0.5, -3]}, "b": {"choices": [0.0, 5e-4]}, "c": {"choices": [4]}},
    "a logarithmic whole number": {"k": {"low": 1.0, "high": 7.0, "log": True, "integer": True}},
    "one value": {"k": {"low": 3, "high": 3, "integer": True}, "f": {"low": 0.5, "high": 0.5}},
}


def table(rows):
    return pa.table({name: [row.get(name) for row in rows] for name in dict.fromkeys(n for row in rows for n in row)})


def history(begun, statuses=STATUSES):
    """Of trials with these coefficients: tables, and the coefficients of those that are under way."""
    trials = [
        {"trial_id": f"t{number}", "number": number, "status": statuses[number % len(statuses)], **coefficients}
        for number, coefficients in enumerate(begun)
    ]
    points = [
        {
            **trial,
            "level": level,
            "good": math.sin(trial["number"]) - level,
            "size": math.cos(trial["number"]) ** 2 * (1 - level),
        }
        for trial in trials
        if trial["status"] == "finished"
        for level in FREE["level"]
    ]
    pending = [begun[trial["number"]] for trial in trials if trial["status"] == "started"]
    return History(table(trials), table(points)), pending


def check_is_in(space, coefficients):
    assert list(coefficients) == list(space)
    for name, dimension in space.items():
        value = coefficients[name]
        if "choices" in dimension:
            written = dimension["choices"][dimension["choices"].index(value)]
            assert type(value) is type(written)
        else:
            assert type(value) is (int if dimension.get("integer") else float)
            assert dimension["low"] <= value <= dimension["high"]


def propose_all(name, problem):
    """What a searcher proposes, one after the other, for as many trials as the space has sets."""
    begun = []
    while len(begun) < problem.size:
        begun.append(make_searcher(name, problem).propose(*history(begun), len(begun)))
        check_is_in(problem.space, begun[-1])
    with pytest.raises(SpaceExhausted, match=f"all {len(begun)} sets of coefficients of the space are trained"):
        make_searcher(name, problem).propose(*history(begun), len(begun))
    return begun


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", SPACES)
def test_a_space_is_proposed_whole_and_nothing_twice(name, kind):
    problem = Problem(SPACES[kind], FREE, OBJECTIVES, reference={"good": -2.0, "size": 1.5})
    begun = propose_all(name, problem)
    assert len({tuple(one.values()) for one in begun}) == len(begun)
    if len(begun) > 6:  # the same arguments give the same proposal, after the quasi-random start too
        again = make_searcher(name, problem).propose(*history(begun[:6]), 6)
        assert again == begun[6]


NUMBERS = st.integers(-4, 6) | st.sampled_from([-0.5, 0.0, 5e-4, 0.1, 2.5])
CHOICES = st.lists(NUMBERS, min_size=1, max_size=4, unique=True) | st.lists(
    st.sampled_from("abcd"), min_size=1, max_size=4, unique=True
)


@st.composite
def whole_numbers(draw):
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -5, 10))
    return {"low": float(low), "high": float(low + draw(st.integers(0, 5))), "log": log, "integer": True}


FINITE = st.dictionaries(st.sampled_from("abc"), CHOICES.map(lambda c: {"choices": c}) | whole_numbers(), min_size=1)


@settings(max_examples=25)
@given(space=FINITE, name=st.sampled_from(["random", "sobol"]), seed=st.integers(0, 9))
def test_any_space_of_choices_and_whole_numbers_is_proposed_whole(space, name, seed):
    problem = Problem(space, FREE, OBJECTIVES, seed=seed)
    begun = propose_all(name, problem)
    assert sorted(map(str, begun)) == sorted(str(problem.nth(index)) for index in range(len(begun)))


@given(space=FINITE)
def test_every_set_of_a_finite_space_has_a_number_a_key_and_a_place(space):
    problem = Problem(space, FREE, OBJECTIVES)
    every = [problem.nth(index) for index in range(int(problem.size))]
    assert len({problem.key(one) for one in every}) == len(every)
    assert [problem.from_unit(problem.to_unit(one)) for one in every] == every
    for one in every:
        check_is_in(space, one)


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_what_a_sequence_hardly_meets_is_proposed_too(name):
    """The largest whole numbers of a logarithmic scale have a small share of it."""
    problem = Problem({"k": {"low": 1, "high": 3000, "log": True, "integer": True}}, FREE, OBJECTIVES)
    begun = [{"k": value} for value in range(1, 3000)]
    assert make_searcher(name, problem).propose(*history(begun), 7) == {"k": 3000}


@pytest.mark.parametrize("name", ALL)
def test_numbers_with_a_point_are_not_proposed_again_either(name):
    """The dimension is so narrow that four digits tell its ends apart, and nothing between them."""
    problem = Problem({"a": {"low": 0.1, "high": 0.10001}}, FREE, OBJECTIVES, reference={"good": -2.0, "size": 1.5})
    begun = []
    for number in range(9):
        begun.append(make_searcher(name, problem).propose(*history(begun), number))
        check_is_in(problem.space, begun[-1])
    assert len({one["a"] for one in begun}) == 9


@pytest.mark.parametrize("name", ALL)
def test_a_dimension_too_narrow_for_another_number_is_exhausted(name):
    low, high = 1.0, math.nextafter(1.0, 2.0)
    problem = Problem({"a": {"low": low, "high": high, "log": True}}, FREE, OBJECTIVES)
    with pytest.raises(SpaceExhausted, match="too narrow"):
        make_searcher(name, problem).propose(*history([{"a": low}, {"a": high}]), 2)


@pytest.mark.parametrize("name", ALL)
def test_only_what_this_sweep_trained_is_trained(name):
    problem = Problem({"k": {"low": 1, "high": 2, "integer": True}}, FREE, OBJECTIVES)
    searcher = make_searcher(name, problem)
    earlier = [{"trial_id": f"e{k}", "number": k - 3, "status": "finished", "k": k} for k in (1, 2)]
    points = [{**trial, "level": 0.1, "good": 0.5, "size": 0.5} for trial in earlier]
    assert searcher.propose(History(table(earlier), table(points)), [], 0)["k"] in (1, 2)
    own, _ = history([{"k": 1}])
    assert searcher.propose(own, [], 1) == {"k": 2}
    assert searcher.propose(History(own.trials, own.points, trained={problem.key({"k": 2})}), [], 1) == {"k": 1}


@given(st.floats(1e-3, 1e3), st.floats(1e-9, 1e3), st.booleans(), st.floats(0, 1))
def test_numbers_stay_between_the_ends(low, width, log, unit):
    problem = Problem({"a": {"low": low, "high": low + width, "log": log}}, FREE, OBJECTIVES)
    coefficients = problem.from_unit([unit])
    check_is_in(problem.space, coefficients)
    assert problem.to_unit(coefficients) is not None


@pytest.mark.parametrize("name", ["status", "trial_id", "level", "good", "spare"])
def test_a_dimension_with_the_name_of_another_column_is_refused(name):
    with pytest.raises(ValueError, match=f"'{name}' is the name of another column"):
        Problem({name: {"low": 0, "high": 1}}, FREE, OBJECTIVES, constraints=["spare <= 1"])


def test_choices_that_are_the_same_are_refused():
    with pytest.raises(ValueError, match="must all be different"):
        Problem({"a": {"choices": [1, 1.0]}}, FREE, OBJECTIVES)
