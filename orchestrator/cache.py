"""What was downloaded, by its sha256: a file that is asked for again is there already.

The folder is ``MODA_CACHE_DIR``, else ``moda`` in ``XDG_CACHE_HOME`` or ``~/.cache``. It holds at most
``MODA_CACHE_GIB`` (default 5); what was used longest ago goes first, and with 0 nothing is kept. Several processes may
share it.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import ConfigError

DEFAULT_GIB = "5"


class Cache:
    """Bytes by their sha256, in files of a folder.

    Args:
        folder: made when something is kept.
        limit: bytes of all files together.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit

    def get(self, sha256: str) -> bytes | None:
        """The bytes of that hash, None where they are not kept."""
        file = self.folder / sha256
        try:
            data = file.read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:  # a disk's error, or somebody else's file
                file.unlink()
                return None
            os.utime(file)
        except OSError:  # not there, removed by another process, or a cache that cannot be used
            return None
        return data

    def put(self, data: bytes) -> None:
        """Keep bytes, and let go of others where that is too much. A cache that cannot be written keeps nothing."""
        if len(data) > self.limit:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".part-", delete=False) as stream:
                stream.write(data)
            os.replace(stream.name, self.folder / hashlib.sha256(data).hexdigest())
            self._shrink()

    def _shrink(self) -> None:
        found = []
        for file in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                status = file.stat()
                found.append((status.st_mtime_ns, status.st_size, file))
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= self.limit:
                return
            file.unlink(missing_ok=True)
            total -= size


def make_cache(environment: Mapping[str, str] = os.environ) -> Cache:
    """The cache that the environment asks for.

    Raises:
        ConfigError: a size that is no number.
    """
    text = environment.get("MODA_CACHE_GIB", DEFAULT_GIB)
    try:
        limit = int(float(text) * 2**30)
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise ConfigError(f"MODA_CACHE_GIB={text}: must be a number of GiB, 0 to keep nothing")
    home = Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Cache(Path(environment.get("MODA_CACHE_DIR") or home / "moda").expanduser(), limit)
