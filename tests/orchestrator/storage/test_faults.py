"""What is wrong with a storage is one line: which table, where, which rows, and what to do."""

import os
import shutil
import subprocess

import pytest
from deltalake import DeltaTable

from orchestrator.cli import main
from orchestrator.errors import StorageFault
from orchestrator.results import utc_now
from orchestrator.storage import DeltaStore, Files


def row(number):
    of_trial = {"sweep_id": "s", "trial_id": f"s-{number:04d}", "number": number, "attempt": 0}
    return {**of_trial, "event": "proposed", "time": utc_now(), "coefficients": "{}"}


@pytest.fixture
def root(tmp_path):
    """A storage whose table ``trials`` has four rows, each in a file and a version of its own, from version 2 on."""
    store = DeltaStore(str(tmp_path / "storage"))
    for number in range(4):
        store.append("trials", [row(number)])
    return tmp_path / "storage"


def log_file(root, place):
    return sorted((root / "tables" / "trials" / "_delta_log").glob("*.json"))[place]


def data_file(root):
    return max((root / "tables" / "trials").rglob("*.parquet"), key=lambda file: file.stat().st_mtime_ns)


def fault_of(action):
    with pytest.raises(StorageFault) as caught:
        action()
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) <= 500
    return line


def cut_short(file):
    file.write_bytes(file.read_bytes()[:20])


@pytest.mark.parametrize("damage", [cut_short, os.unlink], ids=["cut short", "removed"])
def test_a_damaged_file_of_rows(root, damage):
    file = data_file(root)
    damage(file)
    for doing, action in (
        ("read", lambda: DeltaStore(str(root)).read("trials", "s")),
        ("written", lambda: DeltaStore(str(root)).append("trials", [row(3)])),  # of the file's own trial
    ):
        line = fault_of(action)
        assert line.startswith(f"{root}/tables/trials: the table trials cannot be {doing} (")
        assert "1 of its files with 1 rows cannot be read, first " in line
        assert file.name in line
        assert line.endswith("; restore them from a backup")


def test_a_damaged_log(root):
    last = log_file(root, -1)
    version = int(last.stem)
    last.write_text('{"commit')
    line = fault_of(lambda: DeltaStore(str(root)).read("trials", "s"))
    assert f"its log _delta_log is damaged, version {version - 1} is the last that can be read; restore" in line
    assert DeltaTable(root / "tables" / "trials", version=version - 1).to_pyarrow_table().num_rows == 3


def test_a_log_with_a_gap(root):
    gap = log_file(root, 2)
    gap.unlink()
    for action in (
        lambda: DeltaStore(str(root)).version("trials"),
        lambda: DeltaStore(str(root)).append("trials", [row(9)]),
    ):
        assert "_delta_log is damaged, version 1 is the last that can be read" in fault_of(action)


def test_no_log_that_can_be_read(root):
    log_file(root, 0).write_text("{")
    assert "no version of it can be read" in fault_of(lambda: DeltaStore(str(root)).read("trials", "s"))


def test_a_command_ends_with_this_line(root, capfd):
    shutil.copytree(root / "tables" / "trials", root / "tables" / "sweeps")
    cut_short(max((root / "tables" / "sweeps").rglob("*.parquet")))
    assert main(["front", "s", f"storage={root}"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"moda front: {root}/tables/sweeps: the table sweeps cannot be read (")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 KiB of its own; only where this user may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(small_disk):
    root = str(small_disk / "storage")
    store = DeltaStore(root)
    store.append("trials", [row(0)])
    room = os.statvfs(small_disk)
    Files(root).write("filler", b"0" * (room.f_bavail - 1) * room.f_frsize)
    line = fault_of(lambda: store.append("trials", [row(1)]))
    assert "the table trials cannot be written (" in line
    assert "No space left on device" in line
    assert line.endswith("make room and run the same command again, nothing that was recorded is lost")
    line = fault_of(lambda: Files(root).write("trials/s-0000/weights", b"0" * 100_000))
    assert line.startswith(f"storage='{root}': trials/s-0000/weights cannot be written (")
    assert "make room" in line
    assert store.read("trials", "s").num_rows == 1
    assert not Files(root).exists("trials/s-0000/weights")
    Files(root).delete("filler")
    store.append("trials", [row(1)])
    assert store.read("trials", "s").num_rows == 2


def test_a_full_disk_is_exit_code_71(small_disk, capfd):
    room = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"0" * room.f_bavail * room.f_frsize)
    assert main(["train", "experiment=digits", "tracking=none", f"storage={small_disk}/storage"]) == 71
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(
        f"moda train: {small_disk}/storage/tables/sweeps: the table sweeps cannot be written (No space"
    )
    assert "make room" in line


def test_a_disk_that_is_read_only(small_disk, capfd):
    root = str(small_disk / "storage")
    DeltaStore(root).append("trials", [row(0)])
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    line = fault_of(lambda: DeltaStore(root).append("trials", [row(1)]))
    assert "the table trials cannot be written (" in line
    assert line.endswith("give this user the right to write there, or name another storage=")
    assert DeltaStore(root).read("trials", "s").num_rows == 1
    capfd.readouterr()
    assert main(["train", "experiment=digits", "tracking=none", f"storage={root}"]) == 2
    errors = capfd.readouterr().err
    assert errors.startswith(f"moda train: storage='{root}' cannot be written to: "), errors
    assert errors.count("\n") == 1, errors


@pytest.mark.parametrize("what", ["", "tables", "tables/trials"])
def test_what_was_deleted_is_not_made_anew(root, what):
    """A part of a storage would be in the way of what is brought back, and would look like all of it."""
    store, files = DeltaStore(str(root)), Files(str(root))
    store.append("trials", [row(8)])
    shutil.rmtree(root / what)
    for action in (
        lambda: store.append("trials", [row(9)]),
        lambda: store.append("epochs", [{"sweep_id": "s", "trial_id": "s-0000", "epoch": 1, "loss": 0.5}]),
        lambda: store.read("trials", "s"),
        lambda: store.version("trials"),
    ):
        assert "deleted or replaced while it was in use; bring it back, or run the same command again" in fault_of(
            action
        )
    if not what:
        assert "the folder was deleted while it was in use" in fault_of(lambda: files.write("trials/a", b""))
        assert "the folder was deleted while it was in use" in fault_of(
            lambda: files.write_folder("modules/a", {"b": b""}, last="b")
        )
    assert not (root / what).exists()
    DeltaStore(str(root)).append("trials", [row(9)])  # as the same command does
