"""Files under a root."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.errors import ConfigError
from orchestrator.storage import Files


def test_files_are_written_read_and_deleted(tmp_path):
    for root in (str(tmp_path / "plain"), f"file://{tmp_path}/uri"):
        files = Files(root)
        assert not files.exists("a/b.bin")
        files.write("a/b.bin", b"one")
        files.write("a/b.bin", b"two")
        assert files.read("a/b.bin") == b"two"
        files.delete("a/b.bin")
        files.delete("a/b.bin")
        assert not files.exists("a/b.bin")
        with pytest.raises(FileNotFoundError):
            files.read("a/b.bin")


def test_files_are_listed_with_size_and_time(tmp_path):
    files, before = Files(str(tmp_path)), datetime.now(UTC) - timedelta(seconds=1)
    assert files.under("a") == []
    for name, data in {"a/y/2.bin": b"22", "a/1.bin": b"1", "ab/3.bin": b"333", "a/y/z/0.bin": b""}.items():
        files.write(name, data)
    found = files.under("a")
    assert [(one.name, one.folder, one.base, one.bytes) for one in found] == [
        ("a/1.bin", "a", "1.bin", 1),
        ("a/y/2.bin", "a/y", "2.bin", 2),
        ("a/y/z/0.bin", "a/y/z", "0.bin", 0),
    ]
    assert all(before < one.modified < datetime.now(UTC) + timedelta(seconds=1) for one in found)


def test_a_folder_is_dropped_when_nothing_is_in_it(tmp_path):
    files = Files(str(tmp_path))
    files.write("a/b.bin", b"1")
    files.drop_folder("a")
    assert files.exists("a/b.bin")
    files.delete("a/b.bin")
    for _ in range(2):
        files.drop_folder("a")
        assert not (tmp_path / "a").exists()


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    files = Files(str(tmp_path))
    files.write("a", b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write("a", b"new")
    assert files.read("a") == b"old"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd"])
def test_names_cannot_leave_the_root(tmp_path, name):
    with pytest.raises(ValueError, match="leaves the storage"):
        Files(str(tmp_path)).read(name)


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ConfigError, match="storage='nowhere://x' cannot be used"):
        Files("nowhere://x")
