"""Which columns of a table are its images and its labels."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, listed, shown
from orchestrator.training.data.labels import recorded_names

IMAGE, LABEL = "image", "label"  # where the configuration names no others
USUAL_IMAGES = ("image", "images", "img", "picture", "photo")
USUAL_PATHS = ("path", "paths", "file", "filename", "file_name", "filepath", "file_path", "image_path", *USUAL_IMAGES)
USUAL_LABELS = ("label", "labels", "fine_label", "target", "targets", "class", "category", "y", "cls")


def find_columns(
    file: Path, names: Sequence[str], config: DataConfig, images: Sequence[str], labels: Sequence[str]
) -> DataConfig:
    """The configuration with the columns that a file has.

    A column that is called otherwise than by default, as Hugging Face's data sets call some, is taken if there is only
    one that it can be.

    Args:
        file: for the error.
        names: of its columns.
        config: names the columns.
        images: columns that may hold images, the likeliest first.
        labels: columns that may hold labels, likewise.

    Raises:
        ConfigError: no such column, or two of the name.
    """
    image = _found("image_column", IMAGE, file, names, config, images)
    return replace(config, image_column=image, label_column=_found("label_column", LABEL, file, names, config, labels))


def _found(key: str, usual: str, file: Path, names: Sequence[str], config: DataConfig, likely: Sequence[str]) -> str:
    wanted: str = getattr(config, key)
    count = names.count(wanted)
    if count > 1:
        raise ConfigError(f"data.{key}={shown(wanted)}: {shown(str(file))} has {count} columns of that name")
    if count == 1:
        return wanted
    if wanted == usual and len(likely) == 1 and names.count(likely[0]) == 1:
        return likely[0]
    near = difflib.get_close_matches(wanted, names, n=1)
    meant = [f"; did you mean {_override(f'data.{key}', name)}?" for name in ([*likely, *near])[:1]]
    raise ConfigError(
        f"data.{key}={shown(wanted)} is not a column of {shown(str(file))}; it has {listed(names)}" + "".join(meant)
    )


def likely_images(schema: pa.Schema) -> list[str]:
    """The columns of a table that hold bytes: those that are usually called so, or else all."""
    held = [field.name for field in schema if holds_bytes(field.type) or has_bytes(field.type)]
    return usual_names(held, USUAL_IMAGES) or held


def likely_labels(schema: pa.Schema) -> list[str]:
    """The columns that are usually called so, or else those that have names for their numbers."""
    return usual_names(schema.names, USUAL_LABELS) or [name for name in schema.names if recorded_names(schema, name)]


def usual_names(names: Sequence[str], usual: Sequence[str]) -> list[str]:
    """Those of the names that are usual, the most usual first, in capitals or not."""
    return [name for each in usual for name in names if name.lower() == each]


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds bytes."""
    checks: Sequence[Callable[[pa.DataType], bool]] = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(check(kind) for check in checks)


def has_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type has a field of bytes."""
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _override(key: str, value: str) -> str:
    text = shown(value)
    return f"{key}={value}" if value.isidentifier() and value in text else f"{key}={text}"
