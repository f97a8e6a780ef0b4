"""Training from Python asks for the same as the command line, and gives what it made."""

import io

import pytest
from rich.console import Console

import orchestrator as moda
from orchestrator.cli.command_line import main
from tests.defaults import THREE_COEFFICIENTS
from tests.older_storage import SMALL, unpack_older_storage

SECTIONS = {
    "tracking": "none",
    "model": {"widths": [8, "M", 8], "hidden": [8]},
    "evaluation": {
        "taus": [0.5, 0.9],
        "thresholds": [0.0, 0.1],
        "levels": [0.1, 0.3],
        "targets": [],
        "pairs": None,
        "subsets_per_size": 3,
        "images_per_size": 60,
        "test_pairs": None,
        "test_subsets_per_size": 10,
        "test_images_per_size": 2000,
    },
}


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=150)


@pytest.fixture
def older(tmp_path, monkeypatch):
    unpack_older_storage(tmp_path, monkeypatch)


def printed(console):
    return console.file.getvalue()


def test_a_training_is_that_of_the_command(tmp_path, console, capfd):
    asked = ("training.epochs=3", *THREE_COEFFICIENTS)
    sweep = moda.train(*asked, storage=tmp_path / "it's here", console=console, training={"epochs": 1}, **SECTIONS)
    assert [row["status"] for row in sweep.trials().to_pylist()] == ["finished"]
    assert sweep.points().num_rows == 2 * 2 + 2
    assert sweep.best.test is not None
    assert sweep.config.training.epochs == 1
    assert sweep.query("select count(*) as n from epochs")["n"].to_pylist() == [1]
    assert sweep.sweep_id in printed(console)
    assert main(["train", *SMALL, "training.epochs=1", f"storage={tmp_path}/it's here"]) == 0
    shown = capfd.readouterr().out
    assert any(line.startswith(sweep.sweep_id) for line in shown.splitlines())
    assert "read from the tables; nothing to train" in shown


def test_a_sweep_that_is_done_is_read(older, console):
    asked = {"sweep": {"name": "first", "trials": 5, "concurrency": 1}, "training": {"epochs": 3}, **SECTIONS}
    sweep = moda.sweep(*THREE_COEFFICIENTS, console=console, **asked)
    assert "all 5 trials are already in the tables; nothing to train" in printed(console)
    assert sweep.best.label == "1/0.9/0.1"


@pytest.mark.parametrize("points", [("best", "knee"), ["1/0.9/0.1", "4/0.3"]])
def test_a_confirmation_that_is_done_is_read(older, console, points):
    confirmation = moda.confirm("first", points=points, seeds=2, tracking="none", console=console)
    assert confirmation.sweep_id == "first-confirm-24ff396f"
    assert "confirming 2 points of first" in printed(console)
    assert confirmation.recorded.held.found == pytest.approx(0.2587, abs=5e-5)


def test_what_cannot_be_asked_for_is_refused_before_anything_is_trained(older, console):
    with pytest.raises(moda.UserError, match=r"unknown key train \(did you mean training\?\)"):
        moda.train(train={"epochs": 3}, console=console)
    with pytest.raises(moda.UserError, match="points='best' is one text; give a list"):
        moda.confirm("first", points="best", console=console)
    with pytest.raises(moda.UserError, match=r"method\.name=standard: confirming trains the sweep's own coefficients"):
        moda.confirm("first", "method.name=standard", console=console)
    assert printed(console) == ""
