"""Rows that older versions wrote, as today's: a key that a row does not have means the behaviour of its time."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.declarations import CUT, CUT_NAMES


def with_choice(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of a point with the rule, its parameters and the stage that it implies, where it states no rule."""
    if row.get("rule") is not None:
        return row
    rule, parameters = _choice(row.get("tau"), row.get("threshold"), row.get("level"))
    return {**row, "rule": rule, "rule_parameters": parameters, "stage": row.get("stage") or CUT}


def with_choices(rows: pa.Table) -> pa.Table:
    """Rows of points with the rule, its parameters and the stage that those before schema version 5 imply.

    Such a row names tau and threshold, or a level. A row that both versions wrote, as where a trial died between its
    points and its last event, is there once.
    """
    is_older = pc.is_null(rows["rule"])
    if not pc.any(is_older).as_py():
        return rows
    filled = [_choice(*values) for values in zip(*(_values(rows, name) for name in _NAMES), strict=True)]
    columns = {
        "rule": [rule for rule, _ in filled],
        "rule_parameters": [parameters for _, parameters in filled],
    }
    for name, values in columns.items():
        rows = _replaced(rows, name, pc.if_else(is_older, pa.array(values, pa.string()), _whole(rows[name])))
    if "stage" in rows.column_names:
        rows = _replaced(rows, "stage", pc.fill_null(_whole(rows["stage"]), CUT))
    return rows if pc.all(is_older).as_py() else _once(rows, is_older.to_pylist())


def with_cut_sizes(rows: pa.Table) -> pa.Table:
    """Rows of points with the size and overlap of the networks as they are cut under their names of today.

    Before schema version 6 these were called ``module_size`` and ``module_overlap``, which now name another way to
    count, so that older rows have none.
    """
    if "cut_size" not in rows.column_names:
        return rows
    is_older = pc.less(rows["schema_version"], 6)
    if not pc.any(is_older).as_py():
        return rows
    for before, today in CUT_NAMES.items():
        counted = _whole(rows[before])
        rows = _replaced(rows, today, pc.if_else(is_older, counted, _whole(rows[today])))
        rows = _replaced(rows, before, pc.if_else(is_older, pa.nulls(len(rows), counted.type), counted))
    return rows


def with_calibrated(rows: pa.Table) -> pa.Table:
    """Rows of points with a calibrated reuse accuracy: without a bias, as before schema version 6, it is the reuse
    accuracy.
    """
    for name in ("reuse_accuracy", "reuse_accuracy_error"):
        if name in rows.column_names:
            calibrated = f"calibrated_{name}"
            rows = _replaced(rows, calibrated, pc.coalesce(_whole(rows[calibrated]), _whole(rows[name])))
    return rows


_NAMES = ("tau", "threshold", "level")


def _choice(tau: float | None, threshold: float | None, level: float | None) -> tuple[str, str]:
    if level is not None:
        return "contribution", json.dumps({"level": level})
    return "activity", json.dumps({"tau": tau, "threshold": threshold})


def _once(rows: pa.Table, is_older: Sequence[bool]) -> pa.Table:
    """Each row once: of a point that is there twice the older one, which is what readers saw."""
    key = [
        name for name in ("trial_id", "rule", "rule_parameters", "stage", "split", "epoch") if name in rows.column_names
    ]
    keys = list(zip(*(_values(rows, name) for name in key), strict=True))
    first: dict[tuple[Any, ...], int] = {}
    for index in sorted(range(len(keys)), key=lambda index: not is_older[index]):
        first.setdefault(keys[index], index)
    return rows.take(list(first.values()))


def _values(rows: pa.Table, name: str) -> list[Any]:
    values: list[Any] = rows[name].to_pylist()
    return values


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _replaced(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)
