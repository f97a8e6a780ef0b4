"""The columns of a user's own table: Parquet or Arrow files with encoded image bytes and labels."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, listed, shown
from orchestrator.training.data.arrow_files import read_columns, read_schema
from orchestrator.training.data.labels import plain_values, read_labels, recorded_names
from orchestrator.training.data.table_files import MAKE_ONE

USUAL_LABELS = ("label", "labels", "fine_label", "target", "targets", "class", "category", "y", "cls")


def read_table(files: Sequence[Path], config: DataConfig, key: str) -> tuple[pa.ChunkedArray, npt.NDArray[Any]]:
    """Read a table: its images, as bytes, and its labels as int64 ids or as names.

    Args:
        files: that make the table, one after the other.
        config: which columns.
        key: what names the files, for errors.

    Raises:
        ConfigError: no such columns, or columns of the wrong type.
    """
    images: list[pa.ChunkedArray] = []
    labels: list[pa.ChunkedArray] = []
    for file in files:
        table = _columns(file, config, key)
        if table.num_rows:
            image_key, label_key = (
                f"data.{column}={shown(getattr(config, column))} of {shown(file.name)}"
                for column in ("image_column", "label_column")
            )
            images.append(_image_bytes(table.column(0), image_key))
            labels.append(read_labels(table.column(1), label_key))
    if not images:
        path = config.test_path if key == "data.test_path" else config.path
        raise ConfigError(f"{key}={shown(path)} has no rows")
    if len({column.type for column in labels}) > 1:
        raise ConfigError(
            f"data.label_column={shown(config.label_column)} has numbers in one file and names in another"
        )
    column, label_column = (
        pa.chunked_array([chunk for column in columns for chunk in column.chunks]) for columns in (images, labels)
    )
    if pa.types.is_integer(label_column.type):
        return column, np.asarray(label_column.to_numpy(), dtype=np.int64)
    return column, np.asarray(label_column.to_pylist())


def _columns(file: Path, config: DataConfig, key: str) -> pa.Table:
    schema = read_schema(file, key)
    likely = {"image_column": _likely_images(schema), "label_column": _likely_labels(schema)}
    for column, names in likely.items():
        wanted = getattr(config, column)
        count = schema.names.count(wanted)
        if count > 1:
            raise ConfigError(f"data.{column}={shown(wanted)}: {shown(str(file))} has {count} columns of that name")
        if count == 0:
            near = difflib.get_close_matches(wanted, schema.names, n=1)
            meant = [f"; did you mean {_override(f'data.{column}', name)}?" for name in (names + near)[:1]]
            raise ConfigError(
                f"data.{column}={shown(wanted)} is not a column of {shown(str(file))}; it has {listed(schema.names)}"
                + "".join(meant)
            )
    return read_columns(file, [config.image_column, config.label_column], key)


def _likely_images(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if _holds_bytes(field.type) or _has_bytes(field.type)]


def _likely_labels(schema: pa.Schema) -> list[str]:
    named = [name for name in schema.names if recorded_names(schema, name)]
    return named + [name for usual in USUAL_LABELS for name in schema.names if name.lower() == usual]


def _override(key: str, value: str) -> str:
    text = shown(value)
    return f"{key}={value}" if value.isidentifier() and value in text else f"{key}={text}"


def _image_bytes(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """A column of one file as encoded images."""
    if pa.types.is_dictionary(column.type):
        column = plain_values(column, column.type.value_type)
    if pa.types.is_struct(column.type):
        if not _has_bytes(column.type):
            raise ConfigError(f"{where} is {shown(str(column.type))}; a field 'bytes' is needed; {MAKE_ONE}")
        _check_not_only_path(column, where)
        column = pc.struct_field(column, "bytes")
    if not _holds_bytes(column.type):
        raise ConfigError(f"{where} is {shown(str(column.type))}; encoded image bytes are needed; {MAKE_ONE}")
    return column.cast(pa.large_binary())


def _check_not_only_path(column: pa.ChunkedArray, where: str) -> None:
    if column.type.get_field_index("path") < 0:
        return
    paths = pc.struct_field(column, "path")
    alone = pc.and_(pc.is_null(pc.struct_field(column, "bytes")), pc.is_valid(paths))
    if (row := pc.index(alone, True).as_py()) >= 0:
        raise ConfigError(
            f"{where}: row {row} has no bytes, only the path {shown(paths[row].as_py())}; {MAKE_ONE} that holds the"
            " images"
        )


def _has_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _holds_bytes(kind: pa.DataType) -> bool:
    checks = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(check(kind) for check in checks)
