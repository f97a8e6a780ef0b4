"""Rows of a benchmark that are kept in an Arrow file, which an interrupted run goes on from."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather

Row = dict[str, Any]


def read_rows(file: Path) -> list[Row]:
    """Return the rows so far; none where there is no file."""
    rows: list[Row] = feather.read_table(file, memory_map=False).to_pylist() if file.exists() else []
    return rows


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Write all rows anew, whole or not at all. A row may lack columns of others."""
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    feather.write_feather(table, f"{file}.part", compression="zstd")
    os.replace(f"{file}.part", file)
