"""A Ray of this machine's own, for as long as a command runs: started again where a busy machine was too slow."""

import contextlib
import errno
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator

import psutil
import ray

from orchestrator.errors import ServiceError, reason_of
from orchestrator.runs.interrupts import ray_may_not_take_sigterm

LOG = logging.getLogger("moda")
ATTEMPTS = 5  # of a start, which Ray gives 30 seconds
PATIENCE = {  # more than Ray's own seconds for its processes to start and to find each other
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_gcs_server_port_wait_time_s": "300",
    "RAY_worker_register_timeout_seconds": "300",
}
LONGEST_SOCKET = 103  # bytes that the path of a Unix socket may have, on macOS; Linux has four more
SOCKET = "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"  # as Ray calls the longest of its own
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


@contextlib.contextmanager
def local_ray() -> Iterator[None]:
    """Start a Ray of this machine's own, and end it with the context.

    Raises:
        ServiceError: it does not start.
    """
    for name, seconds in PATIENCE.items():
        os.environ.setdefault(name, seconds)
    with _folder() as folder:
        try:
            _start(folder)
            yield
        finally:
            ray.shutdown()


def _start(folder: str | None) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with ray_may_not_take_sigterm():
                ray.init(
                    address="local",
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=folder,
                )
            return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ServiceError(
                f"a local Ray cannot start in {folder or _own_folder()!r}: {_reason(error)}; set RAY_TMPDIR to a folder"
                " that can be written to"
            ) from error
        except Exception as error:  # Ray raises bare ones here
            ray.shutdown()
            _end_half_started()
            if attempt == ATTEMPTS:
                raise ServiceError(
                    f"a local Ray did not start ({_reason(error)}); end other programs of this machine, look into"
                    f" {folder or _own_folder()}/ray/session_latest/logs, or name a cluster that runs: RAY_ADDRESS"
                ) from error
            LOG.warning("a local Ray did not start (%s); trying again, %d of %d", _reason(error), attempt + 1, ATTEMPTS)


def _reason(error: Exception) -> str:
    return re.split(r"\.\s", reason_of(error))[0].rstrip(".")


def _end_half_started() -> None:
    """End what a start that failed has left: processes of ours that name the session of this process."""
    own = re.compile(rf"session_[0-9_-]+_{os.getpid()}\b")
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if own.search(" ".join(child.cmdline())):
                child.kill()


@contextlib.contextmanager
def _folder() -> Iterator[str | None]:
    """A folder for Ray's sockets where the one that it would take has too long a path, as schedulers set ``TMPDIR``.

    It is removed with the context. None: Ray takes its own.
    """
    own = _own_folder()
    if len(os.fsencode(f"{own}/{SOCKET}")) <= LONGEST_SOCKET:
        yield None
        return
    short = next((folder for folder in SHORT_FOLDERS if os.access(folder, os.W_OK | os.X_OK)), None)
    if short is None:
        raise ServiceError(
            f"Ray's sockets would lie below {own!r}, whose path is too long for them, and none of"
            f" {', '.join(SHORT_FOLDERS)} can be written to; set RAY_TMPDIR to a folder with a short path"
        )
    folder = tempfile.mkdtemp(prefix="moda-ray-", dir=short)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _own_folder() -> str:
    """Where Ray makes its folder."""
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
