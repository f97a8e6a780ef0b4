"""Checkpoints with the sha256 of what they hold, since PyTorch reads changed bytes without noticing."""

import hashlib
import logging
import pickle
from collections.abc import Callable
from typing import TypeVar

from orchestrator.storage import Files

LOG = logging.getLogger("moda")
HEAD = b"sha256 "
UNREADABLE = (ValueError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError)
State = TypeVar("State")


def seal(data: bytes) -> bytes:
    """Return the data behind a line with its sha256."""
    return HEAD + hashlib.sha256(data).hexdigest().encode() + b"\n" + data


def unseal(sealed: bytes) -> bytes:
    """Return what :func:`seal` was given. Data of an older version has no such line and is returned as it is.

    Raises:
        ValueError: the bytes are not those that were sealed.
    """
    if not sealed.startswith(HEAD):
        return sealed
    digest, _, data = sealed.removeprefix(HEAD).partition(b"\n")
    if hashlib.sha256(data).hexdigest().encode() != digest:
        raise ValueError("its sha256 is not the recorded one")
    return data


def read_checkpoint_file(files: Files, name: str, read: Callable[[bytes], State]) -> State | None:
    """Return what a checkpoint holds; None where there is none, or none that can be read, which is logged.

    Args:
        files: the storage.
        name: of the file in it.
        read: makes the state of the file's bytes.
    """
    if not files.exists(name):
        return None
    try:
        return read(files.read(name))
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0][:150] or type(error).__name__
        LOG.warning("the checkpoint %s/%s cannot be read (%s); it counts as none", files.root, name, reason)
        return None
