"""Dominance, hypervolume, knee and best against plain definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.pareto import best, hypervolume, knee, on_front

VALUES = st.floats(0, 1, width=16)
POINTS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12)
DIRECTIONS = st.tuples(st.sampled_from(["max", "min"]), st.sampled_from(["max", "min"]))


def dominates(a, b, directions):
    better = [x >= y if d == "max" else x <= y for x, y, d in zip(a, b, directions, strict=True)]
    return all(better) and a != b


@given(POINTS, DIRECTIONS)
def test_the_front_is_what_nobody_dominates(points, directions):
    expected = [not any(dominates(other, one, directions) for other in points) for one in points]
    assert on_front(points, directions).tolist() == expected


def area(points, reference):
    """Two-objective hypervolume (less is better) by sweeping: an oracle that shares nothing with the library."""
    total, height = 0.0, reference[1]
    for x, y in sorted(points):
        if x < reference[0] and y < height:
            total += (reference[0] - x) * (height - y)
            height = y
    return total


@given(POINTS, DIRECTIONS)
def test_hypervolume_is_the_swept_area(points, directions):
    reference = [0.0 if d == "max" else 1.0 for d in directions]
    turned = [[1 - v if d == "max" else v for v, d in zip(one, directions, strict=True)] for one in points]
    assert hypervolume(points, directions, reference) == pytest.approx(area(turned, (1.0, 1.0)), abs=1e-9)


@given(POINTS, DIRECTIONS, st.randoms())
def test_order_and_duplicates_change_nothing(points, directions, random):
    reference = [0.0 if d == "max" else 1.0 for d in directions]
    shuffled = [*points, points[0]]
    random.shuffle(shuffled)
    assert hypervolume(shuffled, directions, reference) == pytest.approx(hypervolume(points, directions, reference))
    front = {points[i] for i in np.flatnonzero(on_front(points, directions))}
    assert {shuffled[i] for i in np.flatnonzero(on_front(shuffled, directions))} == front


@given(POINTS, st.tuples(VALUES, VALUES))
def test_hypervolume_grows_with_points(points, more):
    assert hypervolume([*points, more], ["max", "min"], [0, 1]) >= hypervolume(points, ["max", "min"], [0, 1]) - 1e-12


@given(POINTS, DIRECTIONS)
@settings(max_examples=50)
def test_knee_and_best_lie_on_the_front(points, directions):
    front = on_front(points, directions)
    assert front[knee(points, directions)]
    assert front[best(points, directions, [0.1] * len(points))]


def test_the_knee_is_where_the_front_bends():
    points = [(0.5, 0.0), (0.9, 0.1), (0.95, 0.5), (1.0, 1.0)]
    assert knee(points, ["max", "min"]) == 1


def test_best_is_the_smallest_within_one_standard_error_of_the_top():
    points = [(0.90, 0.05), (0.985, 0.2), (0.99, 0.4), (0.995, 0.9)]
    assert best(points, ["max", "min"], [0.01] * 4) == 1
    assert best(points, ["max", "min"], [0.006] * 4) == 2
    assert best(points, ["max", "min"], [0.0] * 4) == 3


def test_nan_is_refused_and_infinity_compares():
    for call in (on_front, knee):
        with pytest.raises(ValueError, match=r"points \[1\] hold NaN"):
            call([(0.1, 0.2), (float("nan"), 0.3)], ["max", "min"])
    assert on_front([(0.5, float("inf")), (0.5, 1.0)], ["max", "min"]).tolist() == [False, True]


def test_three_objectives_against_all_pairs():
    rng = np.random.default_rng(0)
    points = [tuple(row) for row in rng.random((40, 3)).round(1)]
    directions = ("max", "min", "max")
    dominated = {b for a, b in itertools.permutations(points, 2) if dominates(a, b, directions)}
    assert on_front(points, directions).tolist() == [one not in dominated for one in points]


def test_no_points_and_bad_directions():
    assert on_front([], ["max", "min"]).tolist() == []
    assert hypervolume([], ["max", "min"], [0, 1]) == 0
    with pytest.raises(ValueError, match="no points"):
        knee([], ["max", "min"])
    with pytest.raises(ValueError, match=r"\['up'\]"):
        on_front([(1, 2)], ["up", "min"])
    with pytest.raises(ValueError, match="2 metrics"):
        on_front([(1, 2, 3)], ["max", "min"])
