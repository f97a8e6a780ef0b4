"""A storage that is deleted while a sweep uses it: one line, nothing hangs, and the same command begins anew."""

import shutil

import pytest

from orchestrator.results import read_sweep
from orchestrator.storage import DeltaStore
from tests.integration.gates import Gate
from tests.integration.sweeps import run_moda, start_at_gate
from tests.integration.waiting import PATIENCE, wait_for_the_end_of

SWEEP = ("sweep", "sweep.name=gone", "sweep.trials=3", "sweep.concurrency=1", "training.epochs=2", "tracking=none")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["", "tables"])
@pytest.mark.parametrize("trial", ["goes on", "waits"])
def test_a_storage_is_deleted_in_the_middle_of_a_sweep(shared_ray, tmp_path, what, trial):
    gate, storage = Gate(tmp_path / "gate", 1), tmp_path / "storage"
    process = start_at_gate(gate, *SWEEP, *gate.overrides, storage=storage, **shared_ray)
    gate.let_one_pass()
    assert gate.is_reached_by(process)
    (storage / what).rename(tmp_path / "away")  # at once, while others write
    shutil.rmtree(tmp_path / "away")
    if trial == "goes on":
        gate.open()
    printed, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, printed + errors
    (line,) = errors.splitlines()
    assert line.startswith(("moda sweep: storage=", f"moda sweep: {storage}/tables/")), errors
    assert line.endswith("while it was in use; bring it back, or run the same command again to begin anew")
    assert "Traceback" not in printed
    wait_for_the_end_of(gate.processes)
    assert not (storage / what).exists()  # a part of it would be in the way of what is brought back

    gate.open()
    done = run_moda(*SWEEP, *gate.overrides, storage=storage, **shared_ray)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = read_sweep(DeltaStore(str(storage)), "gone").trials
    assert [(trial.status, trial.attempt) for trial in trials] == [("finished", 1)] * 3
