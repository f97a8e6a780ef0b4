"""What every result store keeps to; an implementation's test class inherits it and gives the store."""

import math
import multiprocessing
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.storage.schema import SCHEMA_VERSION, TABLES
from tests.integration.waiting import PATIENCE

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
POINT = {"sweep_id": "s", "trial_id": "s-0", "tau": 0.9, "threshold": 0.0, "split": "test"}
BY_LEVEL = {**POINT, "tau": None, "threshold": None, "level": 0.1}


def event(number, event="proposed", attempt=0):
    return {
        "sweep_id": "s",
        "trial_id": f"s-{number}",
        "number": number,
        "attempt": attempt,
        "event": event,
        "time": NOW,
        "coefficients": "{}",
    }


def _write(make, root, folder, worker, environment):
    os.environ.update(environment)
    store = make(root)
    for number in range(5):
        own = 100 * worker + 10 + number
        store.append("trials", [{**event(number), "reason": str(worker)}, {**event(own), "reason": str(worker)}])
        seen = {row["trial_id"]: row["reason"] for row in store.read("trials", "s").to_pylist()}
        _seen(folder, worker, number).write_text(seen[f"s-{number}"])


def _seen(folder, worker, number):
    return Path(folder) / f"seen-{worker}-{number}"


class StoreContract:
    """``make`` is the implementation's constructor; other processes call it too."""

    make: type

    @pytest.fixture
    def root(self, tmp_path):
        return str(tmp_path)

    @pytest.fixture
    def store(self, root):
        return self.make(root)

    def test_a_table_without_rows_reads_empty(self, store):
        for name, table in TABLES.items():
            assert store.read(name).schema == table.schema
            assert store.read(name, "s").num_rows == 0
            assert store.version(name) == -1

    def test_rows_come_back_as_written(self, store):
        store.append("trials", [event(0), event(1)])
        rows = sorted(store.read("trials", "s").to_pylist(), key=lambda row: row["number"])
        assert [row["trial_id"] for row in rows] == ["s-0", "s-1"]
        assert rows[0]["time"] == NOW
        assert rows[0]["reason"] is None
        assert rows[0]["schema_version"] == SCHEMA_VERSION
        assert store.read("trials", "s").schema == TABLES["trials"].schema

    def test_writing_a_row_twice_adds_nothing(self, store):
        store.append("trials", [event(0)])
        store.append("trials", [{**event(0), "coefficients": "another"}, event(1)])
        rows = store.read("trials").to_pylist()
        assert sorted((row["trial_id"], row["coefficients"]) for row in rows) == [("s-0", "{}"), ("s-1", "{}")]

    def test_a_row_twice_in_one_append_is_the_first_one(self, store):
        store.append("trials", [event(0), {**event(0), "coefficients": "another"}, event(1)])
        rows = store.read("trials").to_pylist()
        assert sorted((row["trial_id"], row["coefficients"]) for row in rows) == [("s-0", "{}"), ("s-1", "{}")]

    def test_the_key_tells_events_apart(self, store):
        store.append("trials", [event(0), event(0, "started", 1), event(0, "started", 2), event(0, "finished", 2)])
        assert store.read("trials").num_rows == 4

    def test_null_equals_null_in_a_key(self, store):
        rows = [POINT, BY_LEVEL, {**BY_LEVEL, "level": 0.2}, {**BY_LEVEL, "split": "validation"}]
        for _ in range(2):
            store.append("points", rows)
        assert store.read("points").num_rows == len(rows)

    def test_the_time_tells_events_of_a_module_set_apart(self, store):
        mine = {"sweep_id": "s", "trial_id": "s-0", "name": "s-0-level0.1", "event": "published", "time": NOW}
        again = {**mine, "time": NOW + timedelta(microseconds=1)}
        for _ in range(2):
            store.append("modules", [mine, {**mine, "event": "removed"}, again])
        found = store.read("modules", "s").to_pylist()
        assert sorted((row["time"], row["event"]) for row in found) == [
            (NOW, "published"),
            (NOW, "removed"),
            (again["time"], "published"),
        ]

    def test_a_sweep_sees_its_own_rows(self, store):
        store.append("trials", [event(0), {**event(0), "sweep_id": "other"}])
        assert store.read("trials", "s").num_rows == 1
        assert store.read("trials").num_rows == 2
        assert store.read("trials", "nobody").num_rows == 0

    @pytest.mark.parametrize("sweep_id", ["o'neill", "a b", "') OR true --", "é", "x=1"])
    def test_any_text_is_a_sweeps_name(self, store, sweep_id):
        for _ in range(2):
            store.append("trials", [event(0), {**event(0), "sweep_id": sweep_id}])
        assert store.read("trials", sweep_id)["sweep_id"].to_pylist() == [sweep_id]
        assert store.read("trials").num_rows == 2

    def test_an_append_that_adds_raises_the_version(self, store):
        store.append("trials", [event(0)])
        before = store.version("trials")
        store.append("trials", [event(1)])
        assert store.version("trials") > before

    def test_an_append_of_nothing_makes_nothing(self, store):
        store.append("trials", [])
        assert store.version("trials") == -1

    @pytest.mark.parametrize(
        ("table", "wrong"),
        [
            ("points", {"accuracy": 1.01}),
            ("points", {"module_size": -0.1}),
            ("points", {"flops": math.nan}),
            ("points", {"reuse_accuracy_error": math.inf}),
            ("points", {"tau": math.nan}),
            ("points", {"floored": -1}),
            ("epochs", {"epoch": -1}),
            ("epochs", {"epoch": 1, "affinity": -math.inf}),
            ("trials", {"attempt": -1}),
            ("trials", {"seconds": math.nan}),
            ("rungs", {"epoch": 1, "fraction": 2.0}),
        ],
    )
    def test_a_number_that_cannot_be_is_refused_before_anything_is_written(self, store, table, wrong):
        """The message says where; a good row in the same append is not written either."""
        good = {"trials": event(0), "epochs": {**POINT, "epoch": 1}, "rungs": {**POINT, "epoch": 1}}.get(table, POINT)
        (column, value) = list(wrong.items())[-1]
        with pytest.raises(ValueError, match=re.escape(f"{table}.{column}={value!r} cannot be")):
            store.append(table, [good, {**good, "trial_id": "s-1", **wrong}])
        assert store.version(table) == -1

    def test_the_ends_of_a_range_are_in_it(self, store):
        store.append("points", [{**POINT, "accuracy": 0.0, "tau": 0}, {**POINT, "accuracy": 1, "flops": None}])
        assert sorted(store.read("points")["accuracy"].to_pylist()) == [0.0, 1.0]

    def test_means_of_shares_may_be_rounded(self, store):
        """Reuse accuracy with nothing wrong is a sum of weights, overlap of disjoint modules a difference of sums."""
        rounded = {
            "reuse_accuracy": 1 + 2**-52,
            "module_overlap": -2e-17,
            "overlap_jaccard": -1e-16,
            "flops": 1 + 1e-12,
        }
        store.append("points", [{**POINT, **rounded}])
        (row,) = store.read("points").to_pylist()
        assert {name: row[name] for name in rounded} == rounded

    def test_a_key_that_is_not_whole_is_refused(self, store):
        with pytest.raises(ValueError, match=r"trials\.event is missing"):
            store.append("trials", [event(0), {**event(1), "event": None}])
        assert store.version("trials") == -1

    def test_writers_at_once_lose_nothing_and_double_nothing(self, store, root, tmp_path):
        """Four processes, each with rows of its own and rows that all of them write, on a table that none has made.

        Whose row it is that stays, all saw the same one after their own append.
        """
        given = [(self.make, root, str(tmp_path), worker, dict(os.environ)) for worker in range(4)]
        context = multiprocessing.get_context("forkserver")
        workers = [context.Process(target=_write, args=arguments) for arguments in given]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(PATIENCE)
        assert [worker.exitcode for worker in workers] == [0] * 4
        ids = store.read("trials")["trial_id"].to_pylist()
        assert len(ids) == len(set(ids)) == 5 + 4 * 5
        for number in range(5):
            assert len({_seen(tmp_path, worker, number).read_text() for worker in range(4)}) == 1
