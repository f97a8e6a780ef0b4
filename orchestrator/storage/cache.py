"""What was downloaded, by its sha256: a file that is asked for again is there already.

The files are in ``moda-downloads`` in ``MODA_CACHE_DIR``, else in the folder ``moda`` where the operating system keeps
caches: on Linux ``XDG_CACHE_HOME`` or ``~/.cache``, on macOS ``~/Library/Caches``.
Nothing else there is touched. They take at most ``MODA_CACHE_GIB`` (default 5); what was used longest ago goes first,
and with 0 nothing is kept. Several processes may share the folder.
"""

import contextlib
import hashlib
import logging
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from orchestrator.errors import ConfigError

LOG = logging.getLogger("moda")
DEFAULT_GIB = "5"
OWN = "moda-downloads"  # a folder that nobody else makes: names by hash are those of many caches
KEPT = re.compile(r"[0-9a-f]{64}")
PART = re.compile(r"\.part-\w+")
GRACE = 3600.0  # seconds; a write that began longer ago will not end any more


class Cache:
    """A cache of bytes by their sha256, as files of a folder.

    Args:
        folder: holds the cache's own folder, which is made when something is kept.
        limit: bytes of all files together.
        clock: the time, in seconds as files have it.
    """

    def __init__(self, folder: Path, limit: int, *, clock: Callable[[], float] = time.time) -> None:
        self.folder, self.limit = folder, limit
        self._own = folder / OWN
        self._clock = clock
        self._is_reported = False

    def get(self, sha256: str) -> bytes | None:
        """Return the bytes with that hash; None if they are not cached."""
        file = self._own / sha256
        try:
            data = file.read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:  # the disk's error
                file.unlink()
                return None
            os.utime(file)
        except OSError:  # not there, removed by another process, or a cache that cannot be used
            return None
        return data

    def put(self, data: bytes) -> None:
        """Cache bytes, and evict others if the cache is too large. A cache that cannot be written stays empty."""
        if len(data) > self.limit:
            return
        try:
            self._own.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._own, prefix=".part-", delete=False) as stream:
                part = Path(stream.name)
                try:
                    stream.write(data)
                    stream.flush()
                    part.replace(self._own / hashlib.sha256(data).hexdigest())
                except BaseException:
                    part.unlink(missing_ok=True)
                    raise
            self._shrink()
        except OSError as error:
            if not self._is_reported:
                LOG.warning("%s cannot be written (%s); downloads are not cached", self._own, error.strerror)
            self._is_reported = True

    def _shrink(self) -> None:
        kept = []
        for file, status in self._files():
            if KEPT.fullmatch(file.name):
                kept.append((status.st_mtime_ns, status.st_size, file))
            elif PART.fullmatch(file.name) and self._clock() - status.st_mtime > GRACE:
                _remove(file)
        total = sum(size for _, size, _ in kept)
        for _, size, file in sorted(kept):
            if total <= self.limit:
                return
            _remove(file)
            total -= size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for file in self._own.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                status = file.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield file, status


def make_cache() -> Cache:
    """Make the cache that the environment variables describe.

    Raises:
        ConfigError: a size that is not a number, or the home of somebody unknown.
    """
    text = os.environ.get("MODA_CACHE_GIB", DEFAULT_GIB)
    try:
        limit = int(float(text) * 2**30)
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise ConfigError(f"MODA_CACHE_GIB={text}: must be a number of GiB, 0 to keep nothing")
    return Cache(cache_folder(), limit)


def cache_folder() -> Path:
    """Return the folder for everything that can be made or fetched again.

    Raises:
        ConfigError: the home of somebody unknown.
    """
    folder = os.environ.get("MODA_CACHE_DIR") or platformdirs.user_cache_dir("moda", appauthor=False)
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"MODA_CACHE_DIR={folder}: that home folder does not exist; give another folder") from error


def _remove(file: Path) -> None:
    """Remove a file; one that is gone already, or somebody else's, is fine."""
    with contextlib.suppress(OSError):
        file.unlink()
