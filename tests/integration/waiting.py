"""How tests wait: for what happens, however long that takes on a busy machine.

A time-out here ends what hangs, so it is much longer than anything takes. None is a measure of speed.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

PATIENCE = 900.0  # seconds

# Ray and W&B's client give their own processes seconds to start and to answer; on a busy machine they need more.
RAY_PATIENCE = {
    "RAY_agent_register_timeout_ms": str(int(PATIENCE * 1000)),
    "RAY_gcs_server_port_wait_time_s": str(int(PATIENCE)),
    "RAY_health_check_timeout_ms": str(int(PATIENCE * 1000)),
    "RAY_worker_register_timeout_seconds": str(int(PATIENCE)),
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": str(int(PATIENCE)),
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(int(PATIENCE)),
}
WANDB_PATIENCE = dict.fromkeys(
    ("WANDB_INIT_TIMEOUT", "WANDB_FINISH_TIMEOUT", "WANDB__SERVICE_WAIT"), str(int(PATIENCE))
)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for ``condition``; a test that waits in vain fails with ``what`` it waited for."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not asked for its exit code does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, directly or not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found = []
    new = [pid]
    while new:
        new = [child for parent in new for child in children.get(parent, [])]
        found += new
    return found


def command_line(pid: int) -> str:
    """What a process was started with; nothing for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_for_the_end_of(pids: Iterable[int]) -> None:
    """Wait until none of these processes runs any more."""
    for pid in pids:
        wait_until(lambda pid=pid: not is_alive(pid), f"process {pid} to end")


def kill(process: subprocess.Popen[str]) -> None:
    """``kill -9`` of a process that is running, and of it alone; what it started is gone on return."""
    started = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL, "it was over already"
    wait_for_the_end_of(started)


def kill_processes_of(folder: str) -> None:
    """``kill -9`` of every process whose command line names a folder, which must be one of ours."""
    for entry in Path("/proc").glob("[0-9]*"):
        if folder in command_line(int(entry.name)):
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.kill(int(entry.name), signal.SIGKILL)
