"""Dimensions that are active for some values of another one only, such as the coefficients of one method of several."""

import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search import make_searcher
from orchestrator.search.problem import History, Problem
from orchestrator.search.surface_model import SurfaceModel, distances, make_grid
from orchestrator.search.surfaces import read_surfaces
from tests.orchestrator.search.by_name import ALL, OPTUNA_GP

PLAIN = {"low": 0.1, "high": 10.0, "log": True}
SPACE = {
    "m.a.x": {"low": 0.0, "high": 1.0, "where": {"m": "a"}},
    "m.b.x": {**PLAIN, "zero": True, "where": {"m": "b"}},
    "m.b.n": {"low": 1, "high": 4, "integer": True, "where": {"m": "b"}},
    "m": {"choices": ["a", "b", "c"]},
    "y": {"low": 0.0, "high": 1.0},
}
TAUS = [0.1, 0.5, 0.9]
ACTIVE = {"a": {"m", "y", "m.a.x"}, "b": {"m", "y", "m.b.x", "m.b.n"}, "c": {"m", "y"}}
PROBLEM = Problem(SPACE, {"tau": TAUS}, {"quality": "max", "size": "min"}, reference={"quality": 0.0, "size": 2.0})
WHOLE = Problem(
    {
        "n": {"low": 1, "high": 3, "integer": True, "where": {"m": "b"}},
        "m": {"choices": ["a", "b", "c"]},
        "k": {"choices": [1, 2]},
    },
    {},
    PROBLEM.objectives,
)


class TestProblem:
    @given(st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5))
    def test_a_point_of_the_unit_cube_gives_the_active_coefficients_alone(self, unit):
        coefficients = PROBLEM.from_unit(unit)
        assert set(coefficients) == ACTIVE[coefficients["m"]]
        back = dict(zip(SPACE, PROBLEM.to_unit(coefficients), strict=True))
        assert {name for name, value in back.items() if not math.isnan(value)} == ACTIVE[coefficients["m"]]
        assert PROBLEM.key(PROBLEM.from_unit(list(back.values()))) == pytest.approx(PROBLEM.key(coefficients))

    def test_what_is_said_of_inactive_dimensions_makes_no_difference(self):
        plain = {"m": "a", "y": 0.5, "m.a.x": 0.25}
        for other in ({"m.b.x": 3.0}, {"m.b.x": None, "m.b.n": None}, {"m.b.n": 99}):
            assert PROBLEM.key({**plain, **other}) == PROBLEM.key(plain)
            np.testing.assert_array_equal(PROBLEM.to_unit({**plain, **other}), PROBLEM.to_unit(plain))
        assert PROBLEM.key({**plain, "m": "b"}) is None
        assert PROBLEM.to_unit({**plain, "m": "b"}) is None
        assert PROBLEM.key({"m": "c", "y": 0.5}) is not None

    def test_a_finite_space_has_each_set_once(self):
        assert PROBLEM.size == math.inf
        assert WHOLE.size == 2 + 3 * 2 + 2
        sets = [WHOLE.nth(index) for index in range(10)]
        assert len({WHOLE.key(coefficients) for coefficients in sets}) == 10
        assert Counter(coefficients["m"] for coefficients in sets) == {"a": 2, "b": 6, "c": 2}
        assert all(("n" in coefficients) == (coefficients["m"] == "b") for coefficients in sets)

    def test_a_condition_on_what_is_no_choice_is_refused(self):
        for where in ({"m": "d"}, {"y": 0.5}, {"z": "a"}):
            with pytest.raises(ValueError, match="'x' is active where"):
                Problem({**SPACE, "x": {**PLAIN, "where": where}}, {}, PROBLEM.objectives)


def surface(coefficients, tau):
    """Method a is best, at x = 0.3, whatever y; of b the same number means nothing."""
    away = (coefficients["m.a.x"] - 0.3) ** 2 if coefficients["m"] == "a" else 0.5 + coefficients["y"] / 10
    return {"quality": 1 - tau**2 / 2 - away, "size": 0.2 + (1 - tau) / 2 + away}


def known_of(sets, status="finished"):
    trials = [
        {
            "trial_id": f"t-{number:02d}",
            "number": number,
            "status": status,
            "reason": None,
            **dict.fromkeys(SPACE),
            **one,
        }
        for number, one in enumerate(sets)
    ]
    points = [{**row, "tau": tau, **surface(one, tau)} for row, one in zip(trials, sets, strict=True) for tau in TAUS]
    return History(pa.Table.from_pylist(trials), pa.Table.from_pylist(points if status == "finished" else []))


def drawn(count, seed=0):
    return [PROBLEM.from_unit(unit) for unit in np.random.default_rng(seed).random((count, len(SPACE))).tolist()]


@pytest.mark.parametrize("name", ALL)
class TestSearchers:
    def test_proposals_have_the_choice_and_its_active_dimensions_alone(self, name):
        searcher, known, pending = make_searcher(name, PROBLEM), known_of(drawn(12)), []
        for number in range(12, 15):
            pending.append(searcher.propose(known, pending, number))
            assert set(pending[-1]) == ACTIVE[pending[-1]["m"]]
            assert PROBLEM.key(pending[-1]) is not None
        assert len({PROBLEM.key(coefficients) for coefficients in pending}) == 3

    def test_a_finite_space_is_trained_to_its_end(self, name):
        searcher, sets = make_searcher(name, WHOLE), []
        for number in range(10):
            rows = [
                {"trial_id": f"t-{n}", "number": n, "status": "finished", "reason": None, "n": None, **one}
                for n, one in enumerate(sets)
            ]
            points = [{**row, "quality": row["k"] / 2, "size": 0.5} for row in rows]
            known = History(pa.Table.from_pylist(rows), pa.Table.from_pylist(points)) if rows else History()
            sets.append(searcher.propose(known, [], number))
        assert len({WHOLE.key(coefficients) for coefficients in sets}) == 10


@pytest.mark.parametrize("name", ["curve", "optuna_tpe", OPTUNA_GP])
def test_what_looks_at_results_finds_the_method_and_its_coefficient(name):
    searcher, sets = make_searcher(name, PROBLEM), drawn(12)
    for number in range(12, 20):
        sets.append(searcher.propose(known_of(sets), [], number))
    late = [one for one in sets[14:] if one["m"] == "a"]
    assert len(late) >= 3
    assert np.median([abs(one["m.a.x"] - 0.3) for one in late]) < 0.15


def test_every_coefficient_of_a_method_that_comes_anew_is_drawn():
    """Where all that is known is of method c, candidates near it that are of method a lie anywhere in its dimension."""
    searcher = make_searcher("curve", PROBLEM)
    x_CD = np.array([PROBLEM.to_unit({"m": "c", "y": 0.5})] * 4000)
    near = [PROBLEM.from_unit(x_D) for x_D in searcher._near(x_CD, 0.1, np.random.default_rng(0)).tolist()]
    of_a = [one["m.a.x"] for one in near if one["m"] == "a"]
    assert len(of_a) > 100
    assert min(of_a) < 0.1
    assert max(of_a) > 0.9


class TestModel:
    NAN = math.nan
    #                       m    a.x  b.x  y
    X_ND = torch.tensor(
        [
            [0.2, 0.1, NAN, 0.3],
            [0.2, 0.9, NAN, 0.3],
            [0.5, NAN, 0.4, 0.3],
            [0.8, NAN, NAN, 0.3],
            [0.8, NAN, NAN, 0.9],
        ],
        dtype=torch.float64,
    )
    CATEGORICAL = (True, False, False, False)
    # Lengths of four dimensions and none of a grid, scale, interaction, shared, and two noises.
    HYPER = torch.tensor([0.1, -1.0, 0.3, 0.2, 0.4, 0.5, -1.0, -4.0, -5.0], dtype=torch.float64)

    def model(self):
        return SurfaceModel(self.X_ND, torch.zeros(5, 1), make_grid([{}]), list(self.CATEGORICAL), self.HYPER)

    def covariance(self, x_ND):
        return self.model()._coefficients(distances(x_ND, x_ND, list(self.CATEGORICAL)))

    def test_a_distance_counts_between_trials_that_both_have_the_dimension(self):
        """Written out pair by pair."""
        lengths, scale, w = self.HYPER[:4].exp(), self.HYPER[4].exp(), self.HYPER[5].exp()
        expected = torch.empty(5, 5, dtype=torch.float64)
        for i, left in enumerate(self.X_ND.tolist()):
            for j, right in enumerate(self.X_ND.tolist()):
                product = 1.0
                for d, (a, b) in enumerate(zip(left, right, strict=True)):
                    if math.isnan(a) and math.isnan(b):
                        continue
                    if math.isnan(a) or math.isnan(b):
                        product /= math.sqrt(1 + w)
                        continue
                    far = float(a != b) if self.CATEGORICAL[d] else (a - b) ** 2
                    product *= (1 + w * math.exp(-far / (2 * lengths[d] ** 2))) / (1 + w)
                expected[i, j] = scale * product
        torch.testing.assert_close(self.covariance(self.X_ND), expected, rtol=1e-12, atol=0)

    def test_two_trials_without_a_dimension_do_not_differ_by_it_and_any_place_is_as_far_from_none(self):
        K_NN = self.covariance(self.X_ND)
        assert K_NN[3, 3] == K_NN[0, 0] == K_NN[2, 2]  # each has another number of dimensions
        assert K_NN[0, 3] == K_NN[1, 3]
        assert K_NN[0, 2] == K_NN[1, 2]
        assert K_NN[0, 1] < K_NN[0, 0]

    @given(seed=st.integers(0, 2**32 - 1))
    def test_it_is_a_covariance_wherever_trials_lie(self, seed):
        """Also where methods hardly differ, lengths are short, and interactions are strong."""
        rng = np.random.default_rng(seed)
        x_ND = rng.random((30, 4))
        x_ND[:, 0] = rng.choice([0.2, 0.5, 0.8], 30)
        x_ND[x_ND[:, 0] != 0.2, 1] = math.nan
        x_ND[x_ND[:, 0] != 0.5, 2] = math.nan
        hyper_P = torch.from_numpy(
            np.concatenate([[3.9], rng.uniform(-3, 1, 3), [0.0], rng.uniform(-2, 6, 1), [0] * 3])
        )
        model = SurfaceModel(torch.from_numpy(x_ND), torch.zeros(30, 1), make_grid([{}]), [True] + [False] * 3, hyper_P)
        K_NN = model._coefficients(distances(model.x_ND, model.x_ND, model.categorical))
        assert torch.linalg.eigvalsh(K_NN).min() > -1e-9

    def test_its_gradient_is_finite(self):
        hyper_P = self.HYPER.clone().requires_grad_()
        model = SurfaceModel(self.X_ND, torch.zeros(5, 1), make_grid([{}]), list(self.CATEGORICAL), hyper_P)
        model._coefficients(distances(self.X_ND, self.X_ND, list(self.CATEGORICAL))).sum().backward()
        assert hyper_P.grad.isfinite().all()

    def test_a_fit_learns_what_a_method_s_own_coefficient_does(self):
        sets = [one for one in drawn(60) if one["m"] != "b"]
        known = read_surfaces(PROBLEM, known_of(sets))
        assert np.isnan(known.x_ND).any()
        x, y = torch.from_numpy(known.x_ND), torch.from_numpy(known.values_NGV[..., 0].copy())
        fitted = SurfaceModel.fit(x, y, make_grid(PROBLEM.choices), [name == "m" for name in SPACE])
        new = [one for one in drawn(60, seed=1) if one["m"] != "b"]
        expected = np.array([[surface(one, tau)["quality"] for tau in TAUS] for one in new])
        found = fitted.mean(torch.tensor([PROBLEM.to_unit(one) for one in new], dtype=torch.float64)).numpy()
        assert np.abs(found - expected).max() < 0.05
