"""What Optuna's samplers are told: whole surfaces, constraints, pending and diverged trials, several ways to choose."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search import SEARCHERS, make_searcher
from orchestrator.search.optuna_search import GpSearcher, OptunaSearcher, TpeSearcher
from orchestrator.search.problem import History, Problem
from tests.orchestrator.search.by_name import OPTUNA_GP

NAMES = ("optuna_gp", "optuna_tpe")
SPACE = {"x": {"low": 0.0, "high": 1.0}}
KNOTS = {"tau": [0.0, 0.5, 1.0]}
OBJECTIVES = {"gain": "max", "cost": "min"}
PROBLEM = Problem(SPACE, KNOTS, OBJECTIVES)


def bowl(x: float, tau: float) -> dict[str, float]:
    """Every x but 0.3 is worse in both objectives, for every tau."""
    distance = (x - 0.3) ** 2
    return {"gain": tau - distance, "cost": tau + distance, "accuracy": x}


def history(xs, *, status: str = "finished", first: int = 0, problem: Problem = PROBLEM, **more) -> History:
    """Trials at ``xs``, whose points are the bowl's where they finished."""
    trials = [{"trial_id": f"t-{first + i}", "number": first + i, "status": status, "x": x} for i, x in enumerate(xs)]
    points = [
        {"trial_id": trial["trial_id"], "x": trial["x"], **choice, **bowl(trial["x"], choice.get("tau") or 0.0), **more}
        for trial in trials
        for choice in problem.choices
    ]
    return History(pa.Table.from_pylist(trials), pa.Table.from_pylist(points if status == "finished" else []))


def both(one: History, other: History) -> History:
    tables = {
        key: pa.concat_tables([getattr(one, key), getattr(other, key)], promote_options="permissive")
        for key in ("trials", "points")
    }
    return History(**tables)


GRID = history(np.linspace(0, 1, 12).tolist())


def distances(name: str, known: History, pending=(), problem: Problem = PROBLEM) -> list[float]:
    """How far from the bowl's middle the next proposals are."""
    searcher = make_searcher(name, problem)
    return [abs(searcher.propose(known, list(pending), number)["x"] - 0.3) for number in range(12, 18)]


@pytest.mark.parametrize("name", NAMES)
class TestWhatIsTold:
    def test_the_first_numbers_are_quasi_random(self, name):
        searcher, sobol = make_searcher(name, PROBLEM), make_searcher("sobol", PROBLEM)
        for number in range(4):
            assert searcher.propose(GRID, [], number) == sobol.propose(GRID, [], number)
        assert searcher.propose(History(), [], 20) == sobol.propose(History(), [], 20)
        assert searcher.propose(GRID, [], 4) != sobol.propose(GRID, [], 4)

    def test_points_draw_proposals_to_the_best_place(self, name):
        assert np.median(distances(name, GRID)) < 0.1

    def test_trials_outside_the_space_or_without_values_change_nothing(self, name):
        outside = history([-1.0, 2.0], first=50)
        nothing = history([0.9], first=60, gain=float("nan"))
        searcher = make_searcher(name, PROBLEM)
        assert searcher.propose(both(both(GRID, outside), nothing), [{"x": 7.0}], 12) == searcher.propose(GRID, [], 12)

    def test_pending_trials_move_a_proposal(self, name):
        searcher = make_searcher(name, PROBLEM)
        alone = searcher.propose(GRID, [], 12)
        assert searcher.propose(GRID, [alone], 12) != alone

    def test_several_ways_to_choose(self, name):
        ways = Problem(SPACE, [{"tau": [0.1, 0.9], "threshold": [0.0]}, {"level": [0.1, 0.2]}], OBJECTIVES)
        known = history(np.linspace(0, 1, 12).tolist(), problem=ways)
        assert known.points.num_rows == 12 * 4
        assert np.median(distances(name, known, problem=ways)) < 0.15

    def test_spaces_of_whole_numbers_and_choices(self, name):
        space = {"n": {"low": 1, "high": 4, "integer": True, "log": True}, "kind": {"choices": ["a", None, "b"]}}
        problem = Problem(space, {}, OBJECTIVES)
        rows = [
            {"trial_id": f"t-{n}", "number": n, "status": "finished", "n": n, "kind": "b", **bowl(n, 0.0)}
            for n in (1, 2, 4)
        ]
        table = pa.Table.from_pylist(rows)
        found = make_searcher(name, problem).propose(History(table, table), [], 5)
        assert found["n"] in (1, 2, 3, 4)
        assert found["kind"] in ("a", None, "b")


@pytest.mark.parametrize("name", ["optuna_tpe", OPTUNA_GP])
def test_constraints_keep_proposals_where_they_are_met(name):
    constrained = Problem(SPACE, KNOTS, OBJECTIVES, constraints=["accuracy >= 0.6"])
    searcher = make_searcher(name, constrained)
    found = [searcher.propose(GRID, [], number)["x"] for number in range(12, 18)]
    assert np.median(found) > 0.55


def test_tpe_avoids_where_trials_diverged():
    diverged = history(np.linspace(0.2, 0.4, 40).tolist(), status="diverged", first=50)
    assert np.median(distances("optuna_tpe", both(GRID, diverged))) > np.median(distances("optuna_tpe", GRID))


@pytest.mark.parametrize("kind", [GpSearcher, TpeSearcher])
@given(values=st.lists(st.tuples(st.floats(0, 1, width=16), st.floats(0, 1, width=16)), min_size=1, max_size=30))
def test_what_is_told_of_a_surface_is_spread_over_its_front(kind: type[OptunaSearcher], values):
    surface = [{"gain": gain, "cost": cost} for gain, cost in values]
    front = {one for one in values if not any(o[0] >= one[0] and o[1] <= one[1] and o != one for o in values)}
    told = [(row["gain"], row["cost"]) for row in kind(PROBLEM).told_points(surface)]
    assert set(told) <= front
    assert len(told) <= kind.points_told
    assert len(set(told)) == min(kind.points_told, len(front))
    assert {min(front), max(front)} <= set(told)


def test_optuna_is_imported_by_its_searchers_alone():
    code = "import sys, orchestrator.search; assert 'optuna' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(NAMES) <= set(SEARCHERS)
