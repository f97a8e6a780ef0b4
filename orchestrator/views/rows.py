"""The rows that a question found, for people and for programs."""

import csv
import io
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa

from orchestrator.errors import ConfigError


def render_rows(rows: pa.Table, form: str) -> bytes:
    """Render rows as a ``table`` to read, ``csv``, ``json`` (a list of objects) or ``arrow`` (the file format of Arrow
    IPC).

    Times are ISO 8601; in JSON a number that is not finite is null.

    Raises:
        ConfigError: an unknown form, or columns with the same name for JSON.
    """
    if form not in FORMS:
        raise ConfigError(f"--format {form}: known: {', '.join(sorted(FORMS))}")
    return FORMS[form](rows)


def _as_table(rows: pa.Table) -> bytes:
    """Aligned columns, numbers to the right; a line is as long as it has to be."""
    columns = []
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        cells = [name, *(_cell(value) for value in column.to_pylist())]
        width = max(len(cell) for cell in cells)
        numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        columns.append([cell.rjust(width) if numeric else cell.ljust(width) for cell in cells])
    lines = ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
    return "".join(f"{line}\n" for line in lines).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(_plain(value))
    return "".join(character if character.isprintable() else " " for character in text)


def _as_csv(rows: pa.Table) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows.column_names)
    columns = [column.to_pylist() for column in rows.columns]
    for values in zip(*columns, strict=True):
        plain = (_plain(value) for value in values)
        writer.writerow([json.dumps(part) if isinstance(part, (dict, list)) else part for part in plain])
    return text.getvalue().encode()


def _as_json(rows: pa.Table) -> bytes:
    names = rows.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"--format json: more than one column is called {', '.join(twice)}; name them with AS")
    lines = [json.dumps({name: _finite(_plain(value)) for name, value in row.items()}) for row in rows.to_pylist()]
    return ("[" + ",\n ".join(lines) + "]\n").encode()


def _as_arrow(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _plain(value: Any) -> Any:
    """A value as JSON has it, but for numbers that are not finite."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, Decimal):  # DuckDB's sums of whole numbers
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


FORMS: dict[str, Callable[[pa.Table], bytes]] = {
    "arrow": _as_arrow,
    "csv": _as_csv,
    "json": _as_json,
    "table": _as_table,
}
