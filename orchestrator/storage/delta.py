"""Delta tables: what sweeps are kept in."""

import functools
import json
import logging
import operator
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import DeltaTable, PostCommitHookProperties
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from orchestrator.errors import StorageGone
from orchestrator.storage.faults import busy_fault, table_fault
from orchestrator.storage.object_store import file_system, table_options
from orchestrator.storage.schema import TABLES, Table, to_arrow

PRUNING = ("sweep_id", "trial_id")  # what most tables' keys begin with
APPEND_ONLY = "delta.appendOnly"
IDENTITY = "storage"  # a table without rows, which no other is called
# Looking for expired files of the log lists the whole log, so that each append would take longer than the one before.
# Compaction looks for them.
NO_CLEANUP = PostCommitHookProperties(cleanup_expired_logs=False)
PATIENCE = 120.0  # seconds; a conflict means that somebody else got on, so only time says that something is wrong
log = logging.getLogger(__name__)
Result = TypeVar("Result")


class DeltaStore:
    """Delta tables under ``<root>/tables``: append-only, one partition per sweep, with a CHECK constraint for every
    range.

    Args:
        root: a folder or a URI, as :class:`orchestrator.storage.files.Files` takes it.
        sleep: how to wait before trying again what another writer was faster with.
        clock: how long that has been going on, in seconds.
    """

    def __init__(
        self, root: str, *, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.storage = root
        self._root = f"{root.rstrip('/')}/tables"
        self._options = table_options(root)
        self._sleep, self._clock = sleep, clock
        self._unconstrained: set[str] = set()
        self._seen: set[str] = set()  # tables that were there once

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Merge rows into the table by its key, inserting only. Conflicts with other writers are retried.

        Raises:
            ValueError: a value that the table cannot hold.
            StorageFault: a table that cannot be written; StorageGone if this store has seen it before it was deleted.
        """
        if not rows:
            return
        source = to_arrow(table, rows)  # MERGE does not look for equal keys within its source
        # Literals prune the target: to the sweep's partition, and to the files that have rows of the trial.
        literals = [_is_one_of(name, source) for name in PRUNING if name in TABLES[table].key]
        predicate = " AND ".join([*literals, _same_key(TABLES[table])])

        def merge() -> None:
            merged = self._table(table).merge(
                source,
                predicate=predicate,
                source_alias="new",
                target_alias="old",
                post_commithook_properties=NO_CLEANUP,
            )
            try:
                merged.when_not_matched_insert_all().execute()
            except DeltaError:
                raise
            except Exception as error:  # delta-rs raises bare ones for files that it cannot decode
                raise DeltaError(str(error)) from error

        with self._faults(table, "written"):
            self._retried(table, merge)

    def read(
        self, table: str, sweep_id: str | None = None, *, trial_id: str | None = None, version: int | None = None
    ) -> pa.Table:
        """Return the rows of a sweep, or all rows, in no particular order.

        Args:
            table: its name.
            sweep_id: of the sweep; None for all.
            trial_id: of one trial, where not all of the sweep are asked for.
            version: as :meth:`version` gave it, for the rows of then; None for now.

        Raises:
            ValueError: no such version.
            StorageFault: a table that cannot be read.
        """
        with self._faults(table, "read"):
            return self._read(table, {"sweep_id": sweep_id, "trial_id": trial_id}, version)

    def _read(self, table: str, wanted: Mapping[str, str | None], version: int | None) -> pa.Table:
        try:
            found = self._existing(table)
            if version is not None and not 0 <= version <= found.version():
                raise ValueError(f"{table} has no version {version}; it has 0 to {found.version()}")
            found = found if version is None else self._existing(table, version)
        except TableNotFoundError as error:
            if version is not None:
                raise ValueError(f"{table} has no version {version}; it has no rows yet") from error
            return TABLES[table].schema.empty_table()
        import pyarrow.dataset as pads

        conditions = [pads.field(name) == value for name, value in wanted.items() if value is not None]
        chosen = functools.reduce(operator.and_, conditions) if conditions else None
        # Arrow's own file system: delta-rs's is a Python object, which Arrow's threads let go of after the read. Where
        # the interpreter was ending by then, the process was aborted.
        system, base = self._files
        dataset = found.to_pyarrow_dataset(filesystem=pafs.SubTreeFileSystem(f"{base}/{table}", system))
        return TABLES[table].current(dataset.to_table(filter=chosen))

    def added(self, table: str, version: int, sweep_id: str) -> pa.Table | None:
        """Return the rows of a sweep that one commit added, read from its file in the log and from what that names.

        Args:
            table: its name.
            version: that the commit made.
            sweep_id: of the sweep.

        Returns:
            The rows, none of a commit that moved rows only; None where there is no such version yet.

        Raises:
            StorageFault: a table that cannot be read.
        """
        import pyarrow.parquet as pq

        system, base = self._files
        with self._faults(table, "read"):
            try:
                with system.open_input_stream(_commit_file(base, table, version)) as stream:
                    actions = map(json.loads, stream.read().splitlines())
            except FileNotFoundError:
                return None
            files = [
                action["add"]["path"]
                for action in actions
                if "add" in action
                and action["add"]["dataChange"]
                and action["add"]["partitionValues"]["sweep_id"] == sweep_id
            ]
            schema = TABLES[table].schema
            parts = []
            for file in files:
                with system.open_input_file(f"{base}/{table}/{unquote(file)}") as stream:
                    rows = pq.ParquetFile(stream).read()
                parts.append(TABLES[table].current(rows.append_column("sweep_id", pa.repeat(sweep_id, len(rows)))))
            return pa.concat_tables(parts) if parts else schema.empty_table()

    def check_there(self, table: str, version: int) -> None:
        """Refuse a table that has lost its last version, with all others.

        Args:
            table: its name.
            version: its last one, as far as is known.

        Raises:
            StorageGone: somebody has deleted the table, or put another in its place.
        """
        system, base = self._files
        if system.get_file_info(_commit_file(base, table, version)).type != pafs.FileType.File:
            raise self._lost(table)

    def delete(self, table: str, sweep_id: str) -> int:
        """Remove the rows of a sweep. Older versions of the table still hold them.

        Returns:
            How many rows were removed.

        Raises:
            StorageFault: a table that cannot be written.
        """
        if self.version(table) < 0:
            return 0
        name = sweep_id.replace("'", "''")
        count = int(self.read(table, sweep_id).num_rows)
        if count:
            with self._faults(table, "written"):
                self._retried(table, lambda: self._delete(table, f"sweep_id = '{name}'"))
        return count

    def _delete(self, name: str, predicate: str) -> None:
        """Tables refuse to lose rows by accident; for this one commit they do not."""
        self._table(name).alter.set_table_properties({APPEND_ONLY: "false"})
        try:
            self._existing(name).delete(predicate)
        finally:
            self._existing(name).alter.set_table_properties({APPEND_ONLY: "true"})

    def version(self, table: str) -> int:
        """Return the Delta version."""
        try:
            with self._faults(table, "read"):
                return int(self._existing(table).version())
        except TableNotFoundError:
            return -1

    def storage_id(self, *, make: bool = False) -> str | None:
        """Return the random id that distinguishes this storage from others, wherever it is moved.

        It is the one that Delta gave to the first version of an empty table, which is made when the id is asked for
        first. Of several who make it at once one writes that version, in an object store too.

        Args:
            make: give the storage an id where it has none.

        Returns:
            The id; None where there is none and none is made.
        """
        try:
            with self._faults(IDENTITY, "read"):
                return self._first_id()
        except TableNotFoundError:
            if not make:
                return None
        with self._faults(IDENTITY, "written"):
            return self._make_id()

    def _make_id(self) -> str:
        try:
            schema = pa.schema([("nothing", pa.string())])
            DeltaTable.create(f"{self._root}/{IDENTITY}", schema, mode="ignore", storage_options=self._options)
        except DeltaError:  # somebody else was faster
            pass
        return self._first_id()

    def compact(self, table: str, sweep_id: str | None = None) -> int:
        """Merge many small files into a few, of a sweep or of all. Reading is faster, and the rows are the same.

        Writers may go on: one that had looked at the old files tries again. The old files stay, for readers that have
        them open and for older versions.

        Returns:
            How many files were put together.
        """
        chosen = None if sweep_id is None else [("sweep_id", "=", sweep_id)]
        if self.version(table) < 0:
            return 0

        def compacted() -> int:
            opened = self._table(table)
            count = int(opened.optimize.compact(partition_filters=chosen)["numFilesRemoved"])
            opened.create_checkpoint()  # else all who open the table read of each of these files that it is gone
            return count

        with self._faults(table, "written"):
            return self._retried(table, compacted)

    def _first_id(self) -> str:
        return str(self._existing(IDENTITY, version=0).metadata().id)  # deltalake declares a number

    def _faults(self, table: str, doing: str) -> AbstractContextManager[None]:
        return table_fault(table, f"{self._root}/{table}", doing, lambda version: self._existing(table, version))

    def _retried(self, table: str, action: Callable[[], Result]) -> Result:
        started = self._clock()
        attempt = 0
        while True:
            try:
                return action()
            except CommitFailedError as error:  # somebody else committed first
                if self._clock() - started > PATIENCE:
                    raise busy_fault(table, f"{self._root}/{table}", error, PATIENCE) from error
                self._sleep(random.uniform(0, 0.05 * 2 ** min(attempt, 5)))
                attempt += 1

    def _table(self, name: str) -> DeltaTable:
        """The table, made if need be, with all that an older version of this program did not know."""
        declared = TABLES[name]
        table = self._open(name)
        there = {column.name: column for column in table.schema().fields}
        missing = [column for column in declared.schema if column.name not in there]
        if missing:
            table.alter.add_columns(DeltaSchema.from_arrow(pa.schema(missing)).fields)
        for column in declared.schema:
            if column.nullable and column.name in there and not there[column.name].nullable:
                table.alter.drop_column_not_null(column.name)
        self._constrain(name, table)
        return table

    def _constrain(self, name: str, table: DeltaTable) -> None:
        known = table.metadata().configuration
        missing = {key: sql for key, sql in TABLES[name].constraints.items() if f"delta.constraints.{key}" not in known}
        if not missing or name in self._unconstrained:
            return
        try:
            table.alter.add_constraint(missing)
        except CommitFailedError:
            raise
        except DeltaError as error:  # rows from before there were ranges; new ones are checked all the same
            self._unconstrained.add(name)
            log.warning("%s/%s has rows out of range and therefore no constraints: %s", self._root, name, error)

    @cached_property
    def _files(self) -> tuple[pafs.FileSystem, str]:
        """The file system of the tables, and where they are in it."""
        return file_system(self._root)

    def _existing(self, name: str, version: int | None = None) -> DeltaTable:
        """A table that is there. One that was there once is never made anew: what was in it would be missing."""
        try:
            table = DeltaTable(f"{self._root}/{name}", version=version, storage_options=self._options)
        except TableNotFoundError as error:
            if name in self._seen:
                raise self._lost(name) from error
            raise
        self._seen.add(name)
        return table

    def _lost(self, name: str) -> StorageGone:
        return StorageGone(
            f"{self._root}/{name}: the table {name} was deleted or replaced while it was in use; bring it back, or run"
            " the same command again to begin anew"
        )

    def _open(self, name: str) -> DeltaTable:
        uri = f"{self._root}/{name}"
        try:
            return self._existing(name)
        except TableNotFoundError:
            for seen in sorted(self._seen):
                self._existing(seen)  # a storage that is gone gets no table
        try:
            return DeltaTable.create(
                uri,
                TABLES[name].schema,
                mode="ignore",
                partition_by=["sweep_id"],
                configuration={APPEND_ONLY: "true"},
                storage_options=self._options,
            )
        except DeltaError as error:  # another writer made it in the meantime
            if not DeltaTable.is_deltatable(uri, self._options):
                raise
            raise CommitFailedError(str(error)) from error


def _is_one_of(name: str, source: pa.Table) -> str:
    """That a text of a row that is there is one of those of new rows, in SQL."""
    values = sorted(set(source[name].to_pylist()))
    return f"old.{name} IN ({', '.join(_quoted(value) for value in values)})"


def _quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _commit_file(base: str, table: str, version: int) -> str:
    return f"{base}/{table}/_delta_log/{version:020d}.json"


def _same_key(table: Table) -> str:
    """When a row that is there (``old``) has the key of another (``new``), in SQL."""
    return " AND ".join(
        f"(old.{name} IS NOT DISTINCT FROM new.{name})" if name in table.nullable_key else f"old.{name} = new.{name}"
        for name in table.key
    )
