"""The result stores: what both keep to, and what each has of its own."""

import math
import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from orchestrator.errors import StorageFault
from orchestrator.storage.delta import DeltaStore
from orchestrator.storage.schema import SCHEMA_VERSION, TABLES
from tests.benchmarks.parquet_store import ParquetStore
from tests.integration.waiting import PATIENCE
from tests.orchestrator.storage.store_contract import BY_LEVEL, POINT, StoreContract, event


def _append_many(root):
    store = DeltaStore(root)
    for number in range(40):
        store.append("trials", [event(number)])


class TestDeltaStore(StoreContract):
    make = DeltaStore

    @pytest.mark.parametrize(
        ("column", "value"), [("accuracy", 1.5), ("flops", math.nan), ("reuse_accuracy_error", math.inf), ("tau", -0.1)]
    )
    def test_other_programs_cannot_write_what_cannot_be(self, store, tmp_path, column, value):
        store.append("points", [POINT])
        rows = pa.Table.from_pylist([{**POINT, column: value}], TABLES["points"].schema)
        with pytest.raises(DeltaError, match="failed validation check"):
            write_deltalake(f"{tmp_path}/tables/points", rows, mode="append")
        assert store.read("points").num_rows == 1

    def test_rows_are_never_changed_or_deleted(self, store, tmp_path):
        store.append("trials", [event(0)])
        with pytest.raises(DeltaError, match="append"):
            DeltaTable(f"{tmp_path}/tables/trials").delete()

    def test_no_thread_is_left_with_a_python_object_after_a_read(self, store, tmp_path, monkeypatch):
        """Arrow's threads drop a data set's file system some time after the read. One that is a Python object asks for
        the interpreter then, and where that is ending, the process is aborted."""
        store.append("trials", [event(0)])

        def refuse(*_):
            raise AssertionError("a file system in Python")

        monkeypatch.setattr("pyarrow.fs.PyFileSystem", refuse)
        for root in (tmp_path, f"file://{tmp_path}"):
            assert self.make(str(root)).read("trials", "s").num_rows == 1
        ends = f"from orchestrator.storage import DeltaStore; DeltaStore({str(tmp_path)!r}).read('trials')"
        assert [subprocess.run([sys.executable, "-c", ends]).returncode for _ in range(2)] == [0] * 2

    def test_a_storage_has_one_id_that_moves_with_it(self, tmp_path):
        first, second = self.make(str(tmp_path / "first")), self.make(str(tmp_path / "second"))
        first.append("trials", [event(0)])
        assert first.storage_id() is None
        barrier = threading.Barrier(8)

        def make(_):
            barrier.wait()
            return first.storage_id(make=True)

        with ThreadPoolExecutor(8) as threads:
            (made,) = set(threads.map(make, range(8)))
        assert made
        assert second.storage_id(make=True) != made
        (tmp_path / "first").rename(tmp_path / "moved")
        assert self.make(str(tmp_path / "moved")).storage_id() == made

    def test_older_versions_can_be_read(self, store):
        store.append("trials", [event(0)])
        before = store.version("trials")
        store.append("trials", [event(1), {**event(1), "sweep_id": "other"}])
        store.compact("trials")
        assert store.read("trials", version=before)["trial_id"].to_pylist() == ["s-0"]
        assert store.read("trials", "other", version=before).num_rows == 0
        assert store.read("trials", "other", version=store.version("trials")).num_rows == 1

    def test_a_version_that_is_not_there_is_refused(self, store):
        with pytest.raises(ValueError, match="trials has no version 0; it has no rows yet"):
            store.read("trials", version=0)
        store.append("trials", [event(0)])
        last = store.version("trials")
        for version in (-1, last + 1):
            with pytest.raises(ValueError, match=f"trials has no version {version}; it has 0 to {last}"):
                store.read("trials", version=version)

    def test_compacting_leaves_the_rows_and_takes_the_files(self, store, tmp_path):
        assert store.compact("trials") == 0
        for sweep_id in ("s", "other"):
            for number in range(4):
                store.append("trials", [{**event(number), "sweep_id": sweep_id}])
        before = sorted(store.read("trials").to_pylist(), key=repr)
        assert store.compact("trials", "s") == 4
        assert len(DeltaTable(f"{tmp_path}/tables/trials").file_uris()) == 1 + 4
        assert store.compact("trials") == 4
        assert store.compact("trials") == 0
        assert sorted(store.read("trials").to_pylist(), key=repr) == before
        store.append("trials", [event(0), event(9)])  # keys are found in compacted files
        assert store.read("trials", "s").num_rows == 5

    def test_a_conflict_that_does_not_end_is_raised_after_two_minutes(self):
        now, waits = 0.0, []

        def sleep(seconds):
            nonlocal now
            waits.append(seconds)
            now += seconds

        def conflict():
            raise CommitFailedError("somebody else was faster")

        store = DeltaStore("/nowhere", sleep=sleep, clock=lambda: now)
        with pytest.raises(
            StorageFault, match=r"/nowhere/tables/trials: the table trials could not be written in 120 s"
        ):
            store._retried("trials", conflict)
        assert 120 < now < 122
        assert len(waits) > 75  # at most 1.6 s each

    def test_compacting_beside_a_writer_loses_nothing(self, store, tmp_path):
        writer = multiprocessing.get_context("forkserver").Process(target=_append_many, args=(str(tmp_path),))
        writer.start()
        compacted = 0
        while writer.is_alive():
            compacted += store.compact("trials")
        assert writer.exitcode == 0
        assert compacted > 0
        assert sorted(store.read("trials")["number"].to_pylist()) == list(range(40))


class TestParquetStore(StoreContract):
    make = ParquetStore

    def test_an_append_that_adds_nothing_writes_no_file(self, store, tmp_path):
        for _ in range(2):
            store.append("trials", [event(0)])
        assert store.version("trials") == 0
        assert [one.name for one in tmp_path.rglob("*") if one.is_file()] == ["00000000.parquet"]

    def test_any_sweep_id_stays_in_its_folder(self, store, tmp_path):
        store.append("trials", [{**event(0), "sweep_id": "../*/é"}])
        assert store.read("trials", "../*/é").num_rows == store.read("trials").num_rows == 1
        assert len(list((tmp_path / "tables" / "trials").iterdir())) == 1

    def test_an_object_store_is_refused(self):
        with pytest.raises(ValueError, match="storage='s3://bucket': Parquet files"):
            ParquetStore("s3://bucket")


def old_points(root, *, without, module_size=0.5):
    """A table of points as an older version made it; gives the key of its one row."""
    columns = [column for column in TABLES["points"].schema if column.name not in without]
    old = pa.schema([column.with_nullable(column.name not in POINT) for column in columns])
    DeltaTable.create(
        f"{root}/tables/points", old, partition_by=["sweep_id"], configuration={"delta.appendOnly": "true"}
    )
    rows = pa.Table.from_pylist([{**POINT, "module_size": module_size, "schema_version": 1}], old)
    write_deltalake(f"{root}/tables/points", rows, mode="append")


def test_a_table_from_before_a_column_was_added_is_read_and_appended_to(tmp_path):
    """Points of schema version 1 had no FLOPs."""
    old_points(tmp_path, without=("kernel_retention", "flops", "coupling", "level"))
    store = DeltaStore(str(tmp_path))
    assert store.read("points").schema == TABLES["points"].schema
    assert store.read("points").to_pylist()[0]["flops"] is None
    store.append("points", [{**POINT, "flops": 0.1}, {**POINT, "tau": 0.5, "flops": 0.25}])  # the first is there
    found = sorted(store.read("points").to_pylist(), key=lambda row: row["tau"])
    assert [(row["tau"], row["flops"], row["schema_version"]) for row in found] == [
        (0.5, 0.25, SCHEMA_VERSION),
        (0.9, None, 1),
    ]


def test_a_table_from_before_there_were_levels_takes_them(tmp_path):
    """In points of schema version 2 tau and threshold could not be null."""
    old_points(tmp_path, without=("level",))
    store = DeltaStore(str(tmp_path))
    for _ in range(2):
        store.append("points", [POINT, BY_LEVEL, {**BY_LEVEL, "level": 0.2}])
    found = sorted(store.read("points").to_pylist(), key=lambda row: row["level"] or 0)
    assert [(row["tau"], row["threshold"], row["level"]) for row in found] == [
        (0.9, 0.0, None),
        (None, None, 0.1),
        (None, None, 0.2),
    ]
    assert (found[0]["cut_size"], found[0]["module_size"]) == (0.5, None)  # the row that was there
    assert store.read("points").schema == TABLES["points"].schema


def test_a_table_from_before_there_were_ranges_gets_them(tmp_path):
    old_points(tmp_path, without=("level",))
    DeltaStore(str(tmp_path)).append("points", [BY_LEVEL])
    known = DeltaTable(f"{tmp_path}/tables/points").metadata().configuration
    assert {f"delta.constraints.{name}" for name in TABLES["points"].constraints} <= set(known)
    assert known["delta.appendOnly"] == "true"


def test_a_table_with_rows_out_of_range_is_appended_to_all_the_same(tmp_path, caplog):
    """It gets no constraints, which is said once; new rows are checked before they are written."""
    old_points(tmp_path, without=(), module_size=1.5)
    store = DeltaStore(str(tmp_path))
    for level in (0.1, 0.2):
        store.append("points", [{**BY_LEVEL, "level": level}])
    with pytest.raises(ValueError, match=r"points\.module_size=1\.5 cannot be"):
        store.append("points", [{**BY_LEVEL, "level": 0.3, "module_size": 1.5}])
    assert store.read("points").num_rows == 3
    assert [record.message.split(":")[0] for record in caplog.records] == [
        f"{tmp_path}/tables/points has rows out of range and therefore no constraints"
    ]


def _append_thousand(make, root, worker, barrier):
    """A thousand rows of one's own, and a hundred that everybody writes, by a hundred."""
    store = make(root)
    barrier.wait(PATIENCE)
    for start in (*range(0, 1000, 100), None):
        trial, epochs = ("s-all", range(100)) if start is None else (f"s-{worker}", range(start, start + 100))
        rows = [{"sweep_id": "s", "trial_id": trial, "epoch": epoch, "seconds": float(worker)} for epoch in epochs]
        store.append("epochs", rows)


@pytest.mark.slow
@pytest.mark.parametrize("make", [DeltaStore, ParquetStore])
def test_ten_processes_of_a_thousand_rows_each(tmp_path, make):
    """Nothing is lost, nothing is there twice, and a shared row is as its first writer wrote it."""
    context = multiprocessing.get_context("forkserver")
    barrier = context.Barrier(10)
    workers = [context.Process(target=_append_thousand, args=(make, str(tmp_path), one, barrier)) for one in range(10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert [worker.exitcode for worker in workers] == [0] * 10
    rows = make(str(tmp_path)).read("epochs", "s").to_pylist()
    keys = [(row["trial_id"], row["epoch"]) for row in rows]
    own = {(f"s-{worker}", epoch) for worker in range(10) for epoch in range(1000)}
    assert len(keys) == len(set(keys))
    assert set(keys) == own | {("s-all", epoch) for epoch in range(100)}
    assert all(row["seconds"] == int(row["trial_id"][2:]) for row in rows if row["trial_id"] != "s-all")
    assert len({row["seconds"] for row in rows if row["trial_id"] == "s-all"}) == 1
