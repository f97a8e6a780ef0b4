"""The result stores: what both keep to, and what each has of its own."""

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from orchestrator.schema import TABLES
from orchestrator.store import DeltaStore, ParquetStore
from tests.orchestrator.store_contract import BY_LEVEL, POINT, StoreContract, event


class TestDeltaStore(StoreContract):
    make = DeltaStore


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


def old_points(root, *, without):
    """A table of points as an older version made it; gives the key of its one row."""
    columns = [column for column in TABLES["points"].schema if column.name not in without]
    old = pa.schema([column.with_nullable(column.name not in POINT) for column in columns])
    DeltaTable.create(
        f"{root}/tables/points", old, partition_by=["sweep_id"], configuration={"delta.appendOnly": "true"}
    )
    rows = pa.Table.from_pylist([{**POINT, "module_size": 0.5, "schema_version": 1}], old)
    write_deltalake(f"{root}/tables/points", rows, mode="append")


def test_a_table_from_before_a_column_was_added_is_read_and_appended_to(tmp_path):
    """Points of schema version 1 had no FLOPs."""
    old_points(tmp_path, without=("kernel_retention", "flops", "coupling", "level"))
    store = DeltaStore(str(tmp_path))
    assert store.read("points").schema == TABLES["points"].schema
    assert store.read("points").to_pylist()[0]["flops"] is None
    store.append("points", [{**POINT, "flops": 0.1}, {**POINT, "tau": 0.5, "flops": 0.25}])  # the first is there
    found = sorted(store.read("points").to_pylist(), key=lambda row: row["tau"])
    assert [(row["tau"], row["flops"], row["schema_version"]) for row in found] == [(0.5, 0.25, 3), (0.9, None, 1)]


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
    assert found[0]["module_size"] == 0.5  # the row that was there
    assert store.read("points").schema == TABLES["points"].schema
