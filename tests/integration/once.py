"""What is made once for a whole test run, whichever worker of pytest-xdist needs it first."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of the run, which all its workers share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if _is_worker() else own


def pid_of_pytest() -> int:
    """The process that lasts as long as the run."""
    return os.getppid() if _is_worker() else os.getpid()


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, which ``make`` has filled: now, or when another worker asked. What failed is tried again."""
    folder.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (done := folder.with_suffix(".done")).exists():
            make(folder)
            done.touch()
    return folder


def _is_worker() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ
