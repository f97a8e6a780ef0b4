"""The schema: what docs/tables.md says of it, and what a schema has to be."""

import re
from pathlib import Path

import pytest

from orchestrator.declarations import OBJECTIVES
from orchestrator.storage.schema import METRIC_COLUMNS, SCHEMA_VERSION, TABLES

PAGE = (Path(__file__).parents[3] / "docs" / "tables.md").read_text()


def section(name):
    """A table as docs/tables.md has it."""
    table = TABLES[name]
    key = ", ".join(f"`{one}`" + (" (may be null)" if one in table.nullable_key else "") for one in table.key)
    lines = [
        f"### {name}",
        "",
        f"{table.what}",
        "",
        f"Key: {key}.",
        "",
        "| column | type | numbers | better | since | what |",
        "|---|---|---|---|---|---|",
        *(
            f"| `{column}` | {one.kind} | {one.range_text} | {one.better} | {one.since} | {one.what} |"
            for column, one in table.columns.items()
        ),
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("name", TABLES)
def test_the_page_says_what_the_code_says(name):
    (found,) = re.findall(rf"^### {name}\n.*?(?=\n\n###|\n*\Z)", PAGE, re.S | re.M)
    assert found == section(name)


def test_the_page_has_these_tables_and_versions_and_no_others():
    assert re.findall(r"^### (.*)", PAGE, re.M) == list(TABLES)
    assert [int(one) for one in re.findall(r"^\| (\d+) \|", PAGE, re.M)] == list(range(1, SCHEMA_VERSION + 1))
    assert max(column.since for table in TABLES.values() for column in table.columns.values()) == SCHEMA_VERSION


def test_what_can_be_an_objective_is_a_column_with_a_direction():
    assert {name for name, column in METRIC_COLUMNS.items() if column.better} == set(OBJECTIVES)
    assert {name for name, column in METRIC_COLUMNS.items() if column.better == "up"} == {
        "accuracy",
        "balanced_accuracy",
        "worst_class_accuracy",
        "reuse_accuracy",
        "calibrated_reuse_accuracy",
        "balanced_reuse_accuracy",
        "worst_class_reuse_accuracy",
    }


def test_keys_are_columns_and_begin_with_the_sweep():
    for table in TABLES.values():
        assert table.key[0] == "sweep_id"
        assert set(table.nullable_key) <= set(table.key) <= set(table.columns)
        assert "schema_version" in table.columns
        assert all(table.columns[name].since > 1 for name in table.nullable_key)  # older rows have none


def test_every_number_has_a_range():
    for table in TABLES.values():
        for column in table.columns.values():
            assert (column.low is None) == (str(column.kind) in ("string", "timestamp[us, tz=UTC]"))
