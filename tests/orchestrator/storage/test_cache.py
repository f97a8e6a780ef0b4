"""What was downloaded is kept by its hash, up to a limit."""

import hashlib
import os
import sys
import threading

import pytest

from orchestrator.errors import ConfigError
from orchestrator.storage.cache import GRACE, OWN, Cache, make_cache


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_what_was_put_is_there(tmp_path):
    cache = Cache(tmp_path / "cache", 100)
    assert cache.get(sha256(b"one")) is None
    cache.put(b"one")
    assert cache.get(sha256(b"one")) == b"one"
    assert cache.get(sha256(b"other")) is None


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache, items = Cache(tmp_path, 30), [bytes([index]) * 10 for index in range(4)]
    for age, data in enumerate(items[:3]):
        cache.put(data)
        os.utime(tmp_path / OWN / sha256(data), (1000 + age, 1000 + age))
    cache.get(sha256(items[0]))  # used now
    cache.put(items[3])
    assert [cache.get(sha256(data)) is not None for data in items] == [True, False, True, True]


def test_what_is_larger_than_the_limit_is_not_kept_and_pushes_nothing_out(tmp_path):
    cache = Cache(tmp_path, 10)
    cache.put(b"small")
    cache.put(b"x" * 11)
    assert cache.get(sha256(b"small")) == b"small"
    assert len(list((tmp_path / OWN).iterdir())) == 1


def test_what_was_changed_on_the_disk_is_not_given(tmp_path):
    cache = Cache(tmp_path, 100)
    cache.put(b"right")
    (tmp_path / OWN / sha256(b"right")).write_bytes(b"wrong")
    assert cache.get(sha256(b"right")) is None
    assert list((tmp_path / OWN).iterdir()) == []


@pytest.mark.parametrize("where", ["file", "file/cache", "dangling"])
def test_a_cache_that_cannot_be_written_keeps_nothing_and_reports_it_once(tmp_path, caplog, where):
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "loop")
    cache = Cache(tmp_path / where, 100)
    for data in (b"one", b"two"):
        cache.put(data)
        assert cache.get(sha256(data)) is None
    assert len(caplog.messages) == 1
    assert "downloads are not cached" in caplog.text
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_full_disk_leaves_no_part(tmp_path, monkeypatch, caplog):
    cache = Cache(tmp_path, 100)
    cache.put(b"one")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", fail)
        cache.put(b"two")
    assert "No space left on device" in caplog.text
    assert [file.name for file in (tmp_path / OWN).iterdir()] == [sha256(b"one")]


def test_files_that_it_did_not_write_stay(tmp_path):
    """Whatever they are called: a hash as other caches do, a hidden part, a link, a folder."""
    folder, elsewhere = tmp_path / "linked", tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    own = elsewhere / OWN
    own.mkdir()
    (tmp_path / "thesis.tar").write_bytes(b"x" * 99)
    foreign = [elsewhere / "thesis.tar", elsewhere / sha256(b"blob"), elsewhere / ".part-x", own / "README"]
    for file in foreign:
        file.write_bytes(b"x" * 99)
        os.utime(file, (1, 1))
    (own / sha256(b"link")).symlink_to(tmp_path / "thesis.tar")
    (own / sha256(b"folder")).mkdir()
    cache = Cache(folder, 10)
    for data in (b"123456", b"7890ab"):
        cache.put(data)
    assert [cache.get(sha256(data)) for data in (b"123456", b"7890ab")] == [None, b"7890ab"]
    assert all(file.read_bytes() == b"x" * 99 for file in foreign)
    assert (own / sha256(b"link")).is_symlink()
    assert (own / sha256(b"folder")).is_dir()


def test_parts_of_killed_writers_go_when_their_time_is_over(tmp_path):
    own = tmp_path / OWN
    own.mkdir()
    for name, age in {".part-dead": GRACE + 1, ".part-alive": GRACE - 1}.items():
        (own / name).write_bytes(b"half")
        os.utime(own / name, (1e6 - age, 1e6 - age))
    Cache(tmp_path, 100, clock=lambda: 1e6).put(b"one")
    assert {file.name for file in own.iterdir()} == {".part-alive", sha256(b"one")}


def test_several_at_once_stay_within_the_limit(tmp_path):
    def work(number):
        cache = Cache(tmp_path, 1000)
        for index in range(30):
            data = bytes([number, index]) * 50
            cache.put(data)
            assert cache.get(sha256(data)) in (data, None)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Cache(tmp_path, 1000).put(b"last")
    files = list((tmp_path / OWN).iterdir())
    assert 0 < sum(file.stat().st_size for file in files) <= 1000
    assert all(len(file.name) == 64 for file in files)


@pytest.mark.parametrize(
    ("environment", "folder", "limit"),
    [
        ({"XDG_CACHE_HOME": "/xdg", "MODA_CACHE_DIR": "/fast/cache", "MODA_CACHE_GIB": "0.5"}, "/fast/cache", 2**29),
        ({"MODA_CACHE_DIR": "~/fast"}, "/home/me/fast", 5 * 2**30),
        ({"XDG_CACHE_HOME": "/xdg", "MODA_CACHE_DIR": ""}, "/xdg/moda", 5 * 2**30),
        pytest.param(
            {},
            "/home/me/.cache/moda",
            5 * 2**30,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="other systems keep caches elsewhere"),
        ),
    ],
)
def test_the_environment_says_where_and_how_much(monkeypatch, environment, folder, limit):
    for name in ("XDG_CACHE_HOME", "MODA_CACHE_DIR", "MODA_CACHE_GIB"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    cache = make_cache()
    assert (str(cache.folder), cache.limit) == (folder, limit)


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf", ""])
def test_a_limit_that_is_no_size_is_refused(monkeypatch, text):
    monkeypatch.setenv("MODA_CACHE_GIB", text)
    with pytest.raises(ConfigError, match=f"MODA_CACHE_GIB={text}: must be a number of GiB"):
        make_cache()


def test_the_home_of_somebody_unknown_is_refused(monkeypatch):
    monkeypatch.setenv("MODA_CACHE_DIR", "~nobody-here/x")
    with pytest.raises(ConfigError, match="MODA_CACHE_DIR=~nobody-here/x: that home folder does not exist"):
        make_cache()
