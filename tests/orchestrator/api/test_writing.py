"""What is written where `to` says."""

import os
import threading

import pytest

from orchestrator.api.writing import write_output
from orchestrator.errors import ConfigError


def test_of_several_writers_of_a_file_one_is_there_whole(tmp_path, monkeypatch):
    """All are about to finish at the same time."""
    barrier, sync = threading.Barrier(4), os.fsync

    def meet(handle):
        sync(handle)
        barrier.wait()

    monkeypatch.setattr("os.fsync", meet)
    texts = [letter * 100_000 for letter in (b"a", b"b", b"c", b"d")]
    threads = [threading.Thread(target=write_output, args=(str(tmp_path / "report.html"), text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "report.html").read_bytes() in texts
    assert os.listdir(tmp_path) == ["report.html"]


def test_links_stay_and_lead_to_what_waswrite_output(tmp_path):
    (tmp_path / "link").symlink_to("file")
    for data in (b"new", b"newer"):
        assert write_output(str(tmp_path / "link"), data) == tmp_path / "link"
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_bytes() == data


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_output(str(tmp_path / "pipe"), b"rows")
    reader.join()
    assert read == [b"rows"]


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("folder", "Is a directory"),
        ("nowhere/file", "No such file or directory"),
        ("file/file", "Not a directory"),
        ("loop", "loop"),
        ("~nobody-here/file", "home"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line_and_leaves_nothing(tmp_path, monkeypatch, to, why):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match=why) as caught:
        write_output(to, b"rows")
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "loop"]
