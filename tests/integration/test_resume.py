"""A sweep whose process is killed loses nothing: finished trials are read, the one in flight goes on."""

import os
import signal

import pytest
import safetensors.torch
import torch

from orchestrator.config.composing import load_config
from orchestrator.results.records import read_sweep, trial_states
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.data.loading import load_data
from orchestrator.training.loop import read_checkpoint
from orchestrator.training.trial import Trial, run_trial
from tests.integration.gates import Gate
from tests.integration.sweeps import run_moda, start_at_gate
from tests.integration.waiting import PATIENCE, command_line, descendants, kill, wait_for_the_end_of

EPOCHS, BEFORE = 6, 3  # of each training, and how many of them are done when it is killed


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate", BEFORE)


def sweep_of(gate, trials=3):
    """The arguments of a sweep whose trainings wait at the gate."""
    return (
        "sweep",
        "sweep.name=killed",
        f"sweep.trials={trials}",
        "sweep.concurrency=1",
        f"training.epochs={EPOCHS}",
        "tracking=none",
        *gate.overrides,
    )


def checkpoint_rows(storage, trial):
    """Of the epochs after which a trial goes on."""
    checkpoint = (storage / "trials" / trial / "checkpoint.pt").read_bytes()
    return read_checkpoint(checkpoint, torch.device("cpu")).rows


@pytest.mark.slow
def test_interrupting_says_how_to_go_on(gate, tmp_path):
    process = start_at_gate(gate, *sweep_of(gate), storage=tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert "run the same command again to resume" in errors


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_goes_on(gate, tmp_path):
    """What the out-of-memory killer does to a trial."""
    process = start_at_gate(gate, *sweep_of(gate, trials=1), storage=tmp_path)
    kept = len(checkpoint_rows(tmp_path, "killed-0000"))
    for pid in descendants(process.pid):  # the trial's worker is a grandchild, through Ray's own daemon
        if "ImplicitFunc" in command_line(pid):
            os.kill(pid, signal.SIGKILL)
    gate.open()
    printed, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, printed + errors
    assert f"it goes on after epoch {kept}\n" in printed
    events = DeltaStore(str(tmp_path)).read("trials", "killed").to_pylist()
    assert sorted((row["attempt"], row["event"]) for row in events) == [
        (0, "proposed"),
        (1, "started"),
        (2, "finished"),
        (2, "started"),
    ]
    assert DeltaStore(str(tmp_path)).read("epochs", "killed").num_rows == EPOCHS


@pytest.mark.parametrize("cluster", ["shared", pytest.param("of its own", marks=pytest.mark.slow)])
def test_kill_9_and_the_same_command_again(gate, shared_ray, tmp_path, cluster):
    """On a Ray that goes on without the sweep, and on one that the sweep has started and that ends with it."""
    environment = shared_ray if cluster == "shared" else {}
    store = DeltaStore(str(tmp_path))
    process = start_at_gate(gate, *sweep_of(gate), storage=tmp_path, **environment)
    gate.let_one_pass()
    assert gate.is_reached_by(process)
    kill(process)
    wait_for_the_end_of(gate.processes)  # the workers notice, and end
    assert [state.status for state in trial_states(store.read("trials", "killed"))] == ["finished", "started"]
    before = checkpoint_rows(tmp_path, "killed-0001")
    kept = len(before)
    assert 1 <= kept <= BEFORE  # not each epoch is kept
    first = store.read("trials", "killed").to_pylist()

    gate.open()
    done = run_moda(*sweep_of(gate), storage=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert "1 read from the tables, 1 resumed" in done.stdout
    sweep = read_sweep(store, "killed")
    assert [(trial.status, trial.attempt) for trial in sweep.trials] == [
        ("finished", 1),
        ("finished", 2),
        ("finished", 1),
    ]
    events = store.read("trials", "killed").to_pylist()
    assert all(row in events for row in first)  # nothing of before was lost or rewritten

    rows = [row for row in store.read("epochs", "killed").to_pylist() if row["trial_id"] == "killed-0001"]
    rows.sort(key=lambda row: row["epoch"])
    assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1))
    # It went on from its checkpoint: epochs before were not trained again, their seconds are the first run's.
    assert [row["seconds"] for row in rows[:kept]] == [row["seconds"] for row in before]

    # And it is the trial that it would have been: the same, trained in one go, has the same weights to the bit.
    state = sweep.trials[1]
    config = load_config(sweep_of(gate)[1:]).with_coefficients(state.coefficients)
    other = Trial("killed", 1, state.coefficients, config, str(tmp_path / "other"))
    run_trial(other, load_data(config.data), report=lambda _: None)
    weights = [
        safetensors.torch.load_file(root / "trials" / "killed-0001" / "weights.safetensors")
        for root in (tmp_path, tmp_path / "other")
    ]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
