"""Columns of one Parquet or Arrow file. What a file is, its first bytes say, not its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from orchestrator.errors import ConfigError, reason_of, shown
from orchestrator.training.data.table_files import MAKE_ONE

PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARRO", b"\xff\xff\xff\xff"
BATCH_ROWS = 256  # of Parquet at once: Arrow cannot make structs of more than 2 GiB
BUFFER = 2**20  # bytes; without one Arrow reads a row group whole, and of many files that is everything


def read_schema(file: Path, key: str) -> pa.Schema:
    """The columns of a file and its metadata.

    Args:
        file: Parquet, or Arrow as a file or as a stream.
        key: ``data.path`` or ``data.test_path``, for the error.

    Raises:
        ConfigError: another kind of file, or a broken one.
    """
    with _is_table(file, key):
        if _beginning(file) == PARQUET:
            schema = pq.read_schema(file)
        else:
            with pa.OSFile(str(file)) as source:
                schema = _arrow_reader(file, source).schema
        list(schema.names)  # fails here on names that are not UTF-8
        return schema


def read_columns(file: Path, names: list[str], key: str) -> pa.Table:
    """Some columns of a file, checked for broken contents; otherwise as :func:`read_schema`."""
    tables = list(read_batches(file, names, key))
    return pa.concat_tables(tables) if tables else read_schema(file, key).empty_table().select(names)


def read_batches(file: Path, names: list[str], key: str) -> Iterator[pa.Table]:
    """The same, some rows at a time: as many as a batch of an Arrow file has, or ``BATCH_ROWS`` of Parquet."""
    with _is_table(file, key):
        for batch in _batches(file, names):
            table = pa.Table.from_batches([batch]).select(names)
            table.validate(full=True)
            yield table


def _batches(file: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    if _beginning(file) == PARQUET:
        with pq.ParquetFile(file, buffer_size=BUFFER) as parquet:
            yield from parquet.iter_batches(BATCH_ROWS, columns=names)
        return
    with pa.OSFile(str(file)) as source:
        schema = _arrow_reader(file, source).schema
        source.seek(0)
        options = ipc.IpcReadOptions(included_fields=[schema.get_field_index(name) for name in names])
        reader = _arrow_reader(file, source, options=options)
        if isinstance(reader, ipc.RecordBatchStreamReader):
            yield from reader
        else:
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))


@contextmanager
def _is_table(file: Path, key: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{key}: {shown(str(file))} is not a Parquet or Arrow table: {reason_of(error)}; {MAKE_ONE} of images or"
            " of a CSV file"
        ) from error


def _beginning(file: Path) -> bytes:
    if not file.is_file():
        raise OSError("it is not a file")
    with open(file, "rb") as source:
        return source.read(4)


def _arrow_reader(file: Path, source: pa.NativeFile, **more: Any) -> Any:
    beginning = _beginning(file)
    if beginning == ARROW_FILE:
        return ipc.open_file(source, **more)
    if beginning == ARROW_STREAM:
        return ipc.open_stream(source, **more)
    raise OSError(f"it begins with {beginning!r}")
