"""The labels of a table, as class ids or names, and what its classes are called."""

import json
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, shown

LONGEST_NAME = 256
FEATURES = b"huggingface"  # the key of a schema's metadata under which Hugging Face's datasets describes the columns


def read_labels(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """A label column as int64 ids or as text.

    Args:
        column: of one file.
        where: the column, as an error names it.

    Raises:
        ConfigError: labels that are missing, of another type or too large.
    """
    if pa.types.is_dictionary(column.type):
        kind = column.type.value_type
        column = plain_values(column, pa.large_string() if is_text(kind) else kind)
    if column.null_count:
        raise ConfigError(f"{where} has {column.null_count} empty values; fill them or drop the rows")
    if pa.types.is_integer(column.type):
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise ConfigError(f"{where} has numbers above 2^63 - 1; number the classes from 0") from error
    if not is_text(column.type):
        raise ConfigError(
            f"{where} is {shown(str(column.type))}; whole numbers or names are needed, so cast it to int64 or string"
        )
    column = column.cast(pa.large_string())
    check_class_names(pc.unique(column).to_pylist(), where)
    return column


def plain_values(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A dictionary column as values of a type; what is null in the dictionary is null."""
    return pa.chunked_array([chunk.dictionary.cast(kind).take(chunk.indices) for chunk in column.chunks], kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in checks)


def recorded_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """The class names that Hugging Face's ``datasets`` keeps in a schema's metadata; None where none can be used."""
    try:
        names = json.loads((schema.metadata or {})[FEATURES])["info"]["features"][column]["names"]
        check_class_names(names, "names")
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return tuple(names) if isinstance(names, list) and names else None


def check_class_names(names: Sequence[object], key: str) -> None:
    """Refuse what cannot name classes.

    Raises:
        ConfigError: what is not text, empty or too long, and a name given twice, if only in two Unicode spellings.
    """
    spellings: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or "\0" in name:
            raise ConfigError(
                f"{key}: {shown(name)} is not a class name; use 1 to {LONGEST_NAME} characters without NUL"
            )
        spelling = unicodedata.normalize("NFC", name)
        if spellings.get(spelling) == name:
            raise ConfigError(f"{key} names the class {shown(name)} twice; give each class a name of its own")
        if spelling in spellings:
            twins = f"{ascii(spellings[spelling])[:60]} and {ascii(name)[:60]}"
            raise ConfigError(f"{key}: {twins} are the same name in two Unicode forms; normalise them")
        spellings[spelling] = name


def classes_of(
    labels: npt.NDArray[Any], config: DataConfig, recorded: tuple[str, ...] | None
) -> tuple[list[str], npt.NDArray[Any]]:
    """The names of the classes and, in the same order, how the table labels them. Numbers without names are names.

    Args:
        labels: all different labels of a table, ids or names, sorted.
        config: ``class_names`` and ``classes``.
        recorded: the names that the table itself has for its ids.

    Raises:
        ConfigError: names that cannot stand for classes, ids below 0, or ids that are not below the number of names.
    """
    where = f"data.label_column={shown(config.label_column)}"
    if labels.dtype.kind != "i":
        if config.class_names is not None:
            raise ConfigError("data.class_names is for labels that are whole numbers; this table's are names already")
        names = [str(label) for label in labels]
        check_class_names(names, where)
        return names, labels
    first, last = int(labels[0]), int(labels[-1])
    given = recorded if config.class_names is None else config.class_names
    if given is None:
        if config.classes is None and first < 0:
            raise ConfigError(
                f"{where}: labels run from {first} to {last}, {len(labels)} different ones; those below 0 usually stand"
                " for images without a class: drop these rows, or name the classes to use, data.classes=[...]"
            )
        return [str(label) for label in labels], labels
    check_class_names(given, "data.class_names")
    if first < 0 or last >= len(given):
        source = "the table's metadata" if config.class_names is None else "data.class_names"
        raise ConfigError(
            f"{where}: labels run from {first} to {last}; expected 0 to {len(given) - 1}, as {source} has"
            f" {len(given)} names: drop rows without a class, or set data.class_names to a name for each label"
        )
    return list(given), np.arange(len(given))
