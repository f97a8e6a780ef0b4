"""Plain Parquet files: the tables without a table format, for a folder that anything can read."""

import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.storage.schema import TABLES, to_arrow


class ParquetStore:
    """One immutable file an append, ``<root>/tables/<table>/sweep_id=<sweep>/<number>.parquet``.

    A file is written under another name and linked to the next number, which fails where somebody else took it; then
    the others' rows are looked at and the next number is tried. So a sweep's files are one log, a key is in one of
    them, and the first writer's row is the one that stays: what readers saw never changes. That needs hard links, hence
    a folder and no object store.

    Args:
        root: a folder.

    Raises:
        ValueError: a root that is not a folder.
    """

    def __init__(self, root: str) -> None:
        if "://" in root:
            raise ValueError(f"storage={root!r}: Parquet files without a table format need a folder; use DeltaStore")
        self.storage = root
        self._root = Path(root) / "tables"

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the rows whose key is new, in one file for each sweep among them, each complete or absent."""
        source = to_arrow(table, rows)
        for sweep_id in dict.fromkeys(source["sweep_id"].to_pylist()):
            self._append(table, sweep_id, source.filter(pc.equal(source["sweep_id"], sweep_id)))

    def read(self, table: str, sweep_id: str | None = None) -> pa.Table:
        """Return the rows of a sweep, or all rows, in no particular order."""
        found = [TABLES[table].current(_read_file(file)) for file in self._files(table, sweep_id)]
        return pa.concat_tables([TABLES[table].schema.empty_table(), *found]).combine_chunks()

    def version(self, table: str) -> int:
        """Return the number of files, counted from 0."""
        return sum(1 for _ in self._files(table, None)) - 1

    def _files(self, table: str, sweep_id: str | None) -> Iterator[Path]:
        folders = sorted((self._root / table).glob("sweep_id=*")) if sweep_id is None else [self._log(table, sweep_id)]
        for folder in folders:  # by counting: a listing may hold a file and not yet the one before it
            yield from itertools.takewhile(Path.exists, (_numbered(folder, number) for number in itertools.count()))

    def _append(self, table: str, sweep_id: str, rows: pa.Table) -> None:
        folder = self._log(table, sweep_id)
        folder.mkdir(parents=True, exist_ok=True)
        key = list(TABLES[table].key)
        for number in itertools.count():
            file = _numbered(folder, number)
            if not file.exists() and (rows.num_rows == 0 or _write_new(rows, file)):
                return
            there = set(_keys(TABLES[table].current(_read_file(file)).select(key)))
            rows = rows.filter(pa.array([one not in there for one in _keys(rows.select(key))], pa.bool_()))

    def _log(self, table: str, sweep_id: str) -> Path:
        return self._root / table / f"sweep_id={quote(sweep_id, safe='')}"


def _numbered(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.parquet"


def _keys(rows: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def _read_file(file: Path) -> pa.Table:
    return pq.ParquetFile(file).read()


def _write_new(rows: pa.Table, file: Path) -> bool:
    """Write a file that is not there yet; False where somebody else was faster."""
    handle, part = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            pq.write_table(rows, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(part, file)
    except FileExistsError:
        return False
    finally:
        os.unlink(part)
    return True
