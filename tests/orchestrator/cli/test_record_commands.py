"""What is recorded is listed, shown, compared and deleted: exactly that, and nothing of other sweeps."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.cli import main
from orchestrator.errors import ConfigError
from orchestrator.modules import delete_sweep, plan_deletions
from orchestrator.results.records import claim_sweep, read_sweep
from orchestrator.storage import TABLES, DeltaStore, Files
from tests.older_storage import unpack_older_storage
from tests.orchestrator.results.test_per_class import class_rows
from tests.orchestrator.results.test_records import NOW, event


@pytest.fixture
def storage(tmp_path, monkeypatch):
    """A storage that an older version wrote; the sweep ``first`` has a confirmation."""
    unpack_older_storage(tmp_path, monkeypatch)
    return str(tmp_path / "storage")


def told(capfd, *arguments, code=0):
    """What a command prints as JSON."""
    assert main([*arguments, "--json"]) == code
    return json.loads(capfd.readouterr().out)


def test_sweeps_are_listed_and_a_wrong_name_is_told_where_it_was_looked_for(storage, capfd):
    names = [row["sweep"] for row in told(capfd, "list")]
    assert {"first", "own"} <= set(names)
    assert main(["list"]) == 0
    printed = capfd.readouterr().out
    assert all(name in printed for name in names)
    assert main(["status", "frist"]) == 2
    error = capfd.readouterr().err
    assert "(did you mean first?)" in error
    assert error.endswith(f"looked in storage={storage}\n")


def test_a_sweeps_status_counts_its_trials(storage, capfd):
    status = told(capfd, "status", "first")
    assert status["statuses"] == {"finished": 5}
    assert status["best"] == "1/0.9/0.1"
    assert [trial["trial"] for trial in status["trials_of"]] == [0, 1, 2, 3, 4]
    assert main(["status", "first"]) == 0
    assert "trials: 5 finished" in capfd.readouterr().out


def test_the_worst_class_of_a_trial_s_best_and_knee_is_named(storage, capfd):
    point = read_sweep(DeltaStore(storage), "first").find("best")
    rows = class_rows(0, "test", (9, 1, 0), (4, 5, 1), (0, 0, 10), choice=point.choice)
    store = DeltaStore(storage)
    store.append("classes", [{**row, "sweep_id": "first", "trial_id": point.trial.trial_id} for row in rows])
    worst = {"point": point.label, "split": "test", "class": "dog", "accuracy": 0.5}
    assert worst in told(capfd, "show", f"first/{point.trial.number}")["worst_classes"]
    assert main(["show", f"first/{point.trial.number}"]) == 0
    assert f"of the trial, {point.label}: Class dog is worst: " in capfd.readouterr().out


def test_a_trial_is_shown_by_either_name(storage, capfd):
    shown = told(capfd, "show", "first/1")
    assert shown == told(capfd, "show", "first-0001")
    assert [row["event"] for row in sorted(shown["events"], key=lambda row: row["time"])][-1] == "finished"
    assert len(shown["epochs"]) == 3
    assert {label["point"].partition("/")[0] for label in shown["front"]} == {"1"}
    assert shown["worst_classes"] == []  # which nobody measured then
    assert main(["show", "first/7"]) == 2
    assert "first/7: no such trial of sweep 'first'" in capfd.readouterr().err
    assert main(["show", "first"]) == 2
    assert "name a trial by its sweep and number, as mine/3" in capfd.readouterr().err


def test_a_sweep_beside_itself_differs_in_nothing(storage, capfd):
    compared = told(capfd, "compare", "first", "first")
    assert compared["dominated"] == [0, 0]
    assert compared["differences"] == []
    assert all(len(set(row["points"])) == 1 for row in compared["attained"])


def test_another_sweep_is_judged_by_the_firsts_reference_point(storage, capfd):
    compared = told(capfd, "compare", "first", "own")
    assert list(compared["hypervolume"]) == ["first", "own"]
    assert "model.name" in [row["key"] for row in compared["differences"]]
    assert main(["compare", "first", "own"]) == 0
    printed = capfd.readouterr().out
    assert "of these, dominated by the other" in printed
    assert "both judged by first" in printed


def left(storage):
    """Every row and every file of a storage."""
    store, files = DeltaStore(storage), Files(storage)
    rows = {table: sorted(map(str, store.read(table).to_pylist())) for table in TABLES}
    return rows, {file.name for folder in ("trials", "modules") for file in files.under(folder)}


def test_a_sweep_that_another_confirms_is_not_deleted_alone(storage, capfd):
    before = left(storage)
    (confirms,) = [row["sweep"] for row in told(capfd, "list") if row["confirms"] == "first"]
    assert main(["delete", "first", "--yes"]) == 2
    assert f"sweep 'first' is still needed: {confirms!r} confirms it" in capfd.readouterr().err
    assert left(storage) == before


def test_a_sweep_is_deleted_exactly(storage, capfd):
    (confirms,) = [row["sweep"] for row in told(capfd, "list") if row["confirms"] == "first"]
    rows, files = left(storage)
    planned = told(capfd, "delete", "first", confirms)
    assert left(storage) == (rows, files)  # nothing was deleted yet
    deleted = told(capfd, "delete", "first", confirms, "--yes")
    assert [entry["files"] for entry in deleted] == [entry["files"] for entry in planned]
    rows_after, files_after = left(storage)
    gone = {name for entry in deleted for name in entry["files"]}
    assert files_after == files - gone
    assert gone
    assert all(name.split("/")[1].startswith("first") for name in gone)
    for table, before in rows.items():
        of_both = [row for row in before if any(f"'sweep_id': {name!r}" in row for name in ("first", confirms))]
        assert rows_after[table] == [row for row in before if row not in of_both]
        assert sum(entry["rows"].get(table, 0) for entry in deleted) == len(of_both)
    assert main(["delete", "first"]) == 2
    DeltaStore(storage).append("trials", [event(0, "started", 1)])  # tables take rows as before


def recorded(store, configured, name, *overrides, events=("finished",), trial=None):
    claim_sweep(store, configured(f"sweep.name={name}", *overrides), prefix="x", now=NOW)
    key = {"sweep_id": name, "trial_id": trial or f"{name}-0000"}
    store.append("trials", [{**event(0, each, 1), **key} for each in events])


def test_what_another_sweep_begins_from_is_kept_and_so_is_a_set_of_a_longer_name(tmp_path, configured):
    root = str(tmp_path / "storage")
    store, files = DeltaStore(root), Files(root)
    own = ["trials/a-0000/weights.safetensors", "trials/a-0000/x", "modules/a-0000-tau0.9/manifest.json"]
    other = ["trials/a-0000-b-0000/x", "modules/a-0000-b-0000-tau0.9/manifest.json"]
    for name in [*own, *other]:
        files.write(name, b"x")
    recorded(store, configured, "a")
    recorded(store, configured, "a-0000-b")
    recorded(store, configured, "c", f"training.init_from={root}/{own[0]}")
    (deletion,) = plan_deletions(store, files, ["a"])
    assert deletion.shared == {own[0]: "c"}
    delete_sweep(deletion, store, files)
    assert sorted(left(root)[1]) == sorted([own[0], *other])
    assert store.read("sweeps")["sweep_id"].to_pylist().count("a") == 0


def test_a_sweep_that_seems_to_run_is_not_deleted(tmp_path, configured):
    store, files = DeltaStore(str(tmp_path / "storage")), Files(str(tmp_path / "storage"))
    recorded(store, configured, "a", events=("started",))
    (deletion,) = plan_deletions(store, files, ["a"])
    with pytest.raises(ConfigError, match=r"seems to run: 1 trials are not over, .* 60 s ago; stop it"):
        deletion.check_still(NOW + timedelta(minutes=1))
    deletion.check_still(datetime.now(UTC))
