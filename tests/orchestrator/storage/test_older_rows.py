"""Rows of points as older versions wrote them: what they imply, and each once."""

import pyarrow as pa
import pytest

from orchestrator.config.choice import Choice
from orchestrator.storage.older_rows import with_choices, with_cut_sizes
from orchestrator.storage.schema import TABLES

TODAY = TABLES["points"].schema
KEY = {"sweep_id": "s", "trial_id": "s-0000", "split": "validation"}
ACTIVITY = {"tau": 0.9, "threshold": 0.1}


def as_rows(table):
    return [
        {name: row[name] for name in ("rule", "rule_parameters", "stage", "tau", "level")} for row in table.to_pylist()
    ]


def test_an_older_row_is_what_it_was():
    before = pa.Table.from_pylist([{**KEY, **ACTIVITY}, {**KEY, "level": 0.3}], TODAY)
    choices = [Choice.activity(0.9, 0.1), Choice.contribution(0.3)]
    found = with_choices(before)
    assert [Choice.of_row(row) for row in found.to_pylist()] == choices
    expected = [
        {name: choice.columns[name] for name in ("rule", "rule_parameters", "tau", "level")} for choice in choices
    ]
    assert as_rows(found) == [{**row, "stage": "cut"} for row in expected]


def test_todays_rows_stay():
    row = {**KEY, **Choice.activity(0.9, 0.1).columns, "stage": "tuned"}
    assert as_rows(with_choices(pa.Table.from_pylist([row], TODAY))) == as_rows(pa.Table.from_pylist([row], TODAY))


@pytest.mark.parametrize("order", [1, -1])
def test_a_row_that_both_versions_wrote_is_there_once(order):
    today = {**KEY, **Choice.activity(0.9, 0.1).columns, "stage": "cut"}
    other = {**KEY, **Choice.activity(0.5, 0.1).columns, "stage": "cut"}
    rows = [{**KEY, **ACTIVITY}, today, other][::order]
    found = with_choices(pa.Table.from_pylist(rows, TODAY))
    assert sorted(row["tau"] for row in as_rows(found)) == [0.5, 0.9]


def test_sizes_of_older_rows_are_those_of_networks_as_they_are_cut():
    older = {**KEY, **ACTIVITY, "module_size": 0.25, "module_overlap": 0.125, "schema_version": 5}
    today = {**KEY, "level": 0.3, "cut_size": 0.1, "module_size": 0.2, "schema_version": 6}
    names = ("cut_size", "cut_overlap", "module_size", "module_overlap")
    found = with_cut_sizes(pa.Table.from_pylist([older, today], TODAY)).to_pylist()
    assert [tuple(row[name] for name in names) for row in found] == [
        (0.25, 0.125, None, None),
        (0.1, None, 0.2, None),
    ]
