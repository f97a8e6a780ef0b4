"""Files under a root."""

import pytest

from orchestrator.sections import ConfigError
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
