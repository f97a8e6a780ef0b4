"""Who goes on from a rung, against plain definitions, and where the rungs are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.search.halving import keeps, ranking, rungs
from orchestrator.search.pareto import hypervolume

INF = float("inf")
VALUES = st.integers(0, 16).map(lambda sixteenths: sixteenths / 16)  # volumes are exact
DIRECTIONS = ("max", "min")
REFERENCE = (0.125, 0.875)


def surfaces(metrics=2, least=0):
    points = st.lists(st.tuples(*[VALUES] * metrics), min_size=least, max_size=6)
    return st.dictionaries(st.sampled_from("abcdefgh"), points, min_size=1)


RUNGS = surfaces()


def order(rung, directions=DIRECTIONS, reference=REFERENCE):
    return ranking(rung, directions, reference=reference)


def dominates(a, b, directions=DIRECTIONS):
    return a != b and all(x >= y if d == "max" else x <= y for x, y, d in zip(a, b, directions, strict=True))


def inside(rung):
    """The trials with points that are better than the reference, and these points."""
    found = {name: [one for one in points if one[0] > 0.125 and one[1] < 0.875] for name, points in rung.items()}
    return {name: points for name, points in found.items() if points}


def plain_groups(rung):
    left = {name: set(points) for name, points in rung.items()}
    while left:
        pool = set().union(*left.values())
        front = {one for one in pool if not any(dominates(other, one) for other in pool)}
        group = [name for name in sorted(left) if left[name] & front] or sorted(left)
        left = {name: points for name, points in left.items() if name not in group}
        yield group


@given(RUNGS)
@settings(deadline=None, max_examples=300)
def test_the_order_is_that_of_plain_peeling_and_plain_greedy_selection(rung):
    counting, expected = inside(rung), []
    for group in plain_groups(counting):
        chosen, union = [], []
        while len(chosen) < len(group):
            volumes = {
                name: hypervolume([*union, *counting[name]], DIRECTIONS, REFERENCE)
                for name in group
                if name not in chosen
            }
            chosen.append(min(volumes, key=lambda name: (-volumes[name], name)))
            union += counting[chosen[-1]]
        expected += chosen
    for group in plain_groups({name: points for name, points in rung.items() if name not in counting}):
        expected += group
    assert order(rung) == expected


@given(RUNGS, st.randoms())
@settings(deadline=None)
def test_neither_the_order_of_trials_nor_that_of_points_matters(rung, random):
    shuffled = {name: random.sample(rung[name], len(rung[name])) for name in random.sample(list(rung), len(rung))}
    assert order(shuffled) == order(rung)


@given(RUNGS)
@settings(deadline=None)
def test_repeated_and_dominated_points_of_its_own_change_nothing(rung):
    more = {name: [*points, *points, *((x - 0.5, y + 0.5) for x, y in points)] for name, points in rung.items()}
    assert order(more) == order(rung)


@given(surfaces(metrics=3), st.tuples(*[st.sampled_from([-1, 1])] * 3))
@settings(deadline=None)
def test_a_metric_and_its_direction_may_both_be_turned(rung, signs):
    turned = {name: np.reshape(points, (-1, 3)) * signs for name, points in rung.items()}
    directions = ["min" if sign > 0 else "max" for sign in signs]
    expected = order(rung, ["min"] * 3, [0.875] * 3)
    assert order(turned, directions, [0.875 * sign for sign in signs]) == expected


@given(RUNGS, st.integers(2, 5), st.floats(0.25, 3), st.booleans())
@settings(deadline=None)
def test_a_newcomer_that_dominates_all_is_kept_and_one_that_all_dominate_comes_last(rung, reduction, far, counts):
    # Also where no point is better than the reference.
    reference = REFERENCE if counts else (5.0, -5.0)
    best, worst = [(1 + far, -far)], [(-far, 1 + far)]
    assert order({**rung, "new": best}, reference=reference)[0] == "new"
    assert keeps({**rung, "new": best}, "new", DIRECTIONS, reference=reference, reduction=reduction)
    full = {name: points for name, points in rung.items() if points}
    assert order({**full, "z": worst}, reference=reference)[-1] == "z"


@given(RUNGS, st.integers(2, 5))
@settings(deadline=None)
def test_so_many_are_kept(rung, reduction):
    kept = [one for one in rung if keeps(rung, one, DIRECTIONS, reference=REFERENCE, reduction=reduction)]
    expected = len(rung) if len(rung) < reduction else math.ceil(len(rung) / reduction)
    assert sorted(kept) == sorted(order(rung)[:expected])


@given(surfaces(least=1))
@settings(deadline=None)
def test_of_a_copy_and_the_best_the_second_comes_behind_all_that_still_add_something(rung):
    rung = {**rung, "copy": rung[order(rung)[0]]}
    rung = {name: points for name, points in rung.items() if name in next(plain_groups(inside(rung)), [])}
    union, gains = [], []
    for name in order(rung):
        before = hypervolume(union, DIRECTIONS, REFERENCE)
        union += rung[name]
        gains.append((hypervolume(union, DIRECTIONS, REFERENCE) - before, name))
    assert gains == sorted(gains, key=lambda one: (-one[0], one[1]))
    assert min(gains, default=(0,))[0] == 0


def test_near_duplicates_do_not_all_survive():
    near = {f"near{index}": [(0.9 - index / 1e4, 0.5 - index / 1e4)] for index in range(4)}
    rung = {**near, "small": [(0.6, 0.1)], "accurate": [(0.99, 0.8)]}
    kept = [one for one in rung if keeps(rung, one, DIRECTIONS, reference=(0.1, 1.0), reduction=2)]
    assert sorted(kept) == ["accurate", "near0", "small"]


def test_tiny_networks_that_guess_are_no_reason_to_go_on():
    rung = {"guesses": [(0.1, 0.0)], "learns": [(0.9, 0.5)], "died": []}
    assert order(rung) == ["learns", "guesses", "died"]


def test_infinite_values():
    rung = {"endless": [(0.5, -INF)], "finite": [(0.7, 0.7)], "bad": [(0.95, INF)], "twin": [(0.5, -INF)]}
    assert order(rung) == ["endless", "finite", "twin", "bad"]


@pytest.mark.parametrize(
    ("rung", "more", "message"),
    [
        ({"a": [(0.5, float("nan"))]}, {}, r"surface of trial 'a': points \[0\] hold NaN"),
        ({"b": [(0.5, 0.5)]}, {}, "'a' is not among"),
        ({"a": [(0.5, 0.5)]}, {"reduction": 1}, "reduction=1"),
        ({"a": [(0.5, 0.5)]}, {"reference": (0.5, INF)}, "finite"),
        ({"a": [(0.5, 0.5, 0.5)]}, {}, "trial 'a'.*2 metrics"),
    ],
)
def test_what_is_refused(rung, more, message):
    with pytest.raises(ValueError, match=message):
        keeps(rung, "a", DIRECTIONS, **{"reference": REFERENCE, "reduction": 3, **more})


def test_rungs_are_the_same_fractions_of_every_training():
    assert rungs(27, 3, 1 / 27) == (1, 3, 9)
    assert rungs(54, 3, 1 / 27) == (2, 6, 18)
    assert rungs(20, 2, 0.25) == (5, 10)
    assert rungs(2, 3, 1 / 9) == (1, 1)


@given(st.integers(1, 10_000), st.integers(2, 5), st.floats(1e-4, 0.99))
@settings(deadline=None)
def test_rungs_ascend_and_end_before_the_training_does(epochs, reduction, first):
    found = rungs(epochs, reduction, first)
    assert list(found) == sorted(found)
    assert len(found) == len(rungs(7, reduction, first))
    assert 1 <= found[0] <= found[-1] <= epochs
    assert found[-1] * reduction >= epochs * (1 - 1e-2)


@pytest.mark.parametrize(
    "wrong",
    [(0, 3, 0.1), (10, 1, 0.1), (10, 3, 0.0), (10, 3, 1e-9), (10, 3, 1 - 1e-9), (10, 3, 1.0), (10, 3, float("nan"))],
)
def test_wrong_rungs_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        rungs(*wrong)
