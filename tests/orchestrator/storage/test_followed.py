"""Rows as they come, of tables that others append to and compact meanwhile: each once, as a whole read has them."""

import shutil
import threading

import pyarrow.compute as pc
import pytest

from orchestrator.errors import StorageFault
from orchestrator.storage import DeltaStore, FollowedTable

EPOCH = {"trial_id": "s-0000", "loss": 0.5}


@pytest.fixture
def store(tmp_path):
    return DeltaStore(str(tmp_path))


def append(store, *epochs, sweep_id="s"):
    store.append("epochs", [{**EPOCH, "sweep_id": sweep_id, "epoch": epoch} for epoch in epochs])


def new_epochs(followed):
    return sorted(followed.new_rows()["epoch"].to_pylist())


@pytest.mark.parametrize("sweep_id", ["s", "a sweep/with 100 % of it"])
def test_each_row_comes_once(store, sweep_id):
    followed = FollowedTable(store, "epochs", sweep_id)
    assert new_epochs(followed) == []
    append(store, 1, 2, sweep_id=sweep_id)
    append(store, 7, sweep_id="another")
    assert new_epochs(followed) == [1, 2]
    assert new_epochs(followed) == []
    append(store, 2, 3, sweep_id=sweep_id)
    append(store, 4, sweep_id=sweep_id)
    append(store, 8, sweep_id="another")
    assert new_epochs(followed) == [3, 4]
    assert new_epochs(followed) == []


def test_rows_are_those_of_a_whole_read(store):
    append(store, 1)
    followed = FollowedTable(store, "epochs", "s")
    followed.new_rows()
    append(store, 2)
    assert followed.new_rows().equals(store.read("epochs", "s").filter(pc.field("epoch") == 2))


def test_compaction_brings_no_rows_and_loses_none(store):
    followed = FollowedTable(store, "epochs", "s")
    append(store, 1)
    assert new_epochs(followed) == [1]
    append(store, 2)
    append(store, 3)
    assert store.compact("epochs", "s") == 3
    append(store, 4)
    assert new_epochs(followed) == [2, 3, 4]  # 2 and 3 from files that are no longer part of the table
    late = FollowedTable(store, "epochs", "s")
    assert new_epochs(late) == [1, 2, 3, 4]


def test_beside_writers_and_a_compaction(store):
    """Threads that append while the table is compacted again and again."""
    followed, found = FollowedTable(store, "epochs", "s"), []

    def write(first):
        own = DeltaStore(store._root.removesuffix("/tables"))
        for epoch in range(first, first + 8):
            append(own, epoch)

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 100)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        found += new_epochs(followed)
        store.compact("epochs", "s")
    found += new_epochs(followed)
    assert sorted(found) == [*range(8), *range(100, 108)]
    assert sorted(store.read("epochs", "s")["epoch"].to_pylist()) == sorted(found)


def test_a_row_of_an_older_version_is_not_written_again(store, monkeypatch):
    """Before schema version 5 points named no rule: the same point comes under another key."""
    point = {"sweep_id": "s", "trial_id": "s-0000", "split": "validation", "tau": 0.5, "threshold": 0.0}
    today = {**point, "rule": "activity", "rule_parameters": '{"tau": 0.5, "threshold": 0.0}', "stage": "cut"}
    with monkeypatch.context() as older:
        older.setattr("orchestrator.storage.schema.SCHEMA_VERSION", 4)
        older.setattr("orchestrator.storage.schema.with_choice", lambda row: row)
        store.append("points", [point])
    followed = FollowedTable(store, "points", "s")
    assert followed.new_rows().num_rows == 1
    store.append("points", [today, {**today, "split": "test"}])
    assert followed.new_rows()["split"].to_pylist() == ["test"]


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_table_that_is_deleted_is_refused(store, tmp_path, is_replaced):
    followed = FollowedTable(store, "epochs", "s")
    append(store, 1)
    append(store, 2)
    assert new_epochs(followed) == [1, 2]
    shutil.rmtree(tmp_path / "tables" / "epochs")
    if is_replaced:
        append(DeltaStore(str(tmp_path)), 1)
    with pytest.raises(StorageFault, match="the table epochs was deleted or replaced while it was in use"):
        followed.new_rows()
