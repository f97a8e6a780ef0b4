"""A storage that version 0.1.0 wrote on 25 November 2026 keeps working, with the numbers of its time.

``tests/assets/storage_2026_11_25.tar.gz`` holds a sweep of 5 trials (``first``) with points of both rules, the
confirmation of two of them, two published module sets, single trainings (digits, a table of images, one that was killed
in mid-training and has a checkpoint) and a sweep of an own network.
"""

from pathlib import Path

import pytest

from moda_core import load_modules
from orchestrator.cli.command_line import main
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.older_storage import SMALL, unpack_older_storage

FRONT = [
    ("2/0.5/0", 0.23703703703703705, 0.023652365236523653, 0.2160817269103502),
    ("4/0.3", 0.6537037037037036, 0.11727172717271728, 0.6397979258693145),
    ("4/0.1", 0.661111111111111, 0.31094609460946093, 0.6561142759196248),
    ("0/0.3", 0.9129629629629628, 0.3784928492849285, 0.92913193268155),
    ("0/0.5/0.1", 0.9166666666666663, 0.504950495049505, 0.9367805395563189),
    ("1/0.9/0.1", 0.9462962962962962, 0.5634213421342135, 0.9487371115462444),
    ("1/0.3", 0.9499999999999998, 0.6071507150715071, 0.9518103794407213),
]
NOTHING_TO_TRAIN = "read from the tables; nothing to train"


@pytest.fixture
def older(tmp_path, monkeypatch):
    """A folder with the unpacked storage and the table of images, which is the working folder; no MODA_DATA_DIR."""
    unpack_older_storage(tmp_path, monkeypatch)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    return tmp_path


def found_front():
    """The front of ``first`` as it is read now."""
    sweep = read_sweep(DeltaStore(str(Path("storage").absolute())), "first")
    return sweep, [
        (
            point.label,
            point.metrics["reuse_accuracy"],
            point.metrics["cut_size"],
            point.test and point.test["reuse_accuracy"],
        )
        for point in sweep.front
    ]


def test_the_front_and_what_was_chosen_are_the_same(older):
    sweep, front = found_front()
    assert front == FRONT
    assert sweep.hypervolume == pytest.approx(0.3135346127205311, abs=1e-12)
    assert (sweep.find("best").label, sweep.find("knee").label) == ("1/0.9/0.1", "4/0.3")


def test_every_command_that_looks_shows_it(older, capfd):
    assert main(["front", "first"]) == 0
    printed = capfd.readouterr().out
    assert "confirmed by first-confirm-24ff396f: 2 points with fresh seeds, the best is 1/0.9/0.1" in printed
    assert [line for line in printed.splitlines() if "1/0.9/0.1" in line and "94.6±1.4" in line]
    assert main(["report", "first", "--to", "report.html"]) == 0
    assert "1/0.9/0.1" in Path("report.html").read_text()
    capfd.readouterr()
    assert main(["query", "first", "select count(*) as n from points", "--format", "csv"]) == 0
    assert capfd.readouterr().out.split() == ["n", "37"]
    assert main(["gc"]) == 0
    assert "nothing was removed" in capfd.readouterr().out


def test_the_same_sweep_and_its_confirmation_are_not_trained_again(older, capfd):
    assert main(["sweep", *SMALL, "sweep.name=first", "sweep.trials=5", "sweep.concurrency=1"]) == 0
    assert "all 5 trials are already in the tables; nothing to train" in capfd.readouterr().out
    assert main(["confirm", "first", "--points", "best", "knee", "--seeds", "2", "tracking=none"]) == 0
    printed = capfd.readouterr().out
    assert "sweep first-confirm-24ff396f" in printed
    assert "hypervolume of these 2 points: 0.2634 by the sweep, 0.2587 confirmed, 0.2521 on test" in printed


@pytest.mark.parametrize(
    ("sweep_id", "overrides"),
    [
        ("train-7b67a1ee", ["method=standard"]),
        ("bars", ["data=table", "data.path=bars.parquet", "sweep.name=bars"]),
        ("train-673d851e", ["data=table", "data.path=bars.parquet"]),
    ],
)
def test_a_training_is_found_again_under_its_name(older, capfd, sweep_id, overrides):
    assert main(["train", *SMALL, *overrides]) == 0
    printed = capfd.readouterr().out
    assert any(line.startswith(sweep_id) for line in printed.splitlines())
    assert NOTHING_TO_TRAIN in printed


def test_published_and_unpublished_points_are_pulled(older, capfd):
    for point in ("best", "knee", "0/0.3"):
        folder = point.replace("/", "-")
        assert main(["pull", f"sweep:first/{point}", "--to", folder]) == 0, capfd.readouterr().err
        assert load_modules(folder, ["3", "8"]).class_names == ["3", "8"]
    assert main(["pull", "sweep:bars/best", "--to", "bars"]) == 0, capfd.readouterr().err
    assert main(["pull", "sweep:own/best", "--to", "own"]) == 0, capfd.readouterr().err


def test_a_training_that_was_killed_then_goes_on(older, capfd):
    checkpoint = Path("storage/trials/killed-0000/checkpoint.pt")
    assert checkpoint.exists()
    assert main(["train", *SMALL, "training.epochs=60", "sweep.name=killed"]) == 0
    assert not checkpoint.exists()
    rows = DeltaStore(str(Path("storage").absolute())).read("epochs", "killed").to_pylist()
    assert sorted(row["epoch"] for row in rows) == list(range(1, 61))
    assert rows[0]["sweep_id"] == "killed"


def test_a_trial_is_trained_again_and_compared(older, capfd):
    assert main(["rerun", "first/1"]) in (0, 1)  # another processor may round differently
    printed = capfd.readouterr().out
    assert "first-0001: 3 rows of epochs and 8 rows of points compared" in printed
    for newer in ("linear_retention", "bias", "calibrated_reuse_accuracy"):
        assert newer not in printed


def test_a_training_without_terms_is_as_it_was_when_these_were_recorded_as_zeros(older, capfd):
    rows = DeltaStore(str(Path("storage").absolute())).read("epochs", "train-7b67a1ee").to_pylist()
    assert {(row["affinity"], row["dispersion"], row["compactness"]) for row in rows} == {(0.0, 0.0, 0.0)}
    assert main(["rerun", "train-7b67a1ee/0"]) in (0, 1)  # as above
    assert "affinity" not in capfd.readouterr().out
