"""The contract of a result store."""

import multiprocessing
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from orchestrator.store import SCHEMA_VERSION, TABLES, DeltaStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def event(number, event="proposed", attempt=0):
    return {
        "sweep_id": "s",
        "trial_id": f"s-{number}",
        "number": number,
        "attempt": attempt,
        "event": event,
        "time": NOW,
        "coefficients": "{}",
    }


def _write(root, worker):
    store = DeltaStore(root)
    for number in range(5):
        store.append("trials", [event(number), event(100 * worker + 10 + number)])


class StoreContract:
    @pytest.fixture
    def store(self, tmp_path):
        raise AssertionError("the implementation's test class gives the store")

    def test_a_table_without_rows_reads_empty(self, store):
        for name, table in TABLES.items():
            assert store.read(name).schema == table.schema
            assert store.read(name, "s").num_rows == 0
            assert store.version(name) == -1

    def test_rows_come_back_as_written(self, store):
        store.append("trials", [event(0), event(1)])
        rows = sorted(store.read("trials", "s").to_pylist(), key=lambda row: row["number"])
        assert [row["trial_id"] for row in rows] == ["s-0", "s-1"]
        assert rows[0]["time"] == NOW
        assert rows[0]["reason"] is None
        assert rows[0]["schema_version"] == SCHEMA_VERSION

    def test_writing_a_row_twice_adds_nothing(self, store):
        store.append("trials", [event(0)])
        store.append("trials", [{**event(0), "coefficients": "another"}, event(1)])
        rows = store.read("trials").to_pylist()
        assert sorted((row["trial_id"], row["coefficients"]) for row in rows) == [("s-0", "{}"), ("s-1", "{}")]

    def test_a_row_twice_in_one_append_is_one_row(self, store):
        store.append("trials", [event(0), event(0), event(1)])
        assert store.read("trials").num_rows == 2

    def test_the_key_tells_events_apart(self, store):
        store.append("trials", [event(0), event(0, "started", 1), event(0, "started", 2), event(0, "finished", 2)])
        assert store.read("trials").num_rows == 4

    def test_a_sweep_sees_its_own_rows(self, store):
        store.append("trials", [event(0), {**event(0), "sweep_id": "other"}])
        assert store.read("trials", "s").num_rows == 1
        assert store.read("trials").num_rows == 2

    def test_an_append_that_adds_raises_the_version(self, store):
        store.append("trials", [event(0)])
        before = store.version("trials")
        store.append("trials", [event(1)])
        assert store.version("trials") > before

    def test_writers_at_once_lose_nothing_and_double_nothing(self, store, tmp_path):
        """Four processes, each with rows of its own and rows that all of them write, on a table that none has made."""
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=_write, args=(str(tmp_path), worker)) for worker in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        assert [worker.exitcode for worker in workers] == [0] * 4
        ids = store.read("trials")["trial_id"].to_pylist()
        assert len(ids) == len(set(ids)) == 5 + 4 * 5


class TestDeltaStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return DeltaStore(str(tmp_path))


def old_points(root, *, without):
    """A table of points as an older version made it; gives the key of its one row."""
    columns = [column for column in TABLES["points"].schema if column.name not in without]
    old = pa.schema([column.with_nullable(column.name not in OLD_KEY) for column in columns])
    DeltaTable.create(
        f"{root}/tables/points", old, partition_by=["sweep_id"], configuration={"delta.appendOnly": "true"}
    )
    rows = pa.Table.from_pylist([{**OLD_KEY, "module_size": 0.5, "schema_version": 1}], old)
    write_deltalake(f"{root}/tables/points", rows, mode="append")


OLD_KEY = {"sweep_id": "s", "trial_id": "s-0", "tau": 0.9, "threshold": 0.0, "split": "test"}


def test_a_table_from_before_a_column_was_added_is_read_and_appended_to(tmp_path):
    """Points of schema version 1 had no FLOPs."""
    old_points(tmp_path, without=("kernel_retention", "flops", "coupling", "level"))
    store = DeltaStore(str(tmp_path))
    assert store.read("points").schema == TABLES["points"].schema
    assert store.read("points").to_pylist()[0]["flops"] is None
    store.append("points", [{**OLD_KEY, "flops": 0.1}, {**OLD_KEY, "tau": 0.5, "flops": 0.25}])  # the first is there
    found = sorted(store.read("points").to_pylist(), key=lambda row: row["tau"])
    assert [(row["tau"], row["flops"], row["schema_version"]) for row in found] == [(0.5, 0.25, 3), (0.9, None, 1)]


def test_a_table_from_before_there_were_levels_takes_them(tmp_path):
    """In points of schema version 2 tau and threshold could not be null."""
    old_points(tmp_path, without=("level",))
    store = DeltaStore(str(tmp_path))
    by_level = {**OLD_KEY, "tau": None, "threshold": None, "level": 0.1}
    for _ in range(2):
        store.append("points", [OLD_KEY, by_level, {**by_level, "level": 0.2}])
    found = sorted(store.read("points").to_pylist(), key=lambda row: row["level"] or 0)
    assert [(row["tau"], row["threshold"], row["level"]) for row in found] == [
        (0.9, 0.0, None),
        (None, None, 0.1),
        (None, None, 0.2),
    ]
    assert found[0]["module_size"] == 0.5  # the row that was there
    assert store.read("points").schema == TABLES["points"].schema


def test_null_equals_null_in_a_key(tmp_path):
    store = DeltaStore(str(tmp_path))
    by_level = {**OLD_KEY, "tau": None, "threshold": None, "level": 0.1}
    rows = [OLD_KEY, by_level, {**by_level, "level": 0.2}, {**by_level, "split": "validation"}]
    for _ in range(2):
        store.append("points", rows)
    assert store.read("points").num_rows == len(rows)
