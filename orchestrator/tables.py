"""Images from a user's own table: Parquet or Arrow files with encoded image bytes and a label column."""

import glob
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as pads
from PIL import Image, UnidentifiedImageError

from orchestrator.errors import ConfigError
from orchestrator.sections import DataConfig

LARGEST_SIDE = 4096


@dataclass(frozen=True)
class EncodedImages:
    """A table's images before decoding; indexing with an integer or boolean array picks some of them."""

    column: pa.ChunkedArray
    rows: npt.NDArray[np.int64]
    config: DataConfig

    def __getitem__(self, index: npt.NDArray[Any]) -> "EncodedImages":
        return replace(self, rows=self.rows[index])

    def decode(self) -> npt.NDArray[np.uint8]:
        """(I, ch, H, W) uint8.

        Raises:
            ConfigError: bytes that are no image, or images of different sizes.
        """
        with ThreadPoolExecutor() as pool:
            decoded = list(
                pool.map(lambda row: _decode(self.column[row].as_py(), row, self.config), self.rows.tolist())
            )
        first = decoded[0].shape
        for row, image in zip(self.rows, decoded, strict=True):
            if image.shape != first:
                raise ConfigError(
                    f"data.path: image {row} is {image.shape[1]} x {image.shape[2]}, image {self.rows[0]} is"
                    f" {first[1]} x {first[2]}; images must be of one size, set data.resize={first[1]}"
                )
        return np.stack(decoded)


def read_table(path: str, config: DataConfig) -> tuple[EncodedImages, npt.NDArray[Any]]:
    """Read a table: its images, not decoded yet, and its labels as int64 ids or as names.

    Args:
        path: a file, a folder or a pattern, relative to ``data.root`` or the working folder.
        config: which columns, how many channels, and the size to resize to.

    Raises:
        ConfigError: no such files or columns, or columns of the wrong type.
    """
    table = _columns(_find(path, config.root), config)
    if table.num_rows == 0:
        raise ConfigError(f"data.path={path!r} has no rows")
    images = _image_bytes(table.column(config.image_column), config)
    return EncodedImages(images, np.arange(len(images)), config), _labels(table.column(config.label_column), config)


def _find(path: str, root: str | None) -> list[str]:
    base = Path(root).expanduser() if root else Path()
    pattern = str(base / Path(path).expanduser())
    files = sorted(glob.glob(pattern))
    if not files:
        raise ConfigError(f"data.path={path!r} names no file ({pattern}); set MODA_DATA_DIR, data.root or data.path")
    return [str(one) for found in files for one in _files_of(Path(found))]


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(one for one in path.rglob("*") if one.suffix in (".parquet", ".arrow", ".feather"))


def _columns(files: list[str], config: DataConfig) -> pa.Table:
    kind = "parquet" if files and files[0].endswith(".parquet") else "ipc"
    try:
        dataset = pads.dataset(files, format=kind)
        names = dataset.schema.names
        for key in ("image_column", "label_column"):
            if getattr(config, key) not in names:
                raise ConfigError(f"data.{key}={getattr(config, key)!r} is no column of {files[0]}; it has {names}")
        return dataset.to_table(columns=[config.image_column, config.label_column])
    except (pa.ArrowInvalid, OSError) as error:
        raise ConfigError(
            f"data.path: {files[0] if files else 'no file'} is no Parquet or Arrow table: {error}"
        ) from error


def _image_bytes(column: pa.ChunkedArray, config: DataConfig) -> pa.ChunkedArray:
    if pa.types.is_struct(column.type):
        if column.type.get_field_index("bytes") < 0:
            raise ConfigError(f"data.image_column={config.image_column!r} is {column.type}; a field 'bytes' is needed")
        column = pa.chunked_array([chunk.field("bytes") for chunk in column.chunks])
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise ConfigError(f"data.image_column={config.image_column!r} is {column.type}; encoded image bytes are needed")
    return column


def _decode(data: bytes | None, row: int, config: DataConfig) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data or b"")) as opened:
            if max(opened.size) > LARGEST_SIDE:
                raise ConfigError(
                    f"data.path: image {row} is {opened.size}; at most {LARGEST_SIDE} pixels a side are read"
                )
            if opened.mode.startswith("I") or opened.mode == "F":
                raise ConfigError(f"data.path: image {row} has more than 8 bits a pixel ({opened.mode}); convert it")
            image = opened.convert("L" if config.channels == 1 else "RGB")
            if config.resize is not None and image.size != (config.resize, config.resize):
                image = image.resize((config.resize, config.resize), Image.Resampling.BILINEAR)
            pixels = np.asarray(image, dtype=np.uint8)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"data.image_column={config.image_column!r}: row {row} is no readable image: {error}"
        ) from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _labels(column: pa.ChunkedArray, config: DataConfig) -> npt.NDArray[Any]:
    if column.null_count:
        raise ConfigError(
            f"data.label_column={config.label_column!r} has {column.null_count} empty values; fill or drop them"
        )
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy(), dtype=np.int64)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.asarray(column.to_pylist())
    raise ConfigError(f"data.label_column={config.label_column!r} is {column.type}; whole numbers or names are needed")
