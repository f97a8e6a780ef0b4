"""What the search's model expects of more trials, and along each coefficient."""

import itertools

import numpy as np
import pytest

from orchestrator.search import make_searcher, pareto
from orchestrator.search.forecasting import AHEAD, forecast
from tests.orchestrator.search.test_curve import TAUS, history, problem, surface

CENTRE = {"x": 0.1, "y": 0.7}


@pytest.fixture(scope="module")
def known():
    return history(make_searcher("curve", problem()), 12)


@pytest.fixture(scope="module")
def expected(known):
    return forecast(problem(), known, [], 12, CENTRE)


def own_volume(x, y):
    """The hypervolume of a trial alone, by its true surface."""
    points = [[surface(x, y, tau)[name] for name in problem().objectives] for tau in TAUS]
    return pareto.hypervolume(np.array(points), problem().directions, problem().reference_values)


def test_more_trials_add_more_and_each_less(expected):
    assert len(expected.gains) == AHEAD
    assert all(before <= after for before, after in itertools.pairwise([0.0, *expected.gains]))
    assert expected.gains[0] > 0


def test_a_slice_has_the_volumes_of_the_true_surface_within_its_band_nearly_everywhere(expected):
    assert set(expected.slices) == {"x", "y"}
    along = expected.slices["y"]
    assert (along.values[0], along.values[-1]) == pytest.approx((0.0, 1.0))
    volumes = np.array([own_volume(CENTRE["x"], y) for y in along.values])
    assert np.abs(np.array(along.means) - volumes).max() < 0.1 * volumes.max()
    assert all(low <= mean <= high for low, mean, high in zip(along.lows, along.means, along.highs, strict=True))
    assert along.values[int(np.argmax(along.means))] == pytest.approx(along.values[int(volumes.argmax())], abs=0.13)


def test_the_same_is_expected_of_the_same(known, expected):
    assert forecast(problem(), known, [], 12, CENTRE) == expected


def test_while_there_is_no_model_nothing_is_expected():
    few = history(make_searcher("curve", problem()), 2)
    assert forecast(problem(), few, [], 2, CENTRE) is None
