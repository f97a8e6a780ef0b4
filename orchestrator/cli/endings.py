"""How a failed command ends: one line that says what went wrong, and an exit code that says whose fault it was."""

import errno
import io
import os
import re
import select
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from moda_core.errors import shortened
from orchestrator.errors import MISTAKES, RunError, Terminated

FAILED, MISTAKE, BUG, EXHAUSTED, UNREAD = 1, 2, 70, 71, 141  # 70 and 71 as sysexits.h has them
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
DEBUG = "MODA_DEBUG"
PACKAGES = Path(__file__).parents[2]
NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
NO_MEMORY = re.compile(r"out of memory|can't allocate memory|cannot allocate memory", re.IGNORECASE)
LONGEST_REASON = 250


def end(error: Exception, command: str) -> int:
    """Print on one line of stderr what went wrong, after the traceback if ``MODA_DEBUG=1``.

    Args:
        error: a mistake of the user, a run that failed, memory or a disk that is full, or else a bug of this package.
        command: the name of the command that raised it.

    Returns:
        The exit code.
    """
    if isinstance(error, MISTAKES):
        _say(command, str(error))
        return MISTAKE
    if isinstance(error, RunError):
        _say(command, str(error))
        return EXHAUSTED if _used_up(error) else FAILED
    if os.environ.get(DEBUG) == "1":
        traceback.print_exception(error)
    if used_up := _used_up(error):
        _say(command, f"{used_up}: {shortened(str(error), LONGEST_REASON) or 'no details'}")
        return EXHAUSTED
    reason = f"{type(error).__name__}: {shortened(str(error), LONGEST_REASON)}".removesuffix(": ")
    _say(command, f"a bug of ours, please report it: {reason} ({_place(error)}); {DEBUG}=1 shows the traceback")
    return BUG


def end_interrupted(error: KeyboardInterrupt) -> int:
    """Say that a command was interrupted, and how to go on. Returns the exit code."""
    is_terminated = isinstance(error, Terminated)
    how = "terminated" if is_terminated else "interrupted"
    print(f"\n{how}; run the same command again to resume", file=sys.stderr)
    return TERMINATED if is_terminated else INTERRUPTED


@contextmanager
def terminable() -> Iterator[None]:
    """Within it SIGTERM ends what runs as Ctrl-C does, with :class:`Terminated`: files are closed, and Ray is ended."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def is_unread() -> bool:
    """Whether stdout was closed, as by ``| head``. It is then led to the null device, so that the exit is quiet."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        is_gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except io.UnsupportedOperation:  # stdout is not a real file
        return False
    if is_gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return is_gone


def _say(command: str, text: str) -> None:
    print(shortened(f"moda {command}: {text}"), file=sys.stderr)


def _used_up(error: Exception) -> str | None:
    """Which resource of the machine is exhausted, if that is what went wrong."""
    text = str(error)
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or NO_SPACE.search(text):
        return "the disk is full"
    if isinstance(error, MemoryError) or NO_MEMORY.search(text):
        return "there is not enough memory"
    return None


def _place(error: Exception) -> str:
    """The last line of this package in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGES)]
    ours = [frame for frame in ours if "site-packages" not in Path(frame.filename).relative_to(PACKAGES).parts]
    if not ours:
        return "no file"
    return f"{Path(ours[-1].filename).relative_to(PACKAGES)}:{ours[-1].lineno}"
