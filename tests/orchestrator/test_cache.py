"""What was downloaded is kept by its hash, up to a limit."""

import hashlib
import os
import threading

import pytest

from orchestrator.cache import Cache, make_cache
from orchestrator.errors import ConfigError


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
        os.utime(tmp_path / sha256(data), (1000 + age, 1000 + age))
    cache.get(sha256(items[0]))  # used now
    cache.put(items[3])
    assert [cache.get(sha256(data)) is not None for data in items] == [True, False, True, True]


def test_what_is_larger_than_the_limit_is_not_kept_and_pushes_nothing_out(tmp_path):
    cache = Cache(tmp_path, 10)
    cache.put(b"small")
    cache.put(b"x" * 11)
    assert cache.get(sha256(b"small")) == b"small"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_was_changed_on_the_disk_is_not_given(tmp_path):
    cache = Cache(tmp_path, 100)
    cache.put(b"right")
    (tmp_path / sha256(b"right")).write_bytes(b"wrong")
    assert cache.get(sha256(b"right")) is None
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_keeps_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    cache = Cache(tmp_path / "file" / "cache", 100)
    cache.put(b"one")
    assert cache.get(sha256(b"one")) is None


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
    assert 0 < sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1000
    assert all(len(file.name) == 64 for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("environment", "folder", "limit"),
    [
        ({"HOME": "/home/me", "MODA_CACHE_DIR": "/fast/cache", "MODA_CACHE_GIB": "0.5"}, "/fast/cache", 2**29),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/moda", 5 * 2**30),
    ],
)
def test_the_environment_says_where_and_how_much(environment, folder, limit):
    cache = make_cache(environment)
    assert (str(cache.folder), cache.limit) == (folder, limit)


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf", ""])
def test_a_limit_that_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match=f"MODA_CACHE_GIB={text}: must be a number of GiB"):
        make_cache({"MODA_CACHE_GIB": text})
