"""Delta tables: what sweeps are kept in."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from orchestrator.schema import TABLES, Table

ATTEMPTS = 12


class DeltaStore:
    """Delta tables under ``<root>/tables``, one partition a sweep."""

    def __init__(self, root: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._root = f"{root.rstrip('/')}/tables"
        self._sleep = sleep

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert-only MERGE on the table's key. Conflicts with other writers are retried."""
        if not rows:
            return
        declared = TABLES[table]
        source = declared.arrow(rows)  # MERGE does not look for equal keys within its source
        # A literal prunes the target to the sweep's partition.
        sweeps = ", ".join(f"'{one}'" for one in sorted({str(row["sweep_id"]) for row in rows}))
        for attempt in range(ATTEMPTS):
            try:
                merge = self._table(table).merge(
                    source,
                    predicate=f"old.sweep_id IN ({sweeps}) AND {_same_key(declared)}",
                    source_alias="new",
                    target_alias="old",
                )
                merge.when_not_matched_insert_all().execute()
                return
            except CommitFailedError:
                if attempt == ATTEMPTS - 1:
                    raise
                self._sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))

    def read(self, table: str, sweep_id: str | None = None) -> pa.Table:
        """The rows of a sweep, or all, in no particular order."""
        try:
            found = DeltaTable(f"{self._root}/{table}")
        except TableNotFoundError:
            return TABLES[table].schema.empty_table()
        chosen = None if sweep_id is None else pads.field("sweep_id") == sweep_id
        # One thread: a process that ended right after a read was aborted now and then, by Arrow's threads at its exit.
        return TABLES[table].current(found.to_pyarrow_dataset().to_table(filter=chosen, use_threads=False))

    def version(self, table: str) -> int:
        """The Delta version."""
        try:
            return int(DeltaTable(f"{self._root}/{table}").version())
        except TableNotFoundError:
            return -1

    def _table(self, name: str) -> DeltaTable:
        uri = f"{self._root}/{name}"
        try:
            table = DeltaTable(uri)
            there = {column.name: column for column in table.schema().fields}
            missing = [column for column in TABLES[name].schema if column.name not in there]
            if missing:
                table.alter.add_columns(DeltaSchema.from_arrow(pa.schema(missing)).fields)
            for column in TABLES[name].schema:
                if column.nullable and column.name in there and not there[column.name].nullable:
                    table.alter.drop_column_not_null(column.name)
            return table
        except TableNotFoundError:
            pass
        try:
            return DeltaTable.create(
                uri,
                TABLES[name].schema,
                mode="ignore",
                partition_by=["sweep_id"],
                configuration={"delta.appendOnly": "true"},
            )
        except DeltaError as error:  # another writer made it in the meantime
            if not DeltaTable.is_deltatable(uri):
                raise
            raise CommitFailedError(str(error)) from error


def _same_key(table: Table) -> str:
    """When a row that is there (``old``) has the key of another (``new``), in SQL."""
    return " AND ".join(
        f"(old.{name} IS NOT DISTINCT FROM new.{name})" if name in table.nullable_key else f"old.{name} = new.{name}"
        for name in table.key
    )
