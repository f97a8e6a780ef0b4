"""A sweep on a real Ray, run once for all the tests that look at it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Moda = Callable[..., subprocess.CompletedProcess[str]]


def run_moda(*arguments: str, storage: Path | str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``moda`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=ROOT,
        env={**os.environ, "MODA_STORAGE": str(storage), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The storage of a finished sweep named ``tiny`` (4 trials of 1 epoch, W&B offline), and what it printed."""
    storage = tmp_path_factory.mktemp("storage")
    done = run_moda("sweep", *TINY, storage=storage, WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr + done.stdout
    return storage, done


TINY = ("experiment=digits", "sweep.name=tiny", "sweep.trials=4", "training.epochs=1")
