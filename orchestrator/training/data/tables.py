"""The columns of a user's own table: Parquet or Arrow files with encoded image bytes and labels."""

import difflib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, listed, shown
from orchestrator.training.data.arrow_files import read_batches, read_columns, read_schema
from orchestrator.training.data.images import decode_image
from orchestrator.training.data.labels import plain_values, read_labels, recorded_names
from orchestrator.training.data.table_files import MAKE_ONE

USUAL_LABELS = ("label", "labels", "fine_label", "target", "targets", "class", "category", "y", "cls")


@dataclass(frozen=True)
class TableImages:
    """The encoded images of a table, which are read from its files some at a time."""

    files: tuple[Path, ...]
    images: int
    key: str
    image_column: str

    def __len__(self) -> int:
        return self.images

    def chunks(self) -> Iterator[pa.Array]:
        """The bytes of all images in order, some at a time.

        Raises:
            ConfigError: a broken file, or a column of another type.
        """
        for file in self.files:
            where, row = f"data.image_column={shown(self.image_column)} of {shown(file.name)}", 0
            for table in read_batches(file, [self.image_column], self.key):
                if len(table):
                    yield from _image_bytes(table.column(0), where, row).chunks
                row += len(table)

    def encoded(self, rows: npt.NDArray[np.int64]) -> Iterator[Callable[[], bytes | None]]:
        """Some images, by ascending rows: see :class:`orchestrator.training.data.encoded.Rows`."""
        first = 0
        for chunk in self.chunks():
            own, rows = np.split(rows, [np.searchsorted(rows, first + len(chunk))])
            yield from (functools.partial(_bytes_at, chunk, place) for place in (own - first).tolist())
            first += len(chunk)
            if len(rows) == 0:
                return

    def decode(self, row: int, data: bytes | None, config: DataConfig, side: int | None) -> npt.NDArray[np.uint8]:
        """An image of the table: see :class:`orchestrator.training.data.encoded.Rows`."""
        where = f"data.image_column={shown(self.image_column)} of {self.key}: row {row}"
        return decode_image(data, where, config, side=side)

    def name(self, row: int) -> str:
        """Its number."""
        return f"image {row}"


def read_table(files: Sequence[Path], config: DataConfig, key: str) -> tuple[TableImages, npt.NDArray[Any]]:
    """Read the labels of a table, as int64 ids or as names. Its images are read later.

    Args:
        files: that make the table, one after the other.
        config: which columns.
        key: what names the files, for errors.

    Raises:
        ConfigError: no such columns, or labels of the wrong type.
    """
    labels: list[pa.ChunkedArray] = []
    for file in files:
        _check_columns(file, config, key)
        column = read_columns(file, [config.label_column], key).column(0)
        if len(column):
            labels.append(read_labels(column, f"data.label_column={shown(config.label_column)} of {shown(file.name)}"))
    if not labels:
        path = config.test_path if key == "data.test_path" else config.path
        raise ConfigError(f"{key}={shown(path)} has no rows")
    if len({column.type for column in labels}) > 1:
        raise ConfigError(
            f"data.label_column={shown(config.label_column)} has numbers in one file and names in another"
        )
    label_column = pa.chunked_array([chunk for column in labels for chunk in column.chunks])
    images = TableImages(tuple(files), len(label_column), key, config.image_column)
    if pa.types.is_integer(label_column.type):
        return images, np.asarray(label_column.to_numpy(), dtype=np.int64)
    return images, np.asarray(label_column.to_pylist())


def _check_columns(file: Path, config: DataConfig, key: str) -> None:
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


def _likely_images(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if _holds_bytes(field.type) or _has_bytes(field.type)]


def _likely_labels(schema: pa.Schema) -> list[str]:
    named = [name for name in schema.names if recorded_names(schema, name)]
    return named + [name for usual in USUAL_LABELS for name in schema.names if name.lower() == usual]


def _override(key: str, value: str) -> str:
    text = shown(value)
    return f"{key}={value}" if value.isidentifier() and value in text else f"{key}={text}"


def _bytes_at(images: pa.Array, place: int) -> bytes | None:
    data: bytes | None = images[place].as_py()
    return data


def _image_bytes(column: pa.ChunkedArray, where: str, first: int) -> pa.ChunkedArray:
    """A part of a column of one file, from its row ``first`` on, as encoded images."""
    if pa.types.is_dictionary(column.type):
        column = plain_values(column, column.type.value_type)
    if pa.types.is_struct(column.type):
        if not _has_bytes(column.type):
            raise ConfigError(f"{where} is {shown(str(column.type))}; a field 'bytes' is needed; {MAKE_ONE}")
        _check_not_only_path(column, where, first)
        column = pc.struct_field(column, "bytes")
    if not _holds_bytes(column.type):
        raise ConfigError(f"{where} is {shown(str(column.type))}; encoded image bytes are needed; {MAKE_ONE}")
    return column.cast(pa.large_binary())


def _check_not_only_path(column: pa.ChunkedArray, where: str, first: int) -> None:
    if column.type.get_field_index("path") < 0:
        return
    paths = pc.struct_field(column, "path")
    alone = pc.and_(pc.is_null(pc.struct_field(column, "bytes")), pc.is_valid(paths))
    if (row := pc.index(alone, True).as_py()) >= 0:
        raise ConfigError(
            f"{where}: row {first + row} has no bytes, only the path {shown(paths[row].as_py())}; {MAKE_ONE} that"
            " holds the images"
        )


def _has_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _holds_bytes(kind: pa.DataType) -> bool:
    checks = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(check(kind) for check in checks)
