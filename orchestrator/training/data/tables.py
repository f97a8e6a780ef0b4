"""The columns of a user's own table: Parquet or Arrow files with encoded image bytes and labels."""

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
from orchestrator.errors import ConfigError, shown
from orchestrator.training.data.arrow_files import read_batches, read_columns, read_schema
from orchestrator.training.data.columns import find_columns, has_bytes, holds_bytes, likely_images, likely_labels
from orchestrator.training.data.encoded import Note, Rows
from orchestrator.training.data.images import decode_image
from orchestrator.training.data.labels import plain_values, read_labels
from orchestrator.training.data.path_lists import is_path_list, read_path_lists
from orchestrator.training.data.table_files import MAKE_ONE


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

    def decode(
        self, row: int, data: bytes | None, config: DataConfig, side: int | None, note: Note = None
    ) -> npt.NDArray[np.uint8]:
        """An image of the table: see :class:`orchestrator.training.data.encoded.Rows`."""
        where = f"data.image_column={shown(self.image_column)} of {self.key}: row {row}"
        return decode_image(data, where, config, side=side, note=note)

    def name(self, row: int) -> str:
        """Its number."""
        return f"image {row}"


def read_table(files: Sequence[Path], config: DataConfig, key: str) -> tuple[Rows, npt.NDArray[Any], DataConfig]:
    """Read the labels of a table, as int64 ids or as names. Its images are read later.

    Args:
        files: that make the table, one after the other; or lists of the paths of images.
        config: which columns.
        key: what names the files, for errors.

    Returns:
        The images, their labels, and the configuration with the columns that were found.

    Raises:
        ConfigError: no such columns, or labels of the wrong type.
    """
    lists = [file for file in files if is_path_list(file)]
    if len(lists) == len(files):
        return read_path_lists(files, config, key)
    if lists:
        raise ConfigError(
            f"{key}: {shown(lists[0].name)} is a list of paths, and other files are tables; name the one or the others"
        )
    labels: list[pa.ChunkedArray] = []
    for file in files:
        schema = read_schema(file, key)
        config = find_columns(file, schema.names, config, likely_images(schema), likely_labels(schema))
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
        return images, np.asarray(label_column.to_numpy(), dtype=np.int64), config
    return images, np.asarray(label_column.to_pylist()), config


def _bytes_at(images: pa.Array, place: int) -> bytes | None:
    data: bytes | None = images[place].as_py()
    return data


def _image_bytes(column: pa.ChunkedArray, where: str, first: int) -> pa.ChunkedArray:
    """A part of a column of one file, from its row ``first`` on, as encoded images."""
    if pa.types.is_dictionary(column.type):
        column = plain_values(column, column.type.value_type)
    if pa.types.is_struct(column.type):
        if not has_bytes(column.type):
            raise ConfigError(f"{where} is {shown(str(column.type))}; a field 'bytes' is needed; {MAKE_ONE}")
        _check_not_only_path(column, where, first)
        column = pc.struct_field(column, "bytes")
    if not holds_bytes(column.type):
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
