"""Files under one root, a folder or an object store: all that a trial keeps besides rows.

A few methods over ``pyarrow.fs``, so that ``s3://bucket/prefix`` works like ``/data/moda``. A write is whole or absent.
"""

import contextlib
import errno
import logging
import os
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow.fs as pafs

from moda_core.placing import new_folder, write_whole
from orchestrator.errors import ConfigError, StorageFault, StorageGone
from orchestrator.storage.faults import file_fault
from orchestrator.storage.object_store import file_system

LOG = logging.getLogger("moda")
ONE_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")


@dataclass(frozen=True)
class StoredFile:
    """A file as a listing returns it: its name relative to the root, its size, and when it was written."""

    name: str
    bytes: int
    modified: datetime

    @property
    def folder(self) -> str:
        """The folder that contains it, relative to the root."""
        return self.name.rpartition("/")[0]

    @property
    def base(self) -> str:
        """Its name in its folder."""
        return self.name.rpartition("/")[2]


class Files:
    """Files under a root, by relative name.

    Args:
        root: a folder (``~`` is expanded, missing ones are made) or a URI that pyarrow knows.

    Raises:
        ConfigError: as :func:`resolve_root` and :func:`orchestrator.storage.object_store.file_system`.
    """

    def __init__(self, root: str) -> None:
        self.root = resolve_root(root)
        self._system, self._base = file_system(self.root)
        self._was_there = self.local is not None and self.local.is_dir()

    @property
    def local(self) -> Path | None:
        """The root as a path; None for an object store."""
        return None if "://" in self.root else Path(self.root)

    def check_writable(self) -> None:
        """Refuse a root that nothing can be written to."""
        name = f".moda-{uuid.uuid4().hex}.part"
        try:
            self.write(name, b"")
            self.delete(name)
        except StorageFault as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ConfigError(f"storage={self.root!r} cannot be written to: {error.__cause__}") from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file; readers see the old one or the new one."""
        path = self._path(name)
        with file_fault(self.root, name, "written"):
            if self.local is None:
                with self._system.open_output_stream(path) as stream:
                    stream.write(data)
                return
            self._check_still_there()
            file = Path(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, data)
            self._was_there = True

    def write_folder(self, name: str, files: Mapping[str, bytes], *, last: str) -> bool:
        """Write a folder's files, unless it is there.

        In a folder of this machine it is whole or absent. An object store has no such thing: there ``last`` is the file
        that says that the folder is whole, and of writers at once each writes again until one set of files stays.

        Args:
            name: of the folder.
            files: their bytes, by name.
            last: the file that is written after all others.

        Returns:
            Whether these files are there: False where somebody else was faster.
        """
        if self.local is None:
            return self._write_objects(name, files, last)
        self._check_still_there()
        folder = Path(self._path(name))
        while not (folder / last).exists():
            _clear_half(folder, files, last)
            try:
                with new_folder(folder) as part:
                    for file, data in files.items():
                        write_whole(part / file, data)
            except FileExistsError:
                continue
            return True
        return False

    def _write_objects(self, name: str, files: Mapping[str, bytes], last: str) -> bool:
        if self.exists(f"{name}/{last}"):
            return False
        ordered = sorted(files, key=lambda file: file == last)
        while True:
            for file in ordered:
                self.write(f"{name}/{file}", files[file])
            if self.read(f"{name}/{last}") != files[last]:
                return False  # another writer's, who looks whether the others are theirs, too
            if all(self.read(f"{name}/{file}") == data for file, data in files.items()):
                return True

    def read(self, name: str) -> bytes:
        """Return a file's bytes; ``FileNotFoundError`` if it does not exist."""
        with file_fault(self.root, name, "read"), self._system.open_input_stream(self._path(name)) as stream:
            data: bytes = stream.read()
        return data

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """Return a file's size; None if it does not exist."""
        found = self._system.get_file_info(self._path(name))
        return int(found.size) if found.type == pafs.FileType.File else None

    def modified(self, name: str) -> datetime | None:
        """Return when a file was written, by the storage's clock; None if it does not exist."""
        with file_fault(self.root, name, "read"):
            found = self._system.get_file_info(self._path(name))
        return found.mtime if found.type == pafs.FileType.File else None

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""
        with contextlib.suppress(FileNotFoundError):  # also one that somebody else deletes at the same time
            if self.exists(name):
                self._system.delete_file(self._path(name))

    def under(self, folder: str) -> list[StoredFile]:
        """Return all files under a folder, sorted by name; none if the folder does not exist."""
        selector = pafs.FileSelector(self._path(folder), allow_not_found=True, recursive=True)
        files = [info for info in self._system.get_file_info(selector) if info.type == pafs.FileType.File]
        found = [StoredFile(file.path.removeprefix(f"{self._base}/"), file.size, file.mtime) for file in files]
        return sorted(found, key=lambda info: info.name)

    def drop_folder(self, folder: str) -> None:
        """Remove a folder that no file is in; one with files stays, and an object store has no folders."""
        if self.local is not None:
            for path, _, _ in os.walk(self._path(folder), topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)

    def _check_still_there(self) -> None:
        """Refuse a folder that was deleted: made anew, it would hold a part of what was written."""
        if self._was_there and not Path(self.root).is_dir():
            raise StorageGone(
                f"storage={self.root!r}: the folder was deleted while it was in use; bring it back, or run the same"
                " command again to begin anew"
            )

    def _path(self, name: str) -> str:
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name!r} leaves the storage")
        return f"{self._base}/{name}"


def _clear_half(folder: Path, names: Collection[str], last: str) -> None:
    """Remove what an interrupted write, or an interrupted removal, left of a folder. What else is in it is kept."""
    aside = folder.with_name(f"{folder.name}.old-{uuid.uuid4().hex}")
    try:
        os.rename(folder, aside)
        if (aside / last).exists():  # written just now
            os.rename(aside, folder)
            return
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY):
            raise  # else there is no such folder, or there is another by now
    if aside.is_dir():
        for file in aside.iterdir():
            if file.name in names or file.suffix == ".part":
                file.unlink()
        if any(aside.iterdir()):
            LOG.warning("files of %s that do not belong to the set were moved to %s", folder, aside)
        else:
            aside.rmdir()


def check_path(to: str) -> None:
    """Refuse a URI where a path is needed; it would become a folder such as ``s3:`` in the working folder.

    Raises:
        ConfigError: what ``--to`` names is a URI.
    """
    if "://" in to:
        raise ConfigError(f"--to {to} is a URI; name a path on this machine, and copy it from there")


def usable_root(storage: str) -> str:
    """Resolve the root and check that it can be written to.

    Raises:
        ConfigError: as :func:`resolve_root`, and a root that cannot be written to.
    """
    files = Files(storage)
    files.check_writable()
    return files.root


def _refuse_secret(storage: str) -> None:
    """A URI is recorded and shown everywhere; the keys of an object store belong into the environment."""
    scheme, _, rest = storage.partition("://")
    before, at, after = rest.rpartition("@")
    if at and ":" in before.partition("/")[0]:
        raise ConfigError(
            f"storage={scheme}://...@{after} holds a key, which would be recorded; write {scheme}://{after} and set the"
            " key in the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


def resolve_root(storage: str) -> str:
    """Return the absolute folder or the URI of ``storage``.

    Raises:
        ConfigError: a relative folder inside a submitted job, whose working folder is a copy that is thrown away; a
            URI without a bucket, with one slash or with a secret; or a name with characters that the tables' own URIs
            give a meaning to.
    """
    _refuse_secret(storage)
    if wrong := sorted(set("%?#") & set(storage)):
        raise ConfigError(f"storage={storage!r} holds {' '.join(wrong)}; choose a name without")
    if not storage.isprintable():
        raise ConfigError(f"storage={storage!r} holds characters that cannot be shown; choose a name without")
    storage = storage.removeprefix("file://")
    if "://" in storage:
        if not storage.partition("://")[2].strip("/"):
            raise ConfigError(f"storage={storage!r} names no bucket; name one, {storage.rstrip('/')}//bucket/folder")
        return storage.rstrip("/")
    if match := ONE_SLASH.match(storage):  # which would be a folder of that name in the working folder
        whole = f"{match[1]}://{'/' if match[1] == 'file' else ''}{storage[match.end() :]}"
        raise ConfigError(f"storage={storage!r} has one slash where a URI has two; write {whole}")
    try:
        path = Path(storage).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"storage={storage!r}: that home folder does not exist; give another folder") from error
    if not path.is_absolute() and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        raise ConfigError(
            f"storage={storage!r} is relative to a job's temporary folder; give an absolute path or a URI"
        )
    return str(path.absolute())
