"""Bytes of a trial are checked: weights and counts when they are read, checkpoints when a training goes on."""

import hashlib
import json
import logging

import pytest

from orchestrator.errors import StorageFault
from orchestrator.results import trial_event, utc_now
from orchestrator.search import Status
from orchestrator.storage import CHECKPOINT, DeltaStore, Files, trial_file
from orchestrator.training import KeptFiles, Trial
from orchestrator.training.sealing import read_checkpoint_file, seal, unseal
from tests.integration.sweeps import call_moda, sweep_in_process

SWEEP = ("experiment=digits", "data.limit=300", "sweep.name=kept", "sweep.trials=1", "training.epochs=2")
CHOICES = (
    "evaluation.taus=[0.9]",
    "evaluation.thresholds=[0.0]",
    "evaluation.levels=[0.1]",
    "evaluation.targets=[0.2]",
)


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(bytes(data))


def finish(trial, attempt, hashes):
    row = trial_event(
        trial.sweep_id, trial, Status.FINISHED, attempt=attempt, now=utc_now(), files_sha256=json.dumps(hashes)
    )
    DeltaStore(trial.root).append("trials", [row])


@pytest.fixture
def trial(configured):
    config = configured()
    return Trial("one", 3, {}, config, config.storage)


def test_bytes_are_those_that_were_written(trial):
    files = Files(trial.root)
    kept = KeptFiles(files, "one", trial.trial_id)
    kept.write("a.bin", b"what it keeps")
    assert json.loads(kept.hashes) == {"a.bin": hashlib.sha256(b"what it keeps").hexdigest()}
    finish(trial, 1, json.loads(kept.hashes))
    assert KeptFiles(files, "one", trial.trial_id).read("a.bin") == b"what it keeps"
    files.write(trial.file("a.bin"), b"what it kept ")
    with pytest.raises(StorageFault, match=r"trials/one-0003/a.bin is damaged, .*moda confirm one --points 3/"):
        KeptFiles(files, "one", trial.trial_id).read("a.bin")


def test_of_two_attempts_that_finished_either_may_have_written_last(trial):
    files = Files(trial.root)
    for attempt, data in ((1, b"first"), (2, b"second")):
        finish(trial, attempt, {"a.bin": hashlib.sha256(data).hexdigest()})
    for data in (b"first", b"second"):
        files.write(trial.file("a.bin"), data)
        assert KeptFiles(files, "one", trial.trial_id).read("a.bin") == data


def test_trials_of_older_versions_are_read_as_they_are(trial):
    row = trial_event("one", trial, Status.FINISHED, attempt=1, now=utc_now())
    DeltaStore(trial.root).append("trials", [row])
    Files(trial.root).write(trial.file("a.bin"), b"older")
    assert KeptFiles(Files(trial.root), "one", trial.trial_id).read("a.bin") == b"older"


@pytest.mark.parametrize("name", ["weights.safetensors", "frequencies.safetensors", "contributions.safetensors"])
def test_a_flipped_bit_is_not_published(finished, tmp_path, name):
    point = {"frequencies.safetensors": "0/0.9/0"}.get(name, "0/0.1")
    file = finished / "trials" / "kept-0000" / name
    flip(file, -1)
    done = call_moda("pull", f"sweep:kept/{point}", "--to", str(tmp_path / "set"), storage=finished)
    flip(file, -1)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"trials/kept-0000/{name} is damaged, its sha256 is not the one that was recorded" in line
    assert not (tmp_path / "set").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The storage of a sweep of one finished trial."""
    storage = tmp_path_factory.mktemp("kept")
    sweep_in_process(*SWEEP, *CHOICES, "tracking=none", storage=storage)
    return storage


def test_the_event_names_every_file(finished):
    events = DeltaStore(str(finished)).read("trials", "kept").to_pylist()
    (hashes,) = [json.loads(row["files_sha256"]) for row in events if row["event"] == "finished"]
    folder = finished / "trials" / "kept-0000"
    assert hashes == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    assert {row["files_sha256"] for row in events if row["event"] != "finished"} == {None}


def test_every_flipped_bit_of_a_sealed_checkpoint_is_noticed():
    sealed = seal(b"epoch 3")
    assert unseal(sealed) == b"epoch 3"
    assert unseal(b"PK of an older version") == b"PK of an older version"
    for place in range(len(b"sha256 "), len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(ValueError, match="its sha256 is not the recorded one"):
            unseal(changed)


@pytest.mark.parametrize("data", [b"", b"PK", seal(b"x")[:-1], b"\x80nonsense"])
def test_a_checkpoint_that_cannot_be_read_is_as_none_and_named(configured, tmp_path, caplog, data):
    """And a training that finds it starts again, and ends as any other."""
    storage = tmp_path / "storage"
    Files(str(storage)).write(trial_file("kept-0000", CHECKPOINT), data)
    with caplog.at_level(logging.WARNING, "moda"):
        sweep = sweep_in_process(*SWEEP, *CHOICES, "tracking=none", storage=storage)
    assert [trial.status for trial in sweep.trials] == ["finished"]
    assert DeltaStore(str(storage)).read("epochs", "kept").num_rows == 2
    assert f"the checkpoint {storage}/trials/kept-0000/checkpoint.pt cannot be read (" in caplog.text
    assert "it counts as none" in caplog.text
    assert not (storage / "trials" / "kept-0000" / CHECKPOINT).exists()


def test_no_checkpoint_is_none_without_a_word(tmp_path, caplog):
    assert read_checkpoint_file(Files(str(tmp_path)), "nothing.pt", bytes) is None
    assert caplog.text == ""
