"""Ctrl-C and SIGTERM: both end a command in good order and say how to go on; a second one ends it at once."""

import glob
import signal

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.integration.gates import Gate
from tests.integration.sweeps import run_moda, start_at_gate
from tests.integration.waiting import PATIENCE, descendants, wait_for_the_end_of, wait_until

ENDS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
SWEEP = ("sweep", "sweep.name=stopped", "sweep.trials=2", "sweep.concurrency=1", "training.epochs=3", "tracking=none")


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate", 1)


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = set(glob.glob("/tmp/moda-*"))
    yield
    assert {name for name in set(glob.glob("/tmp/moda-*")) - before if "moda-ray-" not in name} == set()


def ended(process, number):
    """How a process ends by itself: in good order, and without traces of C++ or Python."""
    started = descendants(process.pid)
    _, errors = process.communicate(timeout=PATIENCE)
    code, how = ENDS[number]
    assert process.returncode == code, errors
    assert errors.splitlines()[-1] == f"{how}; run the same command again to resume"
    assert "Traceback" not in errors
    assert "***" not in errors  # of C++
    return errors, started


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("times", [1, 2])
def test_a_sweep_is_stopped_and_goes_on(gate, shared_ray, tmp_path, number, times):
    process = start_at_gate(gate, *SWEEP, *gate.overrides, storage=tmp_path, **shared_ray)
    process.send_signal(number)
    if times > 1:
        heard = ""
        while "stopping the trials; interrupt again to stop at once" not in heard:
            heard = process.stderr.readline()
            assert heard
        process.send_signal(number)
    ended(process, number)
    wait_for_the_end_of(gate.processes)
    (trial,) = read_sweep(DeltaStore(str(tmp_path)), "stopped").trials
    assert (trial.status, trial.attempt) == ("started", 1)

    gate.open()
    done = run_moda(*SWEEP, *gate.overrides, storage=tmp_path, **shared_ray)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = read_sweep(DeltaStore(str(tmp_path)), "stopped").trials
    assert [(trial.status, trial.attempt) for trial in trials] == [("finished", 2), ("finished", 1)]


@pytest.mark.slow
def test_a_sweep_with_a_ray_of_its_own_ends_it(gate, tmp_path):
    process = start_at_gate(gate, *SWEEP, *gate.overrides, storage=tmp_path)
    process.send_signal(signal.SIGTERM)
    _, started = ended(process, signal.SIGTERM)
    wait_for_the_end_of(started)


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDS)
def test_a_training_is_stopped(gate, tmp_path, number):
    alone = ("train", "training.epochs=3", "tracking=none", *gate.overrides)
    process = start_at_gate(gate, *alone, storage=tmp_path)
    process.send_signal(number)
    ended(process, number)


@pytest.mark.slow
def test_sigterm_while_ray_starts(tmp_path):
    """Ray takes SIGTERM for itself then."""
    import os
    import subprocess
    import sys

    command = [sys.executable, "-m", "orchestrator", "sweep", "experiment=digits", *SWEEP[1:], f"storage={tmp_path}"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: descendants(process.pid), "Ray to start")
    process.send_signal(signal.SIGTERM)
    _, started = ended(process, signal.SIGTERM)
    wait_for_the_end_of(started)
