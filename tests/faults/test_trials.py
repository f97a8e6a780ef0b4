"""Trials that die in a real sweep, each in its own way: they are recorded and tried again, and the others go on."""

import pytest

from orchestrator.records import read_sweep
from orchestrator.store import DeltaStore
from tests.faults.nets import FAULTS
from tests.integration.sweeps import run_moda

SWEEP = (
    "data=digits",
    "data.limit=200",
    "model=own",
    "model.name=tests.faults.nets:Faulty",
    "search.space.fault={low: 0, high: 5, integer: true}",
    f"search.baselines=[{','.join(f'{{fault: {fault}}}' for fault in range(len(FAULTS)))}]",
    "sweep.name=faulty",
    f"sweep.trials={len(FAULTS)}",
    "training.epochs=2",
    "evaluation.taus=[0.5,0.9]",
    "evaluation.levels=[0.1]",
    "tracking=none",
)
EXITED, MEMORY, NOT_A_NUMBER, KILLED, GPU_MEMORY = 1, 2, 3, 4, 5
DIED = "its process died (it crashed, was killed for want of memory, or lost its node)"
REASONS = {
    EXITED: DIED,
    MEMORY: "MemoryError: no memory for the gradient",
    KILLED: DIED,
    GPU_MEMORY: "OutOfMemoryError: CUDA out of memory. Tried to allocate 1 TiB",
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """The storage, and what the sweep printed."""
    storage = tmp_path_factory.mktemp("storage")
    return storage, run_moda("sweep", *SWEEP, storage=storage)


def read(storage):
    store = DeltaStore(str(storage))
    events = store.read("trials", "faulty").to_pylist()
    return read_sweep(store, "faulty"), {(row["number"], row["attempt"], row["event"]) for row in events}


def test_the_sweep_goes_on_and_says_what_failed(faulty):
    storage, done = faulty
    assert done.returncode == 0, done.stderr + done.stdout
    sweep, _ = read(storage)
    assert {point.trial.number for point in sweep.front} == {0}
    assert all(point.test for point in sweep.front)
    assert "1 of 6 trials finished" in done.stdout
    for number, reason in REASONS.items():
        assert sweep.trials[number].reason == reason
        assert f"trial {number} failed: {reason}" in done.stdout
    assert "trial 3 diverged: the loss is nan after epoch 1" in done.stdout
    assert "the same command tries the 4 that failed again" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_each_was_tried_again_but_the_one_that_diverged(faulty):
    sweep, events = read(faulty[0])
    assert [(one.status, one.attempt) for one in sweep.trials] == [
        ("finished", 1),
        ("failed", 2),
        ("failed", 2),
        ("diverged", 1),
        ("failed", 2),
        ("failed", 2),
    ]
    assert {(MEMORY, attempt, "failed") for attempt in (1, 2)} <= events
    assert (EXITED, 1, "failed") not in events  # a process that died cannot say so; that it is over is said once


def test_a_later_sweep_tries_the_failed_ones_once_more(faulty):
    storage, _ = faulty
    done = run_moda("sweep", *SWEEP, "training.max_failures=0", storage=storage)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "2 read from the tables, 4 resumed" in done.stdout
    assert "1 of 6 trials finished;" in done.stdout
    attempts = [(one.status, one.attempt) for one in read(storage)[0].trials]
    assert attempts == [("finished", 1), ("failed", 3), ("failed", 3), ("diverged", 1), ("failed", 3), ("failed", 3)]


def test_a_sweep_of_which_nothing_finished_fails(tmp_path):
    overrides = ("search.baselines=[{fault: 2}]", "sweep.trials=1", "training.max_failures=0")
    done = run_moda("sweep", *SWEEP, *overrides, storage=tmp_path)
    assert done.returncode == 1, done.stderr + done.stdout
    assert "trial 0 failed: MemoryError: no memory for the gradient" in done.stdout
    assert "0 of 1 trials finished" in done.stdout
