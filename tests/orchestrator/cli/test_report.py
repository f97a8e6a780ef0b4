"""``moda report --watch``: the page is written again until the sweep is over."""

import threading

import pytest

from orchestrator.cli import main
from orchestrator.results.records import claim_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.waiting import wait_until
from tests.orchestrator.results.test_records import NOW, event, point


@pytest.fixture
def store(tmp_path, configured):
    """The tables of a sweep of one trial, which runs."""
    store = DeltaStore(str(tmp_path / "storage"))
    claim_sweep(store, configured("sweep.name=s", "sweep.trials=1"), prefix="x", now=NOW)
    store.append("trials", [event(0, "started", 1)])
    return store


def test_a_watched_page_follows_until_the_sweep_is_over(store, tmp_path, capsys):
    page = tmp_path / "page.html"

    def finish():
        wait_until(lambda: page.exists() and "refresh" in page.read_text(), "the page of the running sweep")
        assert "has no points yet" in page.read_text()
        store.append("points", [point(0, 0.5, 0.9, 0.2), point(0, 0.5, 0.88, 0.2, "test")])
        store.append("trials", [event(0, "finished", 1)])

    thread = threading.Thread(target=finish)
    thread.start()
    assert main(["report", "s", "--to", str(page), "--watch", "1", f"storage={tmp_path}/storage"]) == 0
    thread.join()
    assert "http-equiv" not in page.read_text()
    assert "<h2>The front</h2>" in page.read_text()
    assert f"report written to {page}; 0 of 1 trials finished" in " ".join(capsys.readouterr().out.split())


def test_a_failed_trial_is_not_waited_for(store, tmp_path, capsys):
    """Its command has ended, and only the next one trains it again."""
    store.append("trials", [event(0, "failed", 1, reason="OSError: gone")])
    assert (
        main(["report", "s", "--to", str(tmp_path / "page.html"), "--watch", "1", f"storage={tmp_path}/storage"]) == 0
    )
    assert "http-equiv" not in (tmp_path / "page.html").read_text()


def test_less_than_a_second_is_refused(store, tmp_path, capsys):
    assert main(["report", "s", "--watch", "0", f"storage={tmp_path}/storage"]) == 2
    assert "--watch 0: give 1 second or more" in capsys.readouterr().err
