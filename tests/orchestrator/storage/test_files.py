"""Files under a root."""

import itertools
import os
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.errors import ConfigError
from orchestrator.storage.files import Files, resolve_root


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


def test_two_writers_of_one_process_number_do_not_share_a_part(tmp_path, monkeypatch):
    """As on two hosts with a shared folder: while one writer is about to finish, another writes the same file."""
    files, sync = Files(str(tmp_path)), os.fsync

    def write_another(handle):
        monkeypatch.setattr("os.fsync", sync)
        files.write("a", b"other")
        sync(handle)

    monkeypatch.setattr("os.fsync", write_another)
    monkeypatch.setattr("os.getpid", lambda: 77)
    files.write("a", b"mine")
    assert files.read("a") == b"mine"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


FILES = {"last": b"2", "first": b"1"}


def test_a_folder_is_written_once(tmp_path):
    files = Files(str(tmp_path))
    assert files.write_folder("sets/a", FILES, last="last")
    assert not files.write_folder("sets/a", {"last": b"other"}, last="last")
    assert {file.base: files.read(file.name) for file in files.under("")} == FILES


def test_of_folders_at_once_one_is_there(tmp_path, monkeypatch):
    """Another writer is faster, between the first file of this one and its last."""
    files, sync = Files(str(tmp_path)), os.fsync

    def write_another(handle):
        monkeypatch.setattr("os.fsync", sync)
        assert files.write_folder("a", {"last": b"other's", "third": b"other's"}, last="last")

    monkeypatch.setattr("os.fsync", write_another)
    assert not files.write_folder("a", FILES, last="last")
    assert {file.name: files.read(file.name) for file in files.under("")} == {
        "a/last": b"other's",
        "a/third": b"other's",
    }


def test_what_an_interrupted_write_left_is_replaced(tmp_path):
    files = Files(str(tmp_path))
    files.write("a/first", b"half")
    files.write("a/first.77.part", b"half")
    assert files.write_folder("a", FILES, last="last")
    assert {file.base: files.read(file.name) for file in files.under("")} == FILES


def test_files_of_somebody_else_are_moved_and_not_lost(tmp_path, caplog):
    files = Files(str(tmp_path))
    for name, data in {"first": b"half", "notes.txt": b"mine", "more/first": b"mine"}.items():
        files.write(f"a/{name}", data)
    assert files.write_folder("a", FILES, last="last")
    found = {file.name.partition("/")[2]: files.read(file.name) for file in files.under("")}
    assert found == {**FILES, "notes.txt": b"mine", "more/first": b"mine"}
    assert [file.name for file in files.under("a")] == ["a/first", "a/last"]
    assert "that do not belong to the set were moved to" in caplog.text


def test_a_set_that_was_written_just_now_is_not_taken_for_a_half(tmp_path, monkeypatch):
    """Another writer is faster, after this one saw a half."""
    files, rename, other = Files(str(tmp_path)), os.rename, {"last": b"4", "first": b"3"}
    files.write("a/first", b"half")

    def write_before(source, target):
        monkeypatch.setattr("os.rename", rename)
        assert files.write_folder("a", other, last="last")
        rename(source, target)

    monkeypatch.setattr("os.rename", write_before)
    assert not files.write_folder("a", FILES, last="last")
    assert {file.name: files.read(file.name) for file in files.under("")} == {"a/last": b"4", "a/first": b"3"}


def test_trying_whether_a_root_can_be_written_to_touches_no_file(tmp_path):
    (tmp_path / ".writable").write_bytes(b"mine")
    Files(str(tmp_path)).check_writable()
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(".writable", b"mine")]


@pytest.mark.parametrize("moment", range(4))
def test_an_object_store_ends_with_one_writers_files(s3, tmp_path, monkeypatch, moment):
    """Another writer writes all of its files before one of this one's writes, or after them."""
    files, write, count = Files(f"{s3}/{tmp_path.name}"), Files.write, itertools.count()
    other = {"last": b"4", "first": b"3"}
    answers = {}

    def interrupted(self, name, data):
        if next(count) == moment:
            monkeypatch.setattr(Files, "write", write)
            monkeypatch.setattr(Files, "exists", lambda *_: False)  # it had looked before
            answers["other"] = files.write_folder("a", other, last="last")
        write(self, name, data)

    monkeypatch.setattr(Files, "write", interrupted)
    answers["this"] = files.write_folder("a", FILES, last="last")
    found = {file.base: files.read(file.name) for file in files.under("")}
    assert found in (FILES, other)
    assert answers["this"] == (found == FILES)


def test_a_file_that_somebody_else_deletes_is_gone(tmp_path, monkeypatch):
    """Between the look whether it is there and its removal."""
    files, exists = Files(str(tmp_path)), Files.exists
    for name in ("a", "b"):
        files.write(name, b"1")

    def found_and_then_deleted(self, name):
        is_there = exists(self, name)
        (tmp_path / name).unlink()
        return is_there

    with monkeypatch.context() as raced:
        raced.setattr(Files, "exists", found_and_then_deleted)
        files.delete("a")
    assert [file.name for file in files.under("")] == ["b"]


@pytest.mark.parametrize(
    ("storage", "whole"),
    [("s3:/bucket/moda", "s3://bucket/moda"), ("gs:/x", "gs://x"), ("file:/data/moda", "file:///data/moda")],
)
def test_a_uri_with_one_slash_is_no_folder_in_the_working_folder(tmp_path, monkeypatch, storage, whole):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        Files(storage).check_writable()
    assert str(refused.value) == f"storage={storage!r} has one slash where a URI has two; write {whole}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["AKIA:planted", "AKIA:plan/ted", "AKIA:plan%2Fted"])
def test_a_key_in_a_uri_is_refused_and_not_repeated(key):
    with pytest.raises(ConfigError) as refused:
        resolve_root(f"s3://{key}@bucket/moda")
    assert "write s3://bucket/moda and set the key in the environment" in str(refused.value)
    assert not [part for part in ("AKIA", "plan") if part in str(refused.value)]
    assert resolve_root("abfs://container@account/moda") == "abfs://container@account/moda"
