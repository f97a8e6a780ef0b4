"""Trials that die in a real sweep, each in its own way: they are recorded and tried again, and the others go on."""

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.sweeps import run_moda

WHOLE, EXITED, MEMORY, NOT_A_NUMBER, KILLED = range(5)  # as tests/faults/nets.py numbers them
DIED = "its process died (it crashed, was killed for want of memory, or lost its node)"
REASONS = {EXITED: DIED, MEMORY: "MemoryError: no memory for the gradient", KILLED: DIED}


def sweep(storage, shared_ray, *faults, max_failures):
    """A sweep of one trial a fault: what it printed, how the trials stand, and all events."""
    done = run_moda(
        "sweep",
        "data=digits",
        "data.limit=200",
        "model=own",
        "model.name=tests.faults.nets:Faulty",
        "search.space.fault={low: 0, high: 4, integer: true}",
        f"search.baselines=[{','.join(f'{{fault: {fault}}}' for fault in faults)}]",
        "search.reference.calibrated_reuse_accuracy=0.5",  # no baseline is a standard training
        "sweep.name=faulty",
        f"sweep.trials={len(faults)}",
        "sweep.concurrency=2",
        "training.epochs=2",
        f"training.max_failures={max_failures}",
        "evaluation.taus=[0.5,0.9]",
        "evaluation.levels=[0.1]",
        "evaluation.targets=[]",
        "tracking=none",
        storage=storage,
        **shared_ray,
    )
    store = DeltaStore(str(storage))
    return done, read_sweep(store, "faulty"), store.read("trials", "faulty").to_pylist()


@pytest.mark.slow
def test_the_others_go_on_and_the_sweep_says_what_failed(shared_ray, tmp_path):
    faults = (WHOLE, EXITED, MEMORY, NOT_A_NUMBER, KILLED)
    done, found, _ = sweep(tmp_path, shared_ray, *faults, max_failures=0)
    assert done.returncode == 0, done.stderr + done.stdout
    assert [one.status for one in found.trials] == ["finished", "failed", "failed", "diverged", "failed"]
    assert {point.trial.number for point in found.front} == {WHOLE}
    assert all(point.test for point in found.front)
    assert "1 of 5 trials finished" in done.stdout
    for number, reason in REASONS.items():
        assert found.trials[number].reason == reason
        assert f"trial {number} failed: {reason}" in done.stdout
    assert f"trial {NOT_A_NUMBER} diverged: the loss is nan after epoch 1" in done.stdout
    assert "run the same command again to retry the 3 that failed" in done.stdout
    assert_few_words(done)


@pytest.mark.slow
def test_a_failed_trial_is_tried_again_now_and_by_the_next_sweep(shared_ray, tmp_path):
    done, found, events = sweep(tmp_path, shared_ray, EXITED, MEMORY, max_failures=1)
    assert done.returncode == 1, done.stderr + done.stdout  # nothing finished
    assert "0 of 2 trials finished" in done.stdout
    for number, reason in ((0, DIED), (1, REASONS[MEMORY])):
        assert done.stdout.count(f"trial {number}: {reason}; it goes on from the start") == 1
    assert_few_words(done)
    assert [(one.status, one.attempt) for one in found.trials] == [("failed", 2), ("failed", 2)]
    failed = {(row["number"], row["attempt"]) for row in events if row["event"] == "failed"}
    assert failed == {(0, 2), (1, 1), (1, 2)}  # a process that died cannot say so: it is said for it, after the last

    done, found, _ = sweep(tmp_path, shared_ray, EXITED, MEMORY, max_failures=0)
    assert done.returncode == 1, done.stderr + done.stdout
    assert "2 resumed" in done.stdout
    assert [(one.status, one.attempt) for one in found.trials] == [("failed", 3), ("failed", 3)]


def assert_few_words(done):
    """No traceback of what was handled, nor what Ray's processes say of it: at most the line of the command's end."""
    assert "Traceback" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) <= 1, done.stderr


@pytest.fixture(autouse=True)
def few_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
