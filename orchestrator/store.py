"""The tables: `sweeps`, `trials` (an event log), `epochs`, `rungs`, `points`. They are the truth; the rest is a view.

A store has three methods. Rows have deterministic keys, and appending a row whose key is there adds nothing, so
whoever is not sure that a write went through writes again.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

SCHEMA_VERSION = 3  # 2: kernel_retention, flops, coupling in points; 3: level, beside which tau and threshold are null
ATTEMPTS = 12


@dataclass(frozen=True)
class Table:
    """A table's columns and the ones that make a row's key, in which null equals null."""

    schema: pa.Schema
    key: tuple[str, ...]

    @property
    def same_key(self) -> str:
        """When a row that is there (``old``) has the key of another (``new``), in SQL."""
        nullable = {name for name in self.key if self.schema.field(name).nullable}
        return " AND ".join(
            f"(old.{name} IS NOT DISTINCT FROM new.{name})" if name in nullable else f"old.{name} = new.{name}"
            for name in self.key
        )


def _table(key: Sequence[str], *, nullable: Sequence[str] = (), **columns: pa.DataType) -> Table:
    fields = [pa.field(name, kind, name not in key or name in nullable) for name, kind in columns.items()]
    return Table(pa.schema([*fields, pa.field("schema_version", pa.int32())]), tuple(key))


_TEXT, _INT, _FLOAT, _TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", tz="UTC")

# Of a point, and of a point at a rung.
_METRICS = {
    "accuracy": _FLOAT,
    "reuse_accuracy": _FLOAT,
    "reuse_accuracy_error": _FLOAT,  # standard error
    "reuse_baseline": _FLOAT,  # the whole network with restricted logits, same draw
    "reuse_subsets": _INT,
    "reuse_images": _INT,
    "module_size": _FLOAT,
    "module_overlap": _FLOAT,
    "overlap_jaccard": _FLOAT,
    "kernel_retention": _FLOAT,
    "flops": _FLOAT,  # module / full model
    "coupling": _FLOAT,
    "floored": _INT,  # (class, layer) pairs where the floor acted
}

TABLES = {
    "sweeps": _table(["sweep_id"], sweep_id=_TEXT, created=_TIME, identity=_TEXT, config=_TEXT, versions=_TEXT),
    "trials": _table(
        ["sweep_id", "trial_id", "attempt", "event"],
        sweep_id=_TEXT,
        trial_id=_TEXT,
        number=_INT,
        attempt=_INT,
        event=_TEXT,  # proposed, started, finished, failed, diverged, stopped
        time=_TIME,
        coefficients=_TEXT,  # canonical JSON
        seconds=_FLOAT,  # finished, stopped: spent training, over all attempts
        evaluation_seconds=_FLOAT,  # likewise: spent counting and decomposing
        precision=_TEXT,
        reason=_TEXT,
    ),
    "epochs": _table(
        ["sweep_id", "trial_id", "epoch"],
        sweep_id=_TEXT,
        trial_id=_TEXT,
        epoch=_INT,
        loss=_FLOAT,
        cross_entropy=_FLOAT,
        affinity=_FLOAT,
        dispersion=_FLOAT,
        compactness=_FLOAT,
        training_accuracy=_FLOAT,
        learning_rate=_FLOAT,
        seconds=_FLOAT,
    ),
    "points": _table(
        ["sweep_id", "trial_id", "tau", "threshold", "level", "split"],
        nullable=["tau", "threshold", "level"],  # a choice is tau and threshold, or level
        sweep_id=_TEXT,
        trial_id=_TEXT,
        tau=_FLOAT,
        threshold=_FLOAT,
        level=_FLOAT,
        split=_TEXT,  # validation or test
        **_METRICS,
    ),
    "rungs": _table(
        ["sweep_id", "trial_id", "epoch", "tau", "threshold", "level"],
        nullable=["tau", "threshold", "level"],
        sweep_id=_TEXT,
        trial_id=_TEXT,
        rung=_INT,
        fraction=_FLOAT,  # of the training: trials are compared at the same one
        epoch=_INT,
        tau=_FLOAT,
        threshold=_FLOAT,
        level=_FLOAT,
        **_METRICS,
    ),
}


class ResultStore(Protocol):
    """Versioned tables behind three methods, so that another table format is one class."""

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the rows whose key is not there yet."""
        ...

    def read(self, table: str, sweep_id: str | None = None) -> pa.Table:
        """The rows of a sweep, or all."""
        ...

    def version(self, table: str) -> int:
        """The table's version, which every append that adds something raises; -1 before the first."""
        ...


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
        unique = {
            tuple(row.get(name) for name in declared.key): row for row in rows
        }  # MERGE does not look within its source
        source = pa.Table.from_pylist(
            [{**row, "schema_version": SCHEMA_VERSION} for row in unique.values()], declared.schema
        )
        # A literal prunes the target to the sweep's partition.
        sweeps = ", ".join(f"'{one}'" for one in sorted({str(row["sweep_id"]) for row in rows}))
        for attempt in range(ATTEMPTS):
            try:
                merge = self._table(table).merge(
                    source,
                    predicate=f"old.sweep_id IN ({sweeps}) AND {declared.same_key}",
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
        schema = TABLES[table].schema
        try:
            found = DeltaTable(f"{self._root}/{table}")
        except TableNotFoundError:
            return schema.empty_table()
        chosen = None if sweep_id is None else pads.field("sweep_id") == sweep_id
        # One thread: a process that ended right after a read was aborted now and then, by Arrow's threads at its exit.
        rows = found.to_pyarrow_dataset().to_table(filter=chosen, use_threads=False)
        for name in set(schema.names) - set(rows.schema.names):  # written before there was such a column
            rows = rows.append_column(name, pa.nulls(len(rows)))
        return rows.select(schema.names).cast(schema)

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
