"""Tables of a sweep: a column for each coefficient, whatever it is called and holds."""

import dataclasses

import pytest

from orchestrator.api.columns import points_table, trials_table
from orchestrator.api.html import shown_html
from orchestrator.api.opened import OpenSweep
from orchestrator.api.opened_confirmation import OpenConfirmation
from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.errors import ConfigError
from orchestrator.results.confirmation import Confirmation
from orchestrator.results.points import Point, TrialState
from orchestrator.results.sweep import Sweep
from orchestrator.search import Status


def sweep_of(*coefficients, test=None, **search):
    """A sweep with a finished trial for each set of coefficients; later ones are better and larger."""
    config = load_config([])
    config = dataclasses.replace(config, search=dataclasses.replace(config.search, **search))
    trials = [
        TrialState(f"s-{number}", number, values, Status.FINISHED, 1, None, 1.5, 0.5)
        for number, values in enumerate(coefficients)
    ]
    points = [
        Point(
            trial,
            Choice.contribution(0.1),
            {
                "calibrated_reuse_accuracy": 0.5 + trial.number / 10,
                "cut_size": 0.1 + trial.number / 10,
                "brand_new": 7.0,
            },
            test if trial.number else None,
        )
        for trial in trials
    ]
    return Sweep("s", config, trials, points)


def test_a_point_has_its_trial_coefficients_choice_and_metrics():
    sweep = sweep_of({"alpha": 1.0}, {"alpha": 2.0, "epochs": 3}, test={"calibrated_reuse_accuracy": 0.55})
    first, second = points_table(sweep, sweep.points).to_pylist()
    assert (first["point"], first["trial_id"], first["trial"], first["on_front"]) == ("0/0.1", "s-0", 0, True)
    assert (first["alpha"], first["epochs"], second["alpha"], second["epochs"]) == (1.0, None, 2.0, 3)
    assert (first["tau"], first["threshold"], first["level"]) == (None, None, 0.1)
    assert (second["calibrated_reuse_accuracy"], second["test_calibrated_reuse_accuracy"], second["brand_new"]) == (
        0.6,
        0.55,
        7.0,
    )
    assert (first["test_calibrated_reuse_accuracy"], second["test_cut_size"], first["flops"]) == (None, None, None)


def test_best_and_knee_have_a_role_and_others_none():
    sweep = sweep_of(*({"alpha": float(n)} for n in range(4)))
    roles = {row["point"]: row["role"] for row in points_table(sweep, sweep.points).to_pylist()}
    assert roles.pop(sweep.find("best").label).startswith("best")
    assert [role for role in roles.values() if role] == ["knee"] or sweep.find("best") is sweep.find("knee")


def test_coefficients_called_as_another_column_or_of_two_kinds():
    sweep = sweep_of({"point": 1, "tau": 0.5, "seconds": 2, "lr": "cosine"}, {"point": 2, "lr": 0.1})
    rows = points_table(sweep, sweep.points).to_pylist()
    assert [row["coefficient point"] for row in rows] == [1, 2]
    assert [row["coefficient tau"] for row in rows] == [0.5, None]
    assert [row["lr"] for row in rows] == ["cosine", "0.1"]
    assert rows[0]["point"] == "0/0.1"
    trials = trials_table(sweep).to_pylist()
    assert [trial["coefficient seconds"] for trial in trials] == [2, None]
    assert [trial["seconds"] for trial in trials] == [1.5, 1.5]


def test_without_points_the_columns_are_the_same():
    sweep = sweep_of({"alpha": 1.0})
    empty = dataclasses.replace(sweep, points=[])
    table = points_table(empty, [])
    assert table.num_rows == 0
    assert set(table.column_names) == set(points_table(sweep, sweep.points).column_names) - {
        "brand_new",
        "test_brand_new",
    }
    opened = OpenSweep(empty, "/nowhere")
    assert opened.front().num_rows == 0
    assert "no points yet" in repr(opened)
    assert "no points yet" in opened._repr_html_()
    for look in (lambda: opened.best, opened.plot):
        with pytest.raises(ConfigError, match="no points yet"):
            look()


def test_with_repeats_points_are_means():
    sweep = sweep_of({"alpha": 1.0}, {"alpha": 1.0}, repeats=2)
    (row,) = OpenSweep(sweep, "/nowhere").points().to_pylist()
    assert row["calibrated_reuse_accuracy"] == pytest.approx(0.55)


def test_what_a_notebook_shows_is_text():
    shown = shown_html("<i>a</i>", ["b & c"], points_table(sweep := sweep_of({"lr": "<script>"}), sweep.points))
    assert "&lt;i&gt;a&lt;/i&gt;" in shown
    assert "b &amp; c" in shown
    assert "<td>&lt;script&gt;</td>" in shown
    assert "<script>" not in shown
    assert "&lt;script&gt;" in OpenSweep(sweep, "/nowhere").best._repr_html_()


def test_what_is_not_yet_confirmed_is_null_and_nothing_is_best():
    parent = sweep_of({"alpha": 1.0})
    chosen = dataclasses.replace(parent.config.sweep, chosen=("0/0.1",))
    again = Sweep("s-confirm", dataclasses.replace(parent.config, sweep=chosen), [], [])
    confirmation = OpenConfirmation(Confirmation(parent, again), OpenSweep(parent, "/nowhere"))
    (row,) = confirmation.points().to_pylist()
    assert (row["point"], row["calibrated_reuse_accuracy"]) == ("0/0.1", 0.5)
    assert (row["confirmed_calibrated_reuse_accuracy"], row["confirmed_test_calibrated_reuse_accuracy"]) == (None, None)
    assert "0 of 1 points of 's' confirmed" in repr(confirmation)
    with pytest.raises(ConfigError, match="no point has finished all its trainings"):
        _ = confirmation.best
