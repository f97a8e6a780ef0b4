"""Dominance, hypervolume, contributions, knee and best against plain definitions."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.search.pareto import best, contributions, hypervolume, knee, on_front, ranks

INF = float("inf")
VALUES = st.integers(0, 16).map(lambda sixteenths: sixteenths / 16)  # exact, with many ties
POINTS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12)
ENDLESS = st.lists(st.tuples(*[st.sampled_from([-INF, 0.0, 0.25, 0.5, 2.0, INF])] * 3), max_size=12)
DIRECTIONS = st.tuples(st.sampled_from(["max", "min"]), st.sampled_from(["max", "min"]))
CALLS = {
    "on_front": on_front,
    "ranks": ranks,
    "knee": knee,
    "hypervolume": lambda points, directions: hypervolume(points, directions, [0.5] * len(directions)),
    "contributions": lambda points, directions: contributions(points, directions, [0.5] * len(directions)),
    "best": lambda points, directions: best(points, directions, [0.1] * len(points)),
}


@st.composite
def problems(draw, metrics=(1, 2, 3)):
    """Points on a coarse grid, directions, and a reference that some of the points are not better than."""
    count = draw(st.sampled_from(metrics))
    points = draw(st.lists(st.tuples(*[VALUES] * count), max_size=9))
    directions = draw(st.tuples(*[st.sampled_from(["max", "min"])] * count))
    return points, directions, [0.125 if one == "max" else 0.875 for one in directions]


def dominates(a, b, directions):
    better = [x >= y if d == "max" else x <= y for x, y, d in zip(a, b, directions, strict=True)]
    return all(better) and a != b


def volume(points, directions, reference):
    """Exact, for any number of metrics: the cells of the grid through all values that some point dominates."""
    turned = [[Fraction(-v if d == "max" else v) for v, d in zip(one, directions, strict=True)] for one in points]
    limit = [Fraction(-v if d == "max" else v) for v, d in zip(reference, directions, strict=True)]
    turned = [one for one in turned if all(x < r for x, r in zip(one, limit, strict=True))]
    axes = [sorted({one[m] for one in turned} | {limit[m]}) for m in range(len(limit))]
    cells = itertools.product(*(itertools.pairwise(axis) for axis in axes))
    return sum(
        math.prod((high - low for low, high in cell), start=Fraction(1))
        for cell in cells
        if any(all(x <= low for x, (low, _) in zip(one, cell, strict=True)) for one in turned)
    )


def sweep(points, directions, reference):
    """Front and hypervolume of two metrics by one sweep over the sorted points, exact."""
    sign = [-1 if one == "max" else 1 for one in directions]
    turned = sorted({(Fraction(x) * sign[0], Fraction(y) * sign[1]) for x, y in points})
    right, top = (Fraction(value) * one for value, one in zip(reference, sign, strict=True))
    front, total, least = set(), Fraction(0), None
    for x, y in turned:
        if least is None or y < least:
            least = y
            front.add((x * sign[0], y * sign[1]))
            if x < right and y < top:
                total, top = total + (right - x) * (top - y), y
    return [point in front for point in points], total


@given(problems(metrics=(2,)))
@settings(deadline=None)
def test_front_and_hypervolume_are_those_of_an_exact_sweep(problem):
    front, total = sweep(*problem)
    assert on_front(*problem[:2]).tolist() == front
    assert hypervolume(*problem) == pytest.approx(float(total), abs=1e-12)


@given(problems())
@settings(deadline=None)
def test_ranks_peel_one_front_after_another(problem):
    points, directions, _ = problem
    left, expected = set(range(len(points))), {}
    while left:
        front = {i for i in left if not any(dominates(points[j], points[i], directions) for j in left)}
        expected |= dict.fromkeys(front, max(expected.values(), default=-1) + 1)
        left -= front
    assert ranks(points, directions).tolist() == [expected[index] for index in range(len(points))]
    assert on_front(points, directions).tolist() == [expected[index] == 0 for index in range(len(points))]


@given(problems())
@settings(deadline=None)
def test_contributions_are_what_is_lost_without_a_point(problem):
    points, directions, reference = problem
    whole = volume(points, directions, reference)
    lost = [whole - volume([*points[:i], *points[i + 1 :]], directions, reference) for i in range(len(points))]
    found = contributions(points, directions, reference)
    assert hypervolume(*problem) == pytest.approx(float(whole), abs=1e-12)
    assert found.tolist() == pytest.approx([float(one) for one in lost], abs=1e-12)
    assert [one == 0 for one in lost] == [one <= 1e-12 for one in found]
    assert found.sum() <= float(whole) + 1e-12


def test_dominated_outside_and_equal_points_contribute_exactly_nothing():
    points = [(0.1, 0.5), (0.5, 0.1), (0.5, 0.1), (0.6, 0.6), (1.0, 0.0), (0.0, 2.0)]
    assert contributions(points, ["min", "min"], [1.0, 1.0]).tolist() == pytest.approx([0.4 * 0.5, 0, 0, 0, 0, 0])
    assert contributions([(0.25,), (0.5,), (2.0,)], ["min"], [1.0]).tolist() == [0.25, 0, 0]


@given(problems(), st.randoms())
@settings(deadline=None)
def test_order_and_duplicates_change_nothing(problem, random):
    points, directions, reference = problem
    order = [*range(len(points)), *range(min(1, len(points)))]
    random.shuffle(order)
    shuffled = [points[index] for index in order]
    assert hypervolume(shuffled, directions, reference) == pytest.approx(hypervolume(*problem), abs=1e-12)
    assert ranks(shuffled, directions).tolist() == ranks(points, directions)[order].tolist()
    expected = [0.0 if order.count(i) > 1 else contributions(*problem)[i] for i in order]
    assert contributions(shuffled, directions, reference).tolist() == pytest.approx(expected, abs=1e-12)


@given(problems(), st.data())
@settings(deadline=None)
def test_a_metric_and_its_direction_may_both_be_turned(problem, data):
    points, directions, reference = problem
    signs = data.draw(st.tuples(*[st.sampled_from([-1, 1])] * len(directions)))
    flipped = [tuple(v * s for v, s in zip(one, signs, strict=True)) for one in points]
    other = {"max": "min", "min": "max"}
    turned = [one if s > 0 else other[one] for one, s in zip(directions, signs, strict=True)]
    reversed_reference = [v * s for v, s in zip(reference, signs, strict=True)]
    assert ranks(flipped, turned).tolist() == ranks(points, directions).tolist()
    assert hypervolume(flipped, turned, reversed_reference) == hypervolume(*problem)
    assert contributions(flipped, turned, reversed_reference).tolist() == contributions(*problem).tolist()
    if points:
        assert knee(flipped, turned) == knee(points, directions)


@given(problems(), st.data())
@settings(deadline=None)
def test_hypervolume_grows_with_points(problem, data):
    points, directions, reference = problem
    more = data.draw(st.tuples(*[VALUES] * len(directions)))
    assert hypervolume([*points, more], directions, reference) >= hypervolume(*problem) - 1e-12


@given(ENDLESS)
@settings(deadline=None, max_examples=300)
def test_infinite_values_compare_as_such(points):
    directions = ("min", "max", "min")
    expected = [not any(dominates(other, one, directions) for other in points) for one in points]
    assert on_front(points, directions).tolist() == expected
    assert (ranks(points, directions) == 0).tolist() == expected
    if points:
        assert expected[knee(points, directions)]
        assert expected[best(points, directions, [INF] * len(points))]


@given(ENDLESS)
@settings(deadline=None, max_examples=300)
def test_an_infinitely_good_value_has_infinite_volume_and_an_infinitely_bad_one_none(points):
    directions, reference = ("min", "min", "min"), (1.0, 1.0, 1.0)
    inside = [one for one in points if max(one) < 1]
    found, lost = hypervolume(points, directions, reference), contributions(points, directions, reference)
    assert found == INF if -INF in itertools.chain(*inside) else math.isfinite(found)
    # Far away stands for infinity: what is exclusive to a point is more than any other can have, or the same as before.
    far = [tuple(max(value, -1e6) for value in one) for one in points]
    for near, one, infinite in zip(contributions(far, directions, reference), points, lost, strict=True):
        assert (infinite == INF) == (near > 1e4), one
        assert infinite == INF or infinite == pytest.approx(near, abs=1e-2)


@pytest.mark.parametrize("huge", [1e307, 1.7e308])
@pytest.mark.parametrize("metrics", [1, 2, 3, 4])
def test_huge_values_do_no_harm(huge, metrics):
    points = [[-huge] * metrics, [0.25] * metrics, [huge] * metrics]
    assert on_front(points, ["min"] * metrics).tolist() == [True, False, False]
    assert hypervolume(points, ["min"] * metrics, [0.5] * metrics) > 1e306
    assert contributions(points, ["min"] * metrics, [0.5] * metrics)[0] > 1e306
    assert contributions(points, ["min"] * metrics, [0.5] * metrics).tolist()[1:] == [0, 0]


@pytest.mark.parametrize("name", CALLS)
def test_nan_bad_directions_and_bad_shapes_are_refused(name):
    with pytest.raises(ValueError, match=r"points \[1\] hold NaN"):
        CALLS[name]([(0.1, 0.2), (float("nan"), 0.3)], ["max", "min"])
    with pytest.raises(ValueError, match=r"\['up'\]"):
        CALLS[name]([(1, 2)], ["up", "min"])
    with pytest.raises(ValueError, match="2 metrics"):
        CALLS[name]([(1, 2, 3)], ["max", "min"])


@pytest.mark.parametrize("reference", [[0.5], [0.5, INF], [0.5, float("nan")], [0.5, -1.7e308]])
def test_a_reference_must_be_finite_and_whole(reference):
    for call in (hypervolume, contributions):
        with pytest.raises(ValueError, match=r"reference .* must"):
            call([(0.1, 0.2)], ["max", "min"], reference)


def test_of_no_points():
    assert on_front([], ["max", "min"]).tolist() == []
    assert ranks([], ["max", "min"]).tolist() == []
    assert hypervolume([], ["max", "min"], [0, 1]) == 0
    assert contributions([], ["max", "min"], [0, 1]).tolist() == []
    with pytest.raises(ValueError, match="no points"):
        knee([], ["max", "min"])
    with pytest.raises(ValueError, match="no points"):
        best([], ["max", "min"], [])


@given(POINTS, DIRECTIONS)
@settings(deadline=None, max_examples=50)
def test_knee_and_best_lie_on_the_front(points, directions):
    front = on_front(points, directions)
    assert front[knee(points, directions)]
    assert front[best(points, directions, [0.1] * len(points))]


def test_the_knee_is_where_the_front_bends():
    points = [(0.5, 0.0), (0.9, 0.1), (0.95, 0.5), (1.0, 1.0)]
    assert knee(points, ["max", "min"]) == 1
    assert knee([(INF, 2.0), *points], ["max", "min"]) == 2


def test_best_is_the_smallest_within_one_standard_error_of_the_top():
    points = [(0.90, 0.05), (0.985, 0.2), (0.99, 0.4), (0.995, 0.9)]
    assert best(points, ["max", "min"], [0.01] * 4) == 1
    assert best(points, ["max", "min"], [0.006] * 4) == 2
    assert best(points, ["max", "min"], [0.0] * 4) == 3
    assert best(points, ["max", "min"], [INF] * 4) == 0
    assert best(points, ["max", "min"], [0.0] * 4, tolerance=0.006) == 2  # where that is more than the error
    assert best(points, ["max", "min"], [0.01] * 4, tolerance=0.006) == 1
    for wrong in (float("nan"), -0.1):
        with pytest.raises(ValueError, match=r"points \[2\] are not at least 0"):
            best(points, ["max", "min"], [0.1, 0.1, wrong, 0.1])
