"""Questions in SQL: what they find, how it is written, and what they cannot do."""

import csv
import io
import json
import signal
import time
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from orchestrator.cli.command_line import main
from orchestrator.config.composing import load_config
from orchestrator.errors import ConfigError
from orchestrator.results.records import canonical, claim_sweep, read_sweep
from orchestrator.results.sql import VIEWS, query
from orchestrator.storage.delta import DeltaStore
from orchestrator.storage.schema import TABLES
from orchestrator.views.rows import render_rows

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The storage of sweep ``s`` with two finished trials, and of another."""
    root = str(tmp_path_factory.mktemp("storage"))
    store = DeltaStore(root)
    for name in ("s", "other"):
        claim_sweep(store, load_config([f"sweep.name={name}", f"storage={root}"]), prefix="x", now=NOW)
        trials = [
            {
                "sweep_id": name,
                "trial_id": f"{name}-{number}",
                "number": number,
                "attempt": 1,
                "event": "finished",
                "time": NOW,
                "coefficients": canonical({"alpha": 1.0 + number}),
            }
            for number in range(2)
        ]
        store.append("trials", trials)
        points = [
            {
                "sweep_id": name,
                "trial_id": f"{name}-{number}",
                "tau": tau,
                "threshold": 0.0,
                "split": split,
                "accuracy": 0.9,
                "reuse_accuracy": reuse,
                "cut_size": size,
                "cut_overlap": 0.0,
                "reuse_images": 7,
            }
            for number, tau, split, reuse, size in (
                (0, 0.5, "validation", 0.99, 0.5),
                (0, 0.9, "validation", 0.95, 0.2),
                (1, 0.9, "validation", 0.9, 0.3),
                (0, 0.9, "test", 0.7, 0.2),
            )
        ]
        store.append("points", points)
    return root


def test_times_are_utc_in_every_time_zone(tmp_path, monkeypatch):
    """The hour, the month and the text of a time that lies on another day east and west of Greenwich."""
    root, late = str(tmp_path), datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
    claim_sweep(DeltaStore(root), load_config(["sweep.name=late", f"storage={root}"]), prefix="x", now=late)
    sql = """select extract(hour from created) as hour, date_trunc('month', created)::varchar as month, created,
        created::varchar as text, created::date as day, created::timestamp as plain, strftime(created, '%H') as written,
        current_setting('TimeZone') as zone, now()::timestamp = (now() at time zone 'UTC') as agrees from sweeps"""
    shown = set()
    try:
        for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            (row,) = query(root, "late", sql).to_pylist()
            assert row == {
                "hour": 23,
                "month": "2026-01-01 00:00:00+00",
                "created": late,
                "text": "2026-01-31 23:30:00+00",
                "day": late.date(),
                "plain": late.replace(tzinfo=None),
                "written": "23",
                "zone": "UTC",
                "agrees": True,
            }
            for form in ("table", "csv", "json"):
                shown.add((form, render_rows(query(root, "late", "select created from sweeps"), form)))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert len(shown) == 3
    assert all(b"2026-01-31T23:30:00+00:00" in text for _, text in shown)


def test_the_views_are_the_sweeps_rows_and_no_others(root):
    store = DeltaStore(root)
    for name in TABLES:
        found = query(root, "s", f"select * from {name}")
        assert found.column_names == store.read(name).column_names
        expected = store.read(name, "s")
        assert sorted(found.to_pylist(), key=repr) == sorted(expected.to_pylist(), key=repr)
    assert query(root, "s", "select distinct sweep_id from points").to_pylist() == [{"sweep_id": "s"}]


def test_the_front_is_the_sweeps_front(root):
    front = read_sweep(DeltaStore(root), "s").front
    found = query(root, "s", "select point, cut_size, test_reuse_accuracy, coefficients->>'alpha' a from front")
    assert found.to_pylist() == [
        {
            "point": one.label,
            "cut_size": one.metrics["cut_size"],
            "test_reuse_accuracy": one.test["reuse_accuracy"] if one.test else None,
            "a": "1.0",
        }
        for one in front
    ]
    assert [one.label for one in front] == ["0/0.9/0", "0/0.5/0"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select count(*) n from trials join points using (trial_id)", [{"n": 4}]),
        ("with t as (from Points where split = 'test') select sum(reuse_images) n from t", [{"n": 7}]),
        ("select name from (show tables)", [{"name": name} for name in sorted(VIEWS)]),
        ("select 1 one;", [{"one": 1}]),
        ("pivot (select number, accuracy from trials join points using (trial_id)) on number using count(*)", 1),
        ("explain select 1", 1),
    ],
)
def test_sql_that_people_write(root, sql, expected):
    found = query(root, "s", sql).to_pylist()
    assert len(found) == expected if isinstance(expected, int) else found == expected


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("selec 1", r"Parser Error: syntax error at or near \"selec\""),
        ("select nothing from trials", r"Binder Error: .*nothing.*Candidate bindings"),
        (
            "select * from pionts",
            "there is no table 'pionts'; known: sweeps, trials, epochs, points, reference_points, rungs, modules,"
            " drivers, classes, front",
        ),
        ("select * from trials where number = 'x'", "Conversion Error"),
        ("", "a query is one SELECT; this is nothing"),
        ("select 1; select 2", "this is SELECT, SELECT"),
        ("create table z as select 1", "this is CREATE"),
        ("insert into trials values (1)", "this is INSERT"),
        ("drop view trials", "this is DROP"),
        ("set enable_external_access = true", "this is SET"),
        ("pragma version", "this is PRAGMA"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(root, sql, message, capsys):
    with pytest.raises(ConfigError, match=message):
        query(root, "s", sql)
    assert main(["query", "s", sql, f"storage={root}"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("moda query: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize(
    "sql",
    [
        "select * from '{file}'",
        "select * from read_text('{file}')",
        "select * from read_csv('{file}')",
        "select * from read_parquet('{file}')",
        "select * from sniff_csv('{file}')",
        "select * from glob('{folder}/*')",
        "copy trials to '{folder}/out.csv'",
        "copy (select 1) to '{folder}/out.csv'",
        "export database '{folder}/out'",
        "attach '{folder}/out.db' as out",
        "install httpfs",
        "load httpfs",
        "select getenv('PATH')",
        "select * from secret",
        "select * from 'https://example.com/x.csv'",
        "select * from trials; copy trials to '{folder}/out.csv'",
        "explain analyze copy trials to '{folder}/out.csv'",
    ],
)
def test_files_and_variables_are_out_of_reach(root, tmp_path, sql):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "secret.csv").write_text("a,b\n1,2\n")
    secret = pa.table({"a": [1]})  # DuckDB would find it by its name
    with pytest.raises(ConfigError):
        query(root, "s", sql.format(file=folder / "secret.csv", folder=folder))
    assert [file.name for file in folder.iterdir()] == ["secret.csv"]
    assert secret.num_rows == 1


def test_the_settings_are_locked_and_nothing_spills_to_disk(root):
    sql = "select name, value from duckdb_settings() where name in ({})"
    closed = {
        "enable_external_access": "false",
        "lock_configuration": "true",
        "temp_directory": "",
        "autoload_known_extensions": "false",
    }
    found = query(root, "s", sql.format(", ".join(f"'{name}'" for name in closed))).to_pylist()
    assert {row["name"]: row["value"] for row in found} == closed


def test_one_question_leaves_nothing_for_the_next(root):
    query(root, "s", "select * from trials")
    query(root, "s", "explain analyze select * from trials")
    assert query(root, "s", "select count(*) n from duckdb_tables()").to_pylist() == [{"n": 0}]


def test_an_endless_question_can_be_interrupted(root):
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)  # what Ctrl-C does
    signal.setitimer(signal.ITIMER_REAL, 2, 2)  # more than once: the first may come before DuckDB is asked
    try:
        with pytest.raises(KeyboardInterrupt):
            query(root, "s", "select count(*) from range(1000000000000000) t where hash(range) = 3")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_unknown_sweep_is_refused_with_the_known_ones(root, capsys):
    assert main(["query", "nobody", "select 1", f"storage={root}"]) == 2
    assert "sweep 'nobody' is not in the storage; it holds ['other', 's']" in capsys.readouterr().err


def test_forms(root, tmp_path, capsys):
    sql = "select number, event, time, reason, sum(number) over () total from trials order by number"
    asked = ["query", "s", sql, f"storage={root}"]
    assert main(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["number", "event", "time", "reason", "total"]
    assert lines[1].split() == ["0", "finished", "2026-01-02T00:00:00+00:00", "1"]
    assert len(lines) == 3

    assert main([*asked, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["number"], row["reason"], row["total"]) for row in rows] == [("0", "", "1"), ("1", "", "1")]

    assert main([*asked, "--format", "json"]) == 0
    (first, _) = json.loads(capsys.readouterr().out)
    assert first == {
        "number": 0,
        "event": "finished",
        "time": "2026-01-02T00:00:00+00:00",
        "reason": None,
        "total": 1,
    }

    file = tmp_path / "rows.arrow"
    assert main([*asked, "--format", "arrow", "--to", str(file)]) == 0
    assert pa.ipc.open_file(file).read_all().equals(query(root, "s", sql))


def test_mistakes_around_the_question(root, tmp_path, capsys):
    asked = ["query", "s", "select 1 a, 2 a", f"storage={root}"]
    for more, message in (
        (["--format", "xml"], "--format xml: known: arrow, csv, json, table"),
        (["--format", "json"], "more than one column is called a"),
        (["--to", str(tmp_path / "no" / "file")], "cannot be written: No such file"),
        (["training.epochs=3"], "training.epochs=3: this command takes storage= only"),
    ):
        assert main([*asked, *more]) == 2
        assert message in capsys.readouterr().err


def test_odd_values_are_written_in_every_form(root):
    sql = (
        "select 'nan'::double n, [1.5, 'inf'::double] l, {'a': 1} s, 'x\ny'::blob b, e'two\\nlines' t,"
        " 1.25::decimal(4, 2) d, date '2026-01-02' as day, interval 2 days i, uuid() u, null v, true w"
    )
    rows = query(root, "s", sql)
    (found,) = json.loads(render_rows(rows, "json"))
    assert (found["n"], found["l"], found["s"], found["b"]) == (None, [1.5, None], {"a": 1}, "780a79")
    assert (found["t"], found["d"], found["day"], found["v"], found["w"]) == (
        "two\nlines",
        1.25,
        "2026-01-02",
        None,
        True,
    )
    (parsed,) = csv.DictReader(io.StringIO(render_rows(rows, "csv").decode()))
    assert (parsed["n"], parsed["t"], parsed["s"]) == ("nan", "two\nlines", '{"a": 1}')
    assert render_rows(rows, "table").count(b"\n") == 2
    assert render_rows(query(root, "s", "select 1 a where false"), "table") == b"a\n"
    assert json.loads(render_rows(query(root, "s", "select 1 a where false"), "json")) == []
