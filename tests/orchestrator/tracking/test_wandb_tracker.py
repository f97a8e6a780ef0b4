"""What a tracker does with a run of W&B, in which order; a run that fails is reported once and stops nobody."""

import logging
import threading

import pytest
import wandb

from orchestrator.config import TrackingConfig
from orchestrator.results import NoTracker
from orchestrator.tracking.wandb_tracker import WandbTracker, make_tracker
from tests.integration.waiting import PATIENCE


class RecordingRun:
    """As much of a run as a tracker uses: it remembers its calls, and those named in ``failing`` fail."""

    url = "https://wandb.example/team/project/runs/this"

    def __init__(self, starting_step=0, failing=()):
        self.starting_step, self.failing, self.calls = starting_step, failing, []
        self.summary = self

    def log(self, values, step=None):
        self._call("log", values, step)

    def update(self, values):
        self._call("summary", values)

    def finish(self, exit_code):
        self._call("finish", exit_code)

    def _call(self, name, *arguments):
        self.calls.append((name, *arguments))
        if name in self.failing:
            raise RuntimeError(f"{name} is down")


class RecordingArtifact:
    def log(self, run):
        run.calls.append(("artifact",))


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, "moda")
    return lambda: [record.getMessage() for record in caplog.records]


def track(run, seconds=PATIENCE):
    return WandbTracker(lambda: run, "s-0000", seconds)


def test_calls_reach_the_run_in_their_order_and_the_summary_comes_before_the_end(warnings):
    run = RecordingRun()
    tracker = track(run)
    tracker.log({"loss": 0.5, "epoch": 1, "affinity": None}, step=1)
    tracker.artifact(RecordingArtifact())
    tracker.log({"loss": 0.25, "epoch": 2}, step=2)
    tracker.finish({"status": "finished"})
    assert run.calls == [
        ("log", {"loss": 0.5, "epoch": 1}, 1),  # None is left out
        ("artifact",),
        ("log", {"loss": 0.25, "epoch": 2}, 2),
        ("summary", {"status": "finished"}),
        ("finish", 0),
    ]
    assert warnings() == []


def test_a_training_that_failed_ends_its_run_with_1():
    run = RecordingRun()
    track(run).finish({}, failed=True)
    assert run.calls == [("summary", {}), ("finish", 1)]


def test_steps_of_an_earlier_attempt_are_not_logged_again():
    run = RecordingRun(starting_step=3)
    tracker = track(run)
    for step in range(1, 5):
        tracker.log({"epoch": step}, step=step)
    tracker.finish({})
    assert [call[2] for call in run.calls if call[0] == "log"] == [3, 4]


def test_a_table_has_the_columns_that_are_asked_for_and_links_to_other_runs():
    run = RecordingRun()
    tracker = track(run)
    tracker.table("front", ["point", "run", "size"], lambda link: [{"point": "0/0.1", "run": link("s-0000"), "x": 1}])
    tracker.finish({})
    ((_, logged, step), *_) = run.calls
    (table,) = logged.values()
    assert (list(logged), step) == (["front"], None)
    assert isinstance(table, wandb.Table)
    assert table.columns == ["point", "run", "size"]
    assert table.data == [["0/0.1", "https://wandb.example/team/project/runs/s-0000", None]]


def test_a_chart_is_one_of_w_and_b_s_own_over_the_table_s_columns_at_a_step_that_the_run_takes():
    run = RecordingRun(starting_step=5)
    tracker = track(run)
    for step in (3, 7):
        tracker.chart("chart", ["a", "b"], lambda _: [{"a": 1, "b": 2}], x="b", y="a", title="the front", step=step)
    tracker.finish({})
    assert [call[2] for call in run.calls[:2]] == [5, 7]
    chart = run.calls[0][1]["chart"]
    assert (chart.spec.spec_name, chart.spec.fields) == ("wandb/scatter/v0", {"x": "b", "y": "a"})
    assert (chart.spec.string_fields, chart.table.data) == ({"title": "the front"}, [[1, 2]])


def test_where_a_run_is_found_is_its_address_or_the_command_that_uploads_it():
    run = RecordingRun()
    tracker = track(run)
    tracker.finish({})
    assert tracker.where == run.url
    run.url, run.dir = None, "/some where/wandb/offline-run-1-s-0000/files"
    assert tracker.where == "offline; to upload it: wandb sync '/some where/wandb'/offline-run-*-s-0000*"
    assert NoTracker().where == ""


def test_a_run_that_is_offline_has_no_links():
    run, links = RecordingRun(), []
    run.url = None
    tracker = track(run)
    tracker.table("front", [], lambda link: links.append(link("s-0000")) or [])
    tracker.finish({})
    assert links == [None]


def test_the_first_failure_is_reported_once_and_nothing_more_is_logged(warnings):
    run = RecordingRun(failing=("log",))
    tracker = track(run)
    for step in range(1, 4):
        tracker.log({"epoch": step}, step=step)
    tracker.finish({"status": "finished"})
    assert run.calls == [("log", {"epoch": 1}, 1), ("finish", 0)]
    assert warnings() == ["W&B failed (RuntimeError: log is down); run s-0000 is not tracked any further"]


@pytest.mark.parametrize("failing", [("log", "finish"), ("finish",)])
def test_an_end_that_fails_is_reported_no_more_than_once(warnings, failing):
    run = RecordingRun(failing=failing)
    tracker = track(run)
    tracker.log({"epoch": 1}, step=1)
    tracker.finish({})
    assert run.calls[-1] == ("finish", 0)
    assert warnings() == [f"W&B failed (RuntimeError: {failing[0]} is down); run s-0000 is not tracked any further"]


def test_a_run_that_does_not_start_is_reported_and_nobody_waits_for_it(warnings):
    def start():
        raise OSError("no route")

    tracker = WandbTracker(start, "s-0000", PATIENCE)
    tracker.log({"epoch": 1}, step=1)
    tracker.finish({})
    assert tracker.where == ""
    assert warnings() == ["W&B could not be started (OSError: no route); continuing without W&B"]


def test_a_training_does_not_wait_for_its_run_until_the_end_and_then_for_so_long_only(warnings):
    run, is_up = RecordingRun(), threading.Event()

    def start():
        is_up.wait(PATIENCE)
        return run

    tracker = WandbTracker(start, "s-0000", 0.0)
    tracker.log({"epoch": 1}, step=1)
    tracker.finish({})
    assert run.calls == []
    assert warnings() == ["W&B did not accept run s-0000 within 1 s; continuing without W&B"]
    is_up.set()
    tracker._thread.join(PATIENCE)
    assert [call[0] for call in run.calls] == ["log", "summary", "finish"]


def test_where_nothing_is_tracked_nothing_is_started(tmp_path):
    given = {"run_id": "s-0000", "sweep_id": "s", "job_type": "trial", "config": {}}
    tracker = make_tracker(TrackingConfig(name="none"), str(tmp_path / "storage"), **given)
    assert isinstance(tracker, NoTracker)
    assert list(tmp_path.iterdir()) == []
