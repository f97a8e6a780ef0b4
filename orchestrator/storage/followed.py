"""The rows of a sweep as they come: a reader of a table that reads each row once."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.storage.delta import DeltaStore
from orchestrator.storage.schema import TABLES

FIRST_WITH_RULES = 5  # schema version from which rows of points state their rule


class FollowedTable:
    """Rows of one sweep, of a table to which others append.

    What a commit adds is read from its file in the log, so that a look at a table without new rows costs one file that
    is not there, and a glance at the last one that is. Compaction changes no rows, and its commits are passed over.

    Args:
        store: the tables.
        table: its name.
        sweep_id: of the sweep.
    """

    def __init__(self, store: DeltaStore, table: str, sweep_id: str) -> None:
        self._store, self._table, self._sweep_id = store, table, sweep_id
        self._version = -1
        self._older: set[tuple[Any, ...]] = set()

    def new_rows(self) -> pa.Table:
        """Return the rows that came since the last call; at the first call all there are.

        Raises:
            StorageFault: a table that cannot be read, or that was deleted or replaced since the last call.
        """
        if self._version < 0:
            return self._first_rows()
        parts = []
        while (rows := self._store.added(self._table, self._version + 1, self._sweep_id)) is not None:
            self._version += 1
            parts.append(rows)
        self._store.check_there(self._table, self._version)
        new = pa.concat_tables(parts) if parts else TABLES[self._table].schema.empty_table()
        return (
            new.filter(pa.array([key not in self._older for key in self._keys(new)], pa.bool_()))
            if self._older
            else new
        )

    def _first_rows(self) -> pa.Table:
        self._version = self._store.version(self._table)
        if self._version < 0:
            return TABLES[self._table].schema.empty_table()
        rows = self._store.read(self._table, self._sweep_id, version=self._version)
        # A trial that died under an older version may write its rows again, as today's.
        self._older = set(self._keys(rows.filter(pc.less(rows["schema_version"], FIRST_WITH_RULES))))
        return rows

    def _keys(self, rows: pa.Table) -> list[tuple[Any, ...]]:
        return list(zip(*(rows[name].to_pylist() for name in TABLES[self._table].key), strict=True))
