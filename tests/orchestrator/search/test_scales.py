"""The scale of a metric: it keeps the order, cancels units, and ends at a floor; and what is read on it."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search import make_searcher
from orchestrator.search.pareto import hypervolume, knee
from orchestrator.search.problem import History, Problem
from orchestrator.search.scales import FLOOR, modelled, not_modelled, scaled, scaled_reference, unscaled
from orchestrator.search.surfaces import read_surfaces
from tests.orchestrator.search.by_name import OPTUNA_GP

SIZES = st.floats(1e-4, 1.0)
POINTS = st.lists(st.tuples(st.floats(0.0, 1.0), SIZES), min_size=1, max_size=12)
WAYS, SCALES, REFERENCE = ("max", "min"), ("linear", "log"), [0.3, 0.8]


def volume(points, reference=REFERENCE, scales=SCALES):
    return hypervolume(scaled(points, scales), WAYS, scaled(reference, scales).tolist())


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_the_order_of_values_never_turns(first, second):
    for scale in ("linear", "log"):
        low, high = (float(scaled([value], [scale])[0]) for value in sorted((first, second)))
        assert low <= high


@given(SIZES, SIZES)
def test_equal_ratios_are_equal_distances(first, second):
    places = scaled([[first], [second]], ["log"])[:, 0]
    assert places[1] - places[0] == pytest.approx(math.log10(second / first), abs=1e-12)
    assert scaled([first], ["linear"]).tolist() == [first]


@given(POINTS, st.floats(0.1, 1e6))
def test_a_logarithmic_hypervolume_and_knee_are_free_of_the_unit_of_size(points, factor):
    in_another_unit = [(accuracy, size * factor) for accuracy, size in points]
    expected = volume(points)
    assert volume(in_another_unit, [0.3, 0.8 * factor]) == pytest.approx(expected, abs=1e-9)
    chosen, again = (knee(scaled(some, SCALES), WAYS) for some in (points, in_another_unit))
    assert below_the_chord(points, again) == pytest.approx(below_the_chord(points, chosen), abs=1e-9)  # ties round


def below_the_chord(points, index):
    """Where a point lies between the line through the front's ends and their best values, on the scales."""
    places = scaled(points, SCALES) * [-1, 1]
    front = [one for one in places if not any((other <= one).all() and (other < one).any() for other in places)]
    low, high = np.min(front, 0), np.max(front, 0)
    return float(((places[index] - low) / np.where(high > low, high - low, 1.0)).sum())


def test_the_hypervolume_is_accuracy_times_decades_of_size():
    assert volume([(0.9, 0.01)], [0.5, 1.0]) == pytest.approx((0.9 - 0.5) * 2)
    assert volume([(0.9, 0.01), (0.7, 0.001)], [0.5, 1.0]) == pytest.approx((0.9 - 0.5) * 2 + (0.7 - 0.5) * 1)
    assert volume([(0.9, 0.01)], [0.5, 1.0], ("linear", "linear")) == pytest.approx((0.9 - 0.5) * 0.99)


@given(st.floats(-1e300, FLOOR))
def test_below_the_floor_all_is_at_the_floor(value):
    assert scaled([value], ["log"]).tolist() == [math.log10(FLOOR)] == [-6.0]
    assert volume([(0.9, value)], [0.5, 1.0]) == pytest.approx(0.4 * 6)


def test_what_is_no_finite_number_stays_so():
    places = scaled([[math.inf, math.inf], [-math.inf, math.nan]], ["log", "linear"])
    np.testing.assert_array_equal(places, [[math.inf, math.inf], [-6.0, math.nan]])
    assert math.isnan(scaled([math.nan], ["log"])[0])
    assert scaled([], ["log", "linear"]).size == 0


def test_values_come_back():
    values = [[0.9, 0.02], [0.1, 1.0]]
    np.testing.assert_allclose(unscaled(scaled(values, SCALES), SCALES), values)


def test_what_is_given_is_left_alone():
    values = np.array([[0.9, 0.1]])
    scaled(values, SCALES)
    assert values.tolist() == [[0.9, 0.1]]


@pytest.mark.parametrize(("scales", "message"), [(["log"], "do not have 1 metrics"), (["log", "ln"], "known: linear")])
def test_scales_that_cannot_be_are_refused(scales, message):
    with pytest.raises(ValueError, match=message):
        scaled([[1.0, 2.0]], scales)


def test_a_reference_that_is_not_stated_is_the_worst_place():
    places = scaled([[0.9, 0.1], [0.6, 0.01]], SCALES)
    assert scaled_reference([0.5, 1.0], SCALES, WAYS, places).tolist() == [0.5, 0.0]
    assert scaled_reference([None, 0.1], SCALES, WAYS, places).tolist() == [0.6, -1.0]
    assert scaled_reference([0.5, None], SCALES, WAYS, places).tolist() == [0.5, -1.0]
    assert scaled_reference([None, 1.0], SCALES, WAYS, []).tolist() == [0.0, 0.0]


SPACE = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0.0, "high": 1.0}}
OBJECTIVES = {"accuracy": "max", "size": "min"}


def problem(**changes):
    given = {"space": SPACE, "free": {"tau": [0.5]}, "objectives": OBJECTIVES, "scales": {"size": "log"}}
    return Problem(**{**given, "reference": {"accuracy": 0.5, "size": 1.0}, **changes})


def history(points=8, factor=1.0):
    """Trials whose sizes fall by decades along x, with the best accuracy at y = 0.7."""
    rows = [(number / (points - 1), number * 0.37 % 1.0) for number in range(points)]
    trials = [
        {"trial_id": f"t-{number}", "number": number, "status": "finished", "reason": None, "x": x, "y": y}
        for number, (x, y) in enumerate(rows)
    ]
    found = [
        {
            **row,
            "tau": 0.5,
            "accuracy": 0.9 - (row["y"] - 0.7) ** 2 - 0.1 * row["x"],
            "size": factor * 10 ** -(3 * row["x"]),
        }
        for row in trials
    ]
    return History(pa.Table.from_pylist(trials), pa.Table.from_pylist(found))


def test_surfaces_are_read_on_the_scale_and_the_history_keeps_the_values():
    known = history()
    found = read_surfaces(problem(), known)
    assert found.values_NGV[-1, 0, 1] == pytest.approx(-3.0)
    assert known.points["size"].to_pylist()[-1] == pytest.approx(1e-3)
    assert read_surfaces(problem(scales={}), known).values_NGV[-1, 0, 1] == pytest.approx(1e-3)


@pytest.mark.parametrize("name", ["curve", "optuna_tpe", OPTUNA_GP])
def test_proposals_follow_the_scale(name):
    """On the linear scale all sizes below a tenth are nearly the same; they are not on the logarithmic one."""
    known = history()
    linear, log = (make_searcher(name, problem(scales=scales)) for scales in ({}, {"size": "log"}))
    proposed = [[searcher.propose(known, [], number) for number in range(8, 12)] for searcher in (linear, log)]
    assert proposed[0] != proposed[1]


def test_proposals_of_the_curve_search_do_not_depend_on_the_unit_of_size():
    """A factor that is a power of two changes no digit of a logarithm's differences but the last ones."""
    own, other = (
        make_searcher("curve", problem(reference={"accuracy": 0.5, "size": factor})).propose(
            history(factor=factor), [], 8
        )
        for factor in (1.0, 1024.0)
    )
    assert other == pytest.approx(own, rel=0.02)


@pytest.mark.parametrize("bound", [0.1, 0.01])
def test_constraints_stay_in_the_metrics_own_unit(bound):
    searcher = make_searcher("curve", problem(constraints=[f"size <= {bound}", "accuracy >= 0.6"]))
    points = history(points=13).points
    values_PV = read_surfaces(searcher.problem, history(points=13)).points_PV
    expected = [
        size <= bound and accuracy >= 0.6
        for size, accuracy in zip(points["size"].to_pylist(), points["accuracy"].to_pylist(), strict=True)
    ]
    assert searcher._feasible(values_PV).tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_only_the_value_that_is_missing_is_derived_from_the_data(caplog):
    searcher = make_searcher("curve", problem(reference={"accuracy": None, "size": 0.5}))
    known = read_surfaces(searcher.problem, history())
    with caplog.at_level("INFO"):
        costs_M = searcher.reference(known)
    accuracies = known.points_PV[:, 0]
    assert costs_M.tolist() == pytest.approx([-accuracies.min(), math.log10(0.5)])
    assert f"accuracy {accuracies.min():.4g}, size 0.5" in caplog.text


@given(st.floats(-0.5, 1.0), st.floats(-100.0, 100.0))
def test_models_see_shares_by_what_is_missing_and_other_values_as_they_are(share, number):
    is_share = np.array([True, False])
    seen = modelled(np.array([share, number]), is_share)
    assert not_modelled(seen, is_share).tolist() == pytest.approx([share, number])
    assert seen[0] == pytest.approx(-math.log(1.02 - share))
    assert seen[1] == number


def test_no_prediction_of_a_share_is_above_1():
    assert not_modelled(np.array([50.0, 50.0]), np.array([True, False])).tolist() == [1.0, 50.0]
