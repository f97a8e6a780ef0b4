"""Which machine and which process this is, so that another process can tell later whether this one still runs."""

import os
import socket
from pathlib import Path

import psutil

PROC = Path("/proc")
STATE, STARTED = 0, 19  # places in /proc/PID/stat, counted after the name of the program


def machine_id() -> str:
    """Return what distinguishes this machine since it was booted, and the processes that can be seen here.

    Two containers of one machine, even with one name, see different processes and have different ids.
    """
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
    except OSError:  # not Linux
        return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def process_id(pid: int) -> str | None:
    """Return what distinguishes a process from all others of this machine since it was booted.

    Returns:
        Its number and when it started, in the system's own count; None where no such process runs any more.
    """
    try:
        fields = (PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        if (PROC / "self/stat").exists():
            return None
    else:
        return None if fields[STATE] in "ZX" else f"{pid} {fields[STARTED]}"
    try:
        return f"{pid} {psutil.Process(pid).create_time()}"
    except psutil.NoSuchProcess:
        return None
