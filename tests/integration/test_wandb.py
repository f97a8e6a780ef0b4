"""The real W&B client against a stand-in server on loopback: what arrives, and what a server in trouble costs."""

import socket
import threading

import pytest

from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.tracking.wandb_tracker import START_SECONDS, _seconds
from tests.integration.gates import Gate
from tests.integration.sweeps import run_moda, start_at_gate
from tests.integration.waiting import PATIENCE, WANDB_PATIENCE, kill, wait_until
from tests.integration.wandb_server import KEY, WandbServer, sync

TRIAL = "one-0000"


@pytest.fixture
def server():
    with WandbServer() as one:
        yield one


@pytest.fixture
def gate(tmp_path):
    """Trainings wait here after three epochs."""
    return Gate(tmp_path / "gate", 3)


def train(epochs, gate=None):
    """The arguments of a training named ``one``; a small grid makes it short."""
    small = ("evaluation.taus=[0.5,0.9]", "data.limit=400")
    return ("train", "sweep.name=one", f"training.epochs={epochs}", *(gate.overrides if gate else small))


def epochs_of(run):
    return [row["epoch"] for row in run.history if "epoch" in row]


def assert_whole(storage, epochs):
    """The tables hold the training, whatever became of W&B."""
    store = DeltaStore(str(storage))
    assert [one.status for one in read_sweep(store, "one").trials] == ["finished"]
    assert store.read("epochs", "one").num_rows == epochs
    assert store.read("points", "one").num_rows > 0


@pytest.mark.parametrize(("text", "seconds"), [("300", 300.0), ("0.5", 0.5), ("", 20.0), ("soon", 20.0)])
def test_how_long_w_and_b_may_take_is_said_by_its_own_variables(monkeypatch, text, seconds):
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", text)
    assert _seconds("WANDB_INIT_TIMEOUT", START_SECONDS) == seconds
    monkeypatch.delenv("WANDB_INIT_TIMEOUT")
    assert _seconds("WANDB_INIT_TIMEOUT", START_SECONDS) == START_SECONDS


def test_a_training_is_a_run(server, tmp_path):
    done = run_moda(*train(3), "tracking.project=mine", storage=tmp_path, **server.environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not server.unexpected
    run = server.runs[TRIAL]
    assert (run.entity, run.project, run.group, run.job_type) == ("somebody", "mine", "one", "trial")
    assert epochs_of(run) == [1, 2, 3]
    rows = DeltaStore(str(tmp_path)).read("epochs", "one").sort_by("epoch").to_pylist()
    for told, row in zip(run.history, rows, strict=True):
        assert {name: told[name] for name in ("loss", "learning_rate")} == {
            name: row[name] for name in ("loss", "learning_rate")
        }
    points = [
        one for one in DeltaStore(str(tmp_path)).read("points", "one").to_pylist() if one["split"] == "validation"
    ]
    assert len(run.table("points")) == len(points)
    assert run.summary["status"] == "finished"
    assert run.summary["accuracy"] == points[0]["accuracy"]
    assert run.config["training"]["epochs"] == 3
    assert run.exit_code == 0


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_in_its_run(server, gate, tmp_path):
    """Each epoch is there once, those that the first process trained and did not upload as well."""
    server.take_rows(2)  # of the three that are trained when it is killed
    process = start_at_gate(gate, *train(6, gate), storage=tmp_path, **server.environment)
    wait_until(lambda: TRIAL in server.runs and len(server.runs[TRIAL].history) == 2, "the first rows")
    kill(process)
    assert epochs_of(server.runs[TRIAL]) == [1, 2]
    server.take_rows(None)
    gate.open()
    done = run_moda(*train(6, gate), storage=tmp_path, **server.environment)
    assert done.returncode == 0, done.stderr
    run = server.runs[TRIAL]
    assert run.begun == 2
    assert epochs_of(run) == [1, 2, 3, 4, 5, 6]
    assert run.exit_code == 0
    assert not server.unexpected


@pytest.mark.slow
def test_a_training_that_was_killed_offline_is_synced_whole(server, gate, tmp_path):
    process = start_at_gate(gate, *train(6, gate), storage=tmp_path, WANDB_MODE="offline", **WANDB_PATIENCE)
    wait_until(lambda: list(tmp_path.glob("wandb/offline-run-*/*.wandb")), "the run's file")
    kill(process)
    gate.open()
    done = run_moda(*train(6, gate), storage=tmp_path, WANDB_MODE="offline", **WANDB_PATIENCE)
    assert done.returncode == 0, done.stderr
    sync(tmp_path, server)
    run = server.runs[TRIAL]
    assert epochs_of(run) == [1, 2, 3, 4, 5, 6]
    assert run.summary["status"] == "finished"
    assert len(run.table("points")) > 0
    assert [artifact.made_by for artifact in server.artifacts.committed("run_table")] == [TRIAL]


@pytest.mark.slow
def test_a_server_that_never_answers_leaves_a_run_that_is_offline(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = run_moda(*train(2), storage=tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY=KEY, WANDB_MODE="online")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("W&B cannot be reached") == 1
    assert_whole(tmp_path, 2)
    sync(tmp_path, server)
    assert epochs_of(server.runs[TRIAL]) == [1, 2]


@pytest.mark.slow
def test_a_server_that_goes_down_does_not_end_a_training(server, gate, tmp_path):
    process = start_at_gate(gate, *train(6, gate), storage=tmp_path, **server.impatient)
    wait_until(lambda: TRIAL in server.runs, "the run")
    server.stop()
    gate.open()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "W&B failed" in errors
    assert_whole(tmp_path, 6)


@pytest.mark.slow
def test_a_server_that_hangs_in_the_middle_does_not_either(server, gate, tmp_path):
    process = start_at_gate(gate, *train(6, gate), storage=tmp_path, **server.impatient)
    wait_until(lambda: TRIAL in server.runs, "the run")
    over = threading.Event()
    server.graphql = lambda *_: {"hung": over.wait(PATIENCE)}
    gate.open()
    _, errors = process.communicate(timeout=PATIENCE)
    over.set()
    assert process.returncode == 0, errors
    assert "W&B" in errors
    assert_whole(tmp_path, 6)
