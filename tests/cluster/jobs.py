"""``ray job submit``, as a person types it in a checkout."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.integration.ray_head import BIN, RayHead
from tests.integration.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]


def submit(cluster: RayHead, *job: str | Path) -> subprocess.CompletedProcess[str]:
    """Submit a job with ``--working-dir .``, again while the cluster's agent is not there yet, and wait for its end."""
    command = [BIN / "ray", "job", "submit", "--address", cluster.dashboard, "--working-dir", ".", "--", *job]
    environment = {name: value for name, value in cluster.environment.items() if name != "RAY_ADDRESS"}
    submitted = []

    def is_taken() -> bool:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environment, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        submitted[:] = [done]
        return "No available agent" not in done.stderr

    wait_until(is_taken, "the cluster to take the job")
    return submitted[0]


def checkout(folder: Path) -> Path:
    """A new checkout: the files that git knows, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():  # removed, and not committed yet
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder
