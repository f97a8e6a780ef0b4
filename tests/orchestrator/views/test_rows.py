"""The rows that a question found, byte for byte in each form."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from orchestrator.errors import ConfigError
from orchestrator.views.rows import render_rows

ROWS = pa.table(
    {
        "point": ["0/0.9/0", None, "tab\there"],
        "number": [1, 20, None],
        "size": [0.5, 1 / 3, float("nan")],
        "sum": [Decimal("12"), Decimal("2.5"), None],
        "time": pa.array([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")),
        "raw": [b"\x00\xff", None, None],
        "nested": [{"a": [1.0, float("inf")]}, None, None],
    }
)


def test_a_table_is_aligned_numbers_to_the_right_and_shows_no_control_characters():
    shown = ROWS.select(["point", "number", "size"])
    assert render_rows(shown, "table").decode().splitlines() == [
        "point     number      size",
        "0/0.9/0        1       0.5",
        "              20  0.333333",
        "tab here               nan",
    ]


def test_csv_has_json_in_the_cells_of_what_is_nested():
    assert render_rows(ROWS.slice(0, 2), "csv").decode().splitlines() == [
        "point,number,size,sum,time,raw,nested",
        '0/0.9/0,1,0.5,12,2026-01-02T03:04:05+00:00,00ff,"{""a"": [1.0, Infinity]}"',
        ",20,0.3333333333333333,2.5,,,",
    ]


def test_json_is_a_list_of_objects_in_which_every_number_is_finite():
    text = render_rows(ROWS, "json").decode()
    assert text.count("\n") == 3
    assert json.loads(text) == [
        {
            "point": "0/0.9/0",
            "number": 1,
            "size": 0.5,
            "sum": 12,
            "time": "2026-01-02T03:04:05+00:00",
            "raw": "00ff",
            "nested": {"a": [1.0, None]},
        },
        {**dict.fromkeys(ROWS.column_names), "number": 20, "size": 1 / 3, "sum": 2.5},
        {**dict.fromkeys(ROWS.column_names), "point": "tab\there"},
    ]


def test_arrow_keeps_types_and_values():
    with pa.ipc.open_file(render_rows(ROWS.drop_columns(["size"]), "arrow")) as file:
        assert file.read_all().equals(ROWS.drop_columns(["size"]))


def test_no_rows_are_heads_alone():
    nothing = ROWS.slice(0, 0).select(["point", "number"])
    assert render_rows(nothing, "table") == b"point  number\n"
    assert render_rows(nothing, "csv") == b"point,number\n"
    assert render_rows(nothing, "json") == b"[]\n"


def test_what_cannot_be_written_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match=r"^--format xml: known: arrow, csv, json, table$"):
        render_rows(ROWS, "xml")
    twice = pa.table([[1], [2], [3]], names=["a", "b", "a"])
    with pytest.raises(ConfigError, match=r"^--format json: more than one column is called a; name them with AS$"):
        render_rows(twice, "json")
    assert render_rows(twice, "csv") == b"a,b,a\n1,2,3\n"
