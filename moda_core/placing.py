"""Putting files and folders where they belong, whole or not at all, whoever else writes there at the same time.

Everything is written beside its place under a hidden name that nobody else has, and renamed at the end. A process that
is killed leaves that one, ``.moda-*.part``, and nothing else.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which is renamed to ``folder`` at the end of the block.

    Args:
        folder: nothing is there, or an empty folder. Its parents are made.

    Raises:
        FileExistsError: something is there by then; it stays as it is.
        OSError: it cannot be made.
    """
    target = Path(os.path.realpath(folder))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent)) from error
    with tempfile.TemporaryDirectory(prefix=".moda-", suffix=".part", dir=target.parent) as scratch:
        part = Path(scratch) / "whole"
        part.mkdir()
        yield part
        try:
            os.rename(part, target)  # of several at once one finds the place free
        except OSError as error:
            if error.errno in TAKEN:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder)) from error
            raise


def place_new_file(part: Path, file: Path) -> None:
    """Put a finished file of the same file system where none is.

    Raises:
        FileExistsError: a file is there; it stays as it is.
        OSError: it cannot be put there.
    """
    try:
        os.link(part, file)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, or what the next line says
        file.open("xb").close()
        part.replace(file)


def write_whole(file: Path, data: bytes) -> None:
    """Write a file; readers see the old one or the new one, and of several writers one."""
    part = file.with_name(f".moda-{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(file, part)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
