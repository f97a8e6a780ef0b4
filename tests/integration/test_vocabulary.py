"""One sweep, seen everywhere: tables, JSON, terminal, report and W&B have the same names, numbers and units.

Programs read a metric under its declared name, and a share as it is. People read its title or its head, which says the
unit, and a share in per cent.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.api import open_sweep
from orchestrator.config import COLUMNS
from orchestrator.declarations import METRICS
from orchestrator.results import ROLES, Point, Sweep
from orchestrator.search import Status
from orchestrator.storage import DeltaStore
from orchestrator.views.figures import hover_text
from orchestrator.views.terminal import metric_cell, metric_text
from tests.integration.sweeps import call_moda
from tests.integration.wandb_server import Run, WandbServer, sync
from tests.orchestrator.views.test_page import Tables

COEFFICIENTS = ("alpha", "beta", "gamma")
SHOWN = ("calibrated_reuse_accuracy", "cut_size", "cut_overlap", "accuracy")  # of every point, to people
ON_TEST = ("calibrated_reuse_accuracy", "accuracy")
HEADS = [*(METRICS[name].head for name in SHOWN), *(f"test {METRICS[name].head}" for name in ON_TEST)]
OF_POINTS = ("point", "role", "on_front", "trial_id", "trial", "rule")
MEASURED = [*METRICS, *(f"test_{name}" for name in METRICS)]


@dataclass
class Seen:
    """What is shown of the sweep ``tiny``."""

    sweep: Sweep
    storage: Any
    page: str
    of_sweep: Run
    of_trial: Run

    def printed(self, *arguments: str) -> str:
        done = call_moda(*arguments, storage=self.storage)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.printed(*arguments, "--json"))


@pytest.fixture(scope="module")
def seen(original, tmp_path_factory) -> Iterator[Seen]:
    storage = shutil.copytree(original[0], tmp_path_factory.mktemp("seen") / "storage", symlinks=True)
    for folder in (storage / "wandb").glob("offline-run-*-tiny-*"):
        if not folder.name.endswith("-0000"):
            shutil.rmtree(folder)
    with WandbServer() as server:
        sync(storage, server)
        opened = open_sweep("tiny", storage=storage)
        page = opened.report(storage.parent / "report.html").read_text()
        yield Seen(opened.recorded, storage, page, server.runs["tiny"], server.runs["tiny-0000"])


def cells_of(point: Point) -> list[str]:
    """What people read of a point, under HEADS."""
    return [
        *(metric_cell(point, METRICS[name]) for name in SHOWN),
        *(metric_cell(point, METRICS[name], on_test=True) for name in ON_TEST),
    ]


def measured(point: Point) -> dict[str, float]:
    """What programs read of a point."""
    return {**point.metrics, **{f"test_{name}": value for name, value in point.test.items()}}


def test_people_read_the_same_numbers_under_the_same_heads(seen):
    terminal = seen.printed("front", "tiny", "--all").splitlines()
    assert " ".join(terminal[1].split()) == " ".join(["point", *COEFFICIENTS, *HEADS])
    (table, *_) = [rows for rows in Tables(seen.page).found if rows[0][0] == "point"]
    assert table[0] == ["point", "", *HEADS, "coefficients"]
    for point, line, row in zip(seen.sweep.front, terminal[2:], table[1:], strict=False):
        mark = seen.sweep.mark(point)
        assert line.strip().startswith(f"{mark} {point.label}".strip())
        assert line.split()[-len(HEADS) :] == cells_of(point)
        assert row[:2] == [point.label, mark]
        assert row[2:-1] == cells_of(point)


def test_words_about_a_point_have_the_declared_titles_and_units(seen):
    best = seen.sweep.find("best")
    status, compared = seen.printed("status", "tiny"), seen.printed("compare", "tiny", "tiny")
    of_first = METRICS[ON_TEST[0]]
    assert (
        f"{metric_cell(best, of_first)}, test {metric_cell(best, of_first, on_test=True)}  ({best.label})" in compared
    )
    assert all(head in compared for head in (of_first.head, METRICS["cut_size"].head))
    for name in SHOWN:
        said = f"{METRICS[name].title} {metric_text(best, METRICS[name])}"
        assert said in status
        assert said in hover_text(best, METRICS)
    for name in ON_TEST:
        said = f"{METRICS[name].title} {metric_text(best, METRICS[name], on_test=True)}"
        assert said in status.partition("; on test ")[2]
        assert said in hover_text(best, METRICS).partition("on test: ")[2]


def test_programs_read_shares_under_the_declared_names_on_validation_and_on_test(seen):
    point = seen.sweep.find("best")
    numbers = measured(point)
    rows = {
        "tables": DeltaStore(str(seen.storage)).read("points", "tiny").to_pylist(),
        "python": open_sweep("tiny", storage=seen.storage).front().to_pylist(),
        "json": seen.json("front", "tiny")["front"],
        "query": seen.json("query", "tiny", "from front"),
        "report": [named(json_of(seen.page), each) for each in json_of(seen.page)["points"]],
        "wandb": seen.of_sweep.table("front"),
    }
    for where in ("python", "json", "query", "report", "wandb"):
        (row,) = [row for row in rows[where] if row["point"] == point.label]
        shared = {name: row[name] for name in MEASURED if name in row}
        assert set(shared) >= {*seen.sweep.config.search.objectives, *(f"test_{name}" for name in ON_TEST)}, where
        assert shared == pytest.approx({name: numbers[name] for name in shared}), where
    for split, metrics in (("validation", point.metrics), ("test", point.test)):
        (row,) = [
            row
            for row in rows["tables"]
            if (row["trial_id"], row["split"]) == (point.trial.trial_id, split)
            and {name: row[name] for name in point.choice.values} == point.choice.values
        ]
        assert {name: row[name] for name in metrics} == pytest.approx(metrics)


def json_of(page: str) -> dict[str, Any]:
    """The data that the report's figures are drawn from."""
    data: dict[str, Any] = json.loads(page.partition("id='report-data'>")[2].partition("</script>")[0])
    return data


def named(data: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    """A point of the report's data with its metrics by name."""
    on_test = {f"test_{name}": value for name, value in zip(data["metrics"], point["test"] or (), strict=False)}
    return {"point": point["name"], **dict(zip(data["metrics"], point["metrics"], strict=True)), **on_test}


def test_no_column_has_another_name(seen):
    known = {*OF_POINTS, *COEFFICIENTS, *COLUMNS, *MEASURED}
    assert {*seen.json("front", "tiny")["front"][0]} <= known
    assert {*seen.json("show", "tiny/2")["front"][0]} <= known
    assert {*open_sweep("tiny", storage=seen.storage).points().column_names} == known
    assert {*seen.of_sweep.table("front")[0]} <= known | {"run"}
    assert {*json_of(seen.page)["metrics"]} <= {*METRICS}
    by_role = {
        name.partition("/")[::2] for run in (seen.of_sweep, seen.of_trial) for name in run.summary if "/" in name
    }
    assert {role for role, _ in by_role} == {*ROLES}
    assert {name for _, name in by_role} <= {"point", *MEASURED}


def test_the_accuracies_are_on_test_wherever_they_are_on_validation(seen):
    for names in (seen.of_sweep.table("front")[0], seen.json("front", "tiny")["front"][0]):
        assert {name for name in ON_TEST if f"test_{name}" in names} == {name for name in ON_TEST if name in names}
    for role in ROLES:
        assert all(seen.of_sweep.summary[f"{role}/test_{name}"] is not None for name in ON_TEST)
        assert all(seen.of_sweep.summary[f"{role}/{name}"] is not None for name in ON_TEST)


def test_coefficients_have_their_names_everywhere(seen):
    assert [each["name"] for each in json_of(seen.page)["coefficients"]] == [*COEFFICIENTS]
    (trials,) = [rows for rows in Tables(seen.page).found if rows[0][0] == "trial"]
    assert trials[0][1:4] == [*COEFFICIENTS]
    assert {*seen.of_trial.config["coefficients"]} == {*COEFFICIENTS}
    assert {*seen.json("show", "tiny/2")["coefficients"]} == {*COEFFICIENTS}
    assert "coefficients: alpha " in seen.printed("show", "tiny/2")


def test_states_of_trials_have_one_name_each(seen):
    states = {str(status) for status in Status}
    store = DeltaStore(str(seen.storage)).read("trials", "tiny")
    assert {*store["event"].to_pylist()} <= states
    assert {*seen.json("status", "tiny")["statuses"]} <= states
    assert "trials: 4 finished" in seen.printed("status", "tiny")
    assert {trial["status"] for trial in json_of(seen.page)["trials"]} <= states
    (trials,) = [rows for rows in Tables(seen.page).found if rows[0][0] == "trial"]
    assert {row[trials[0].index("status")] for row in trials[1:]} <= states
    assert seen.of_trial.summary["status"] in states
    assert {status: seen.of_sweep.summary[status] for status in ("finished", "stopped", "diverged", "failed")} == {
        "finished": 4, "stopped": 0, "diverged": 0, "failed": 0,
    }  # fmt: skip
    assert seen.of_sweep.summary["trials"] == 4
