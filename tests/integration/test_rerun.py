"""``moda rerun``: a recorded trial trained again."""

import hashlib
import json
import re
import shutil

import pytest

from orchestrator.storage.delta import DeltaStore
from tests.integration.sweeps import call_moda, run_moda

GRID = ("evaluation.taus=[0.5,0.9]", "evaluation.levels=[0.1]", "evaluation.targets=[]")
SMALL = ("training.epochs=2", "data.limit=400", "tracking=none", "sweep.name=one", *GRID)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A storage with one training, and points of it on test."""
    storage = tmp_path_factory.mktemp("storage")
    done = call_moda("train", *SMALL, storage=storage)
    assert done.returncode == 0, done.stderr
    return storage


@pytest.mark.parametrize(("name", "moda"), [("one-0000", run_moda), ("one/0", call_moda)])
def test_a_training_repeats_to_the_bit(recorded, name, moda):
    before = {table: DeltaStore(str(recorded)).version(table) for table in ("trials", "epochs", "points")}
    done = moda("rerun", name, storage=recorded)
    assert done.returncode == 0, done.stderr + done.stdout
    assert re.search(r"one-0000: 2 rows of epochs and \d+ rows of points compared, 0 values differ", done.stdout)
    assert "the weights are the same" in done.stdout
    assert {table: DeltaStore(str(recorded)).version(table) for table in before} == before


def test_what_differs_is_said(recorded, tmp_path):
    """The same storage, but for a loss, a row of epochs and the weights."""
    true, other = DeltaStore(str(recorded)), DeltaStore(str(tmp_path))
    shutil.copytree(recorded / "trials", tmp_path / "trials")
    weights = tmp_path / "trials" / "one-0000" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    for table in ("sweeps", "points"):
        other.append(table, true.read(table).to_pylist())
    trials = true.read("trials").to_pylist()
    for row in trials:
        if row["files_sha256"]:
            digests = json.loads(row["files_sha256"])
            digests["weights.safetensors"] = hashlib.sha256(weights.read_bytes()).hexdigest()
            row["files_sha256"] = json.dumps(digests)
    other.append("trials", trials)
    first, _ = sorted(true.read("epochs").to_pylist(), key=lambda row: row["epoch"])
    other.append("epochs", [{**first, "loss": 7.5, "seconds": 99.0}])
    done = call_moda("rerun", "one-0000", storage=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "1 rows of epochs" in done.stdout
    assert "2 values differ; the weights differ" in done.stdout
    assert re.search(r"epoch 1: loss \d\.\d+, recorded 7\.5", done.stdout)
    assert "epoch 2: not recorded" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["one"], "give its id, such as mine-0003"),
        (["one/7"], "trial 'one/7' is not in the tables; of one these finished: 0"),
        (["two-0000"], "sweep 'two' is not in the storage; it holds ['one']"),
        (["one/0", "training.epochs=3"], "training.epochs=3: this command takes storage=, data.root=, data.path=, "),
    ],
)
def test_mistakes_are_said(recorded, arguments, said):
    done = call_moda("rerun", *arguments, storage=recorded)
    assert done.returncode == 2
    assert said in done.stderr
