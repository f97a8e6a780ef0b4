"""A sweep whose process is killed loses nothing: finished trials are read, the one in flight goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from orchestrator.config import load_config
from orchestrator.data import load_data
from orchestrator.records import read_sweep, trial_states
from orchestrator.store import DeltaStore
from orchestrator.training import read_checkpoint
from orchestrator.trial import Trial, run_trial
from tests.integration.sweeps import ROOT, run_moda

SWEEP = (
    "experiment=digits",
    "sweep.name=killed",
    "sweep.trials=3",
    "sweep.concurrency=1",
    "training.epochs=25",
    "tracking=none",
)


def start(storage, *overrides):
    """The sweep in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "sweep", *SWEEP, *overrides],
        cwd=ROOT,
        env={**os.environ, "MODA_STORAGE": str(storage)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition, what, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds} s for {what}")
        time.sleep(0.1)


def epochs_done(checkpoint):
    return read_checkpoint(checkpoint.read_bytes(), torch.device("cpu")).rows


def test_interrupting_says_how_to_go_on(tmp_path):
    process = start(tmp_path)
    until((tmp_path / "trials" / "killed-0000" / "checkpoint.pt").exists, "the first checkpoint")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "the same command goes on from here" in errors


def test_a_killed_worker_is_replaced_and_goes_on(tmp_path):
    """What the out-of-memory killer does to a trial."""
    process = start(tmp_path, "sweep.trials=1")
    until((tmp_path / "trials" / "killed-0000" / "checkpoint.pt").exists, "the first checkpoint")
    for pid in descendants(process.pid):
        if "ImplicitFunc" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)
    printed, errors = process.communicate(timeout=180)
    assert process.returncode == 0, printed + errors
    events = DeltaStore(str(tmp_path)).read("trials", "killed").to_pylist()
    assert sorted((row["attempt"], row["event"]) for row in events) == [
        (0, "proposed"),
        (1, "started"),
        (2, "finished"),
        (2, "started"),
    ]
    assert DeltaStore(str(tmp_path)).read("epochs", "killed").num_rows == 25


def descendants(pid):
    """Of a process, from /proc: the trial's worker is a grandchild, through Ray's own daemon."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, new = [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found


def test_kill_9_and_the_same_command_again(tmp_path):
    store = DeltaStore(str(tmp_path))
    checkpoint = tmp_path / "trials" / "killed-0001" / "checkpoint.pt"
    process = start(tmp_path)
    try:
        until(checkpoint.exists, "the second trial's first checkpoint")
        until(lambda: len(epochs_done(checkpoint)) >= 3, "its third epoch")
    finally:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    time.sleep(5)  # its workers notice, and end
    assert [one.status for one in trial_states(store.read("trials", "killed"))] == ["finished", "started"]
    before = epochs_done(checkpoint)
    assert 3 <= len(before) < 25, "the trial was to be in flight"
    first = store.read("trials", "killed").to_pylist()

    done = run_moda("sweep", *SWEEP, storage=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 read from the tables, 1 resumed" in done.stdout
    sweep = read_sweep(store, "killed")
    assert [(one.status, one.attempt) for one in sweep.trials] == [("finished", 1), ("finished", 2), ("finished", 1)]
    events = store.read("trials", "killed").to_pylist()
    assert all(row in events for row in first)  # nothing of before was lost or rewritten

    rows = [row for row in store.read("epochs", "killed").to_pylist() if row["trial_id"] == "killed-0001"]
    rows.sort(key=lambda row: row["epoch"])
    assert [row["epoch"] for row in rows] == list(range(1, 26))
    # It went on from its last epoch: those before were not trained again, their seconds are the first run's.
    assert [row["seconds"] for row in rows[: len(before)]] == [row["seconds"] for row in before]

    # And it is the trial that it would have been: the same, trained in one go, has the same weights to the bit.
    state = sweep.trials[1]
    config = load_config(SWEEP).with_coefficients(state.coefficients)
    other = Trial("killed", 1, state.coefficients, config, str(tmp_path / "other"))
    run_trial(other, load_data(config.data), report=lambda _: None)
    weights = [
        safetensors.torch.load_file(root / "trials" / "killed-0001" / "weights.safetensors")
        for root in (tmp_path, tmp_path / "other")
    ]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
