"""One driver per sweep, with real processes that drive, end, die and fall silent."""

import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest

from orchestrator.errors import StorageGone
from orchestrator.runs import lease
from orchestrator.runs.lease import BEGAN, ENDED, only_driver
from orchestrator.storage import DeltaStore, Files
from tests.integration.waiting import PATIENCE, wait_until

DRIVE = """
import sys
from orchestrator.runs import lease
lease.BEAT = 0.05
with lease.only_driver(sys.argv[1], "s", lambda line: print(line, flush=True)) as held:
    print("drives", flush=True)
    while sys.stdin.readline().strip() == "go on":
        held.check()
"""


@pytest.fixture
def drive(tmp_path):
    """Starts a driver in a process of its own; it ends when its stdin does."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVE, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def lines(tmp_path):
    """What this process prints while it waits for its turn."""
    return []


def turn(tmp_path, lines):
    """This process drives for a moment: the events before it, as (term, event)."""
    with only_driver(str(tmp_path), "s", lines.append):
        return events(tmp_path)[:-1]


def events(tmp_path):
    rows = DeltaStore(str(tmp_path)).read("drivers", "s").to_pylist()
    return sorted((row["term"], row["event"]) for row in rows)


def heartbeats(tmp_path):
    return [file.base for file in Files(str(tmp_path)).under("drivers/s")]


def test_a_driver_leaves_a_row_of_its_end_and_no_file(tmp_path, lines):
    with only_driver(str(tmp_path), "s", lines.append) as held:
        assert heartbeats(tmp_path) == [held._own["driver_id"]]
        assert held._own["driver_id"].startswith(f"{socket.gethostname()}-")
        with only_driver(str(tmp_path), "another sweep", lines.append):
            pass
    assert heartbeats(tmp_path) == []
    assert events(tmp_path) == [(1, BEGAN), (1, ENDED)]
    assert turn(tmp_path, lines) == [(1, BEGAN), (1, ENDED)]
    assert lines == []


def test_one_that_is_interrupted_leaves_no_lease(tmp_path, lines):
    with pytest.raises(KeyboardInterrupt), only_driver(str(tmp_path), "s", lines.append):
        raise KeyboardInterrupt
    assert (1, ENDED) in turn(tmp_path, lines)
    assert lines == []


def test_the_second_waits_for_the_end_of_the_first_and_says_so_once(tmp_path, drive):
    first = drive()
    assert first.stdout.readline() == "drives\n"
    second = drive()
    line = second.stdout.readline()
    assert line.startswith(
        f"another driver works on sweep s: process {first.pid} on host {socket.gethostname()}, since "
    )
    assert line.endswith(" UTC; waiting until it ends, or has been silent for 120 s\n")
    first.communicate("\n", timeout=PATIENCE)
    assert second.stdout.readline() == "drives\n"
    second.communicate("\n", timeout=PATIENCE)
    assert events(tmp_path) == [(1, BEGAN), (1, ENDED), (2, BEGAN), (2, ENDED)]
    assert heartbeats(tmp_path) == []


def test_one_that_was_killed_on_this_machine_is_not_waited_for(tmp_path, lines, drive):
    killed = drive()
    assert killed.stdout.readline() == "drives\n"
    killed.kill()
    killed.wait()
    assert turn(tmp_path, lines) == [(1, BEGAN)]
    assert lines == []
    assert heartbeats(tmp_path) == []


@pytest.fixture
def killed_elsewhere(drive, monkeypatch):
    """A driver that was killed, as in another container: its processes cannot be seen from here."""
    killed = drive()
    assert killed.stdout.readline() == "drives\n"
    killed.kill()
    killed.wait()
    monkeypatch.setattr(lease, "machine_id", lambda: "another")


def test_one_that_was_killed_elsewhere_is_waited_for(tmp_path, lines, killed_elsewhere, monkeypatch):
    monkeypatch.setattr(lease, "SILENCE", 3.0)
    monkeypatch.setattr(lease, "LOOK", 0.1)
    assert turn(tmp_path, lines) == [(1, BEGAN)]
    (line,) = lines
    assert line.endswith("silent for 3 s")


def test_one_that_was_killed_elsewhere_long_ago_is_not_waited_for(tmp_path, lines, killed_elsewhere):
    (heartbeat,) = (tmp_path / "drivers" / "s").iterdir()
    os.utime(heartbeat, (1, 1))
    assert turn(tmp_path, lines) == [(1, BEGAN)]
    assert lines == []


def test_one_that_slept_does_not_go_on(tmp_path, lines, drive, monkeypatch):
    sleeper = drive()
    assert sleeper.stdout.readline() == "drives\n"
    sleeper.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(lease, "SILENCE", 1.0)
    with only_driver(str(tmp_path), "s", lines.append):
        sleeper.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            while sleeper.poll() is None:
                print("go on", file=sleeper.stdin, flush=True)
        errors = sleeper.stderr.read()
        sleeper.wait(PATIENCE)
    assert sleeper.returncode == 1
    assert f"sweep s goes on elsewhere (process {os.getpid()} on host {socket.gethostname()}, since " in errors
    assert events(tmp_path) == [(1, BEGAN), (2, BEGAN), (2, ENDED)]


@pytest.mark.parametrize("what", ["", "tables"])
def test_one_whose_storage_is_deleted_ends_and_makes_it_not_anew(tmp_path, lines, monkeypatch, what):
    monkeypatch.setattr(lease, "BEAT", 0.05)
    storage = tmp_path / "storage"

    def drive_until_it_is_seen():
        with only_driver(str(storage), "s", lines.append) as held:
            (storage / what).rename(tmp_path / "away")
            wait_until(lambda: not held._heart.is_alive(), "the heartbeat to end")
            held.check()

    with pytest.raises(StorageGone, match="was deleted"):
        drive_until_it_is_seen()
    assert not (storage / what).exists()
