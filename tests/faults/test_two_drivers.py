"""Two drivers of one sweep: the second one waits, and trains nothing that the first one is training."""

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.gates import Gate
from tests.integration.sweeps import _started, start_at_gate
from tests.integration.waiting import PATIENCE, kill

SWEEP = ("sweep", "sweep.name=both", "sweep.trials=2", "sweep.concurrency=1", "training.epochs=2", "tracking=none")


@pytest.mark.slow
@pytest.mark.parametrize("is_killed", [False, True])
def test_the_second_goes_on_when_the_first_has_ended(shared_ray, tmp_path, is_killed):
    gate, storage = Gate(tmp_path / "gate", 1), tmp_path / "storage"
    first = start_at_gate(gate, *SWEEP, *gate.overrides, storage=storage, **shared_ray)
    second = _started((*SWEEP, *gate.overrides), storage, shared_ray)
    line = next(line for line in second.stdout if line.startswith("another driver"))
    assert line.startswith(f"another driver works on sweep both: process {first.pid} on host ")
    if is_killed:
        kill(first)
    gate.open()
    if not is_killed:
        printed, errors = first.communicate(timeout=PATIENCE)
        assert first.returncode == 0, printed + errors
    printed, errors = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, printed + errors
    assert "another driver" not in printed
    assert ("1 resumed" if is_killed else "all 2 trials are already in the tables") in printed
    store = DeltaStore(str(storage))
    trials = read_sweep(store, "both").trials
    first_attempt = 2 if is_killed else 1
    assert [(trial.status, trial.attempt) for trial in trials] == [("finished", first_attempt), ("finished", 1)]
    events = [(row["number"], row["event"], row["attempt"]) for row in store.read("trials", "both").to_pylist()]
    assert sorted(event for event in events if event[1] == "started") == [
        *[(0, "started", attempt + 1) for attempt in range(first_attempt)],
        (1, "started", 1),
    ]
