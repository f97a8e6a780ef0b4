"""How commands end: whose fault it was is told apart, and told on one line."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moda_core import ModuleSetError, NetworkError
from orchestrator.cli.command_line import main
from orchestrator.errors import ConfigError, ServiceError, StorageError
from orchestrator.modules.uploads import module_artifacts
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.older_storage import SMALL, unpack_older_storage

ROOT = Path(__file__).parents[3]


@pytest.fixture
def storage(tmp_path, monkeypatch):
    """The working folder, with a storage that holds the sweep ``first``."""
    unpack_older_storage(tmp_path, monkeypatch)
    monkeypatch.delenv("MODA_DEBUG", raising=False)
    return tmp_path


def line_of(capfd):
    """What stderr says: one line."""
    (line,) = capfd.readouterr().err.splitlines()
    assert len(line) <= 500
    return line


def inject(monkeypatch, place, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(place, fail)


BEST = "sweep:first/best"
VALUE, SYSTEM = ValueError("inside it is 7"), OSError(errno.EIO, "inside it is 7")
DEEP = {
    "train": (["train", *SMALL, "method=standard"], "orchestrator.runs.train.read_sweep"),
    "decompose": (["decompose", "weights.safetensors", *SMALL], "orchestrator.runs.train.load_data"),
    "sweep": (["sweep", *SMALL, "sweep.name=first"], "orchestrator.runs.sweep.name_sweep"),
    "confirm": (["confirm", "first"], "orchestrator.search.pareto.on_front"),
    "rerun": (["rerun", "first/1"], "orchestrator.runs.rerunning.run_alone"),
    "front": (["front", "first"], "orchestrator.search.pareto.on_front"),
    "report": (["report", "first"], "orchestrator.views.render_report"),
    "query": (["query", "first", "from front"], "orchestrator.results.sql.front_rows"),
    "gc": (["gc"], "orchestrator.modules.garbage.collect"),
    "pull, in slicing": (
        ["pull", "sweep:first/best", "--classes", "3", "--to", "x"],
        "moda_core.sets.saving.largest_difference",
    ),
    "pull, in publishing": (["pull", "sweep:first/0/0.3", "--to", "x"], "moda_core.sets.saving.slice_state"),
    "pull, in tracing": (["pull", "sweep:first/0/0.3", "--to", "x"], "moda_core.sets.saving.channel_graph"),
}


@pytest.mark.parametrize(
    ("command", "error"),
    [
        *((command, VALUE) for command in DEEP),
        ("pull, in publishing", SYSTEM),
        ("pull, in slicing", SYSTEM),
        ("gc", SYSTEM),
        ("front", SYSTEM),
    ],
)
def test_a_fault_of_ours_is_called_one(storage, monkeypatch, capfd, command, error):
    arguments, place = DEEP[command]
    inject(monkeypatch, place, error)
    assert main(arguments) == 70
    line = line_of(capfd)
    assert line.startswith(f"moda {arguments[0]}: a bug of ours, please report it: {type(error).__name__}: ")
    assert "inside it is 7 (" in line
    assert ".py:" in line
    assert line.endswith("MODA_DEBUG=1 shows the traceback")
    assert not Path("x").exists()


def test_a_traceback_is_there_for_the_asking(storage, monkeypatch, capfd):
    inject(monkeypatch, "orchestrator.search.pareto.on_front", VALUE)
    monkeypatch.setenv("MODA_DEBUG", "1")
    assert main(["front", "first"]) == 70
    printed = capfd.readouterr().err
    assert printed.startswith("Traceback (most recent call last)")
    assert "moda front: a bug of ours" in printed.splitlines()[-1]


@pytest.mark.parametrize("error", [VALUE, SYSTEM], ids=repr)
def test_a_fault_of_ours_with_sets_is_called_one(storage, monkeypatch, capfd, error):
    assert main(["pull", BEST, "--to", "set"]) == 0, capfd.readouterr().err
    capfd.readouterr()
    for arguments, place in (
        (["export", "set", "--to", "x.pt2"], "torch.export.export"),
        (["replace", "set", "set", "--class", "3"], "orchestrator.modules.replacing.replace_class"),
    ):
        inject(monkeypatch, place, error)
        assert main(arguments) == 70
        assert "a bug of ours, please report it" in line_of(capfd)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "model=own", "model.name=nowhere:Net"], "nowhere cannot be imported here"),
        (["train", "model.name=vgg", "model.widths=[0]"], "model.widths holds 0"),
        (["train", *SMALL, "training.batch_size=1", "training.num_workers=2"], "every worker needs"),
        (["decompose", "nowhere.safetensors", *SMALL], "there is no such file"),
        (["sweep", "search.space=nonsense"], "search.space"),
        (["confirm", "nowhere"], "not in the storage"),
        (["confirm", "first", "--seeds", "0"], "--seeds 0"),
        (["rerun", "first/99"], "not in the tables"),
        (["front", "nowhere"], "not in the storage"),
        (["front", "first", "search.constraints=[accuracy]"], "must read like"),
        (["report", "first", "--to", "."], "cannot be written"),
        (["query", "first", "select nonsense"], "nonsense"),
        (["query", "first", "from front", "--format", "x"], "x"),
        (["gc", "nowhere"], "not in the storage"),
        (["pull", "sweep:first/9/9", "--to", "x"], "no such point"),
        (["pull", "sweep:first/best", "--classes", "fox", "--to", "x"], "no class 'fox'"),
        (["pull", "sweep:first/best", "--to", "storage"], "is not empty"),
        (["pull", "./code", "--to", "x"], "no module set"),
        (["pull", "a/b:c", "--to", "x"], "does not name a module set"),
        (["export", "nowhere", "--to", "x.onnx"], "no module set"),
        (["export", "code", "--to", "x.txt"], "the ending must be one of"),
        (["export", "code", "--to", "nowhere/x.pt2"], "is not a folder that can be written to"),
        (["replace", "nowhere", "code", "--class", "3"], "no module set"),
        (["replace", "nowhere", "code", "--class", "3", "--epochs", "0"], "--epochs 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(storage, capfd, arguments, message):
    assert main(arguments) == 2
    line = line_of(capfd)
    assert line.startswith(f"moda {arguments[0]}: ")
    assert message in line
    assert not Path("x").exists()


@pytest.mark.parametrize("kind", [ConfigError, StorageError, ServiceError, NetworkError, ModuleSetError])
def test_every_kind_of_mistake_is_one(storage, monkeypatch, capfd, kind):
    inject(monkeypatch, "orchestrator.views.render_report", kind("name\x1b[31m\n" + "long " * 1000))
    assert main(["report", "first"]) == 2
    assert line_of(capfd).startswith("moda report: name\\x1b[31m long long")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "points.parquet"), "the disk is full"),
        (OSError("writing failed: No space left on device (os error 28)"), "the disk is full"),
        (MemoryError(), "there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "there is not enough memory"),
    ],
    ids=repr,
)
def test_what_is_used_up_is_said(storage, monkeypatch, capfd, error, message):
    inject(monkeypatch, "orchestrator.modules.publishing.save_modules", error)
    assert main(["pull", "sweep:first/0/0.3", "--to", "x"]) == 71
    assert line_of(capfd).startswith(f"moda pull: {message}: ")


@pytest.mark.parametrize(
    "place", ["moda_core.sets.saving.largest_difference", "orchestrator.modules.pulling.check_file"]
)
def test_an_interrupt_ends_a_pull_and_leaves_nothing(storage, monkeypatch, capfd, place):
    before = sorted(os.listdir())
    inject(monkeypatch, place, KeyboardInterrupt())
    assert main(["pull", "sweep:first/best", "--classes", "3", "--to", "x"]) == 130
    assert "interrupted" in capfd.readouterr().err
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("arguments", [["front", "first"], ["query", "first", "from points"]])
def test_output_that_nobody_reads_ends_quietly(storage, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "orchestrator", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_pipe_that_breaks_elsewhere_is_a_fault(storage, monkeypatch, capfd):
    inject(monkeypatch, "orchestrator.views.render_report", BrokenPipeError("a worker's"))
    assert main(["report", "first"]) == 70
    assert "BrokenPipeError: a worker's" in line_of(capfd)


@pytest.mark.parametrize(("error", "is_ours"), [(ValueError("7"), True), (ModuleSetError("8"), False)])
def test_a_sweep_is_shown_without_sets_that_cannot_be_published(storage, monkeypatch, caplog, error, is_ours):
    inject(monkeypatch, "orchestrator.modules.uploads.published", error)
    root = str(storage / "storage")
    assert module_artifacts(read_sweep(DeltaStore(root), "first"), root) == []
    assert {record.exc_info is not None for record in caplog.records} == {is_ours}
    assert "the modules of 1/0.9/0.1 are not published" in caplog.text
