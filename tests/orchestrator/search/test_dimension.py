"""A dimension in the unit interval, and the zero that a logarithmic one may have of its own."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search import dimension as dimensions
from orchestrator.search.optuna_search import _decode, _encode
from orchestrator.search.problem import Problem

PLAIN = {"low": 0.03, "high": 3.0, "log": True}
ZERO = {**PLAIN, "zero": True}
UNITS = st.floats(0.0, 1.0)


@given(UNITS)
def test_a_value_comes_back_from_the_unit_interval(unit):
    value = dimensions.from_unit(ZERO, unit)
    assert value == 0.0 or 0.03 <= value <= 3.0
    assert dimensions.from_unit(ZERO, dimensions.to_unit(ZERO, value)) == pytest.approx(value, rel=1e-12)


def test_zero_has_a_fifth_and_the_rest_is_even_in_the_logarithm():
    values = np.array([dimensions.from_unit(ZERO, unit) for unit in np.linspace(0, 1, 1001)[:-1]])
    assert np.mean(values == 0) == 0.2
    assert np.mean((values > 0) & (values < 0.3)) == pytest.approx(0.4, abs=0.0015)  # the lower of its two decades
    assert values.max() == pytest.approx(3.0, rel=0.01)


def test_zero_lies_a_quarter_of_the_axis_below_its_low_end():
    zero, low, middle, high = (dimensions.to_unit(ZERO, value) for value in (0, 0.03, 0.3, 3.0))
    assert (zero, low, high) == (0.0, 0.2, 1.0)
    assert low - zero == pytest.approx((high - low) / 4)
    assert middle == pytest.approx((low + high) / 2)


def test_values_outside_are_outside_and_zero_is_zero_however_it_is_typed():
    assert dimensions.place(ZERO, 0) == dimensions.place(ZERO, 0.0) == dimensions.place(ZERO, -0.0)
    for value in (0.01, -1.0, 3.1, None):
        assert dimensions.to_unit(ZERO, value) is None
        assert dimensions.place(ZERO, value) is None
    assert dimensions.to_unit(PLAIN, 0) is None
    assert dimensions.place(PLAIN, 0) is None


def test_how_many_values_there_are():
    assert dimensions.count(ZERO) == math.inf
    narrow = {"low": 0.5, "high": 0.5, "log": True, "zero": True}
    assert dimensions.count(narrow) == 2
    assert [dimensions.nth(narrow, index) for index in range(2)] == [0.0, 0.5]


@given(UNITS)
def test_optuna_is_told_the_place_and_gives_the_value_back(unit):
    problem = Problem({"alpha": ZERO}, {}, {"reuse_accuracy": "max", "cut_size": "min"})
    value = dimensions.from_unit(ZERO, unit)
    told = _encode(problem, {"alpha": value})["alpha"]
    assert 0.0 <= told <= 1.0
    assert _decode(ZERO, told) == pytest.approx(value, rel=1e-12)
