"""Which versions a sweep records: of this package that of the code that runs, wherever another one is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_version_of_a_checkout_is_its_own(tmp_path):
    """As of a job that a cluster was sent, which has this package's dependencies alone."""
    for name in ("orchestrator", "moda_core"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    project = (ROOT / "pyproject.toml").read_text().replace('version = "0.1.0"', 'version = "9.8.7"')
    (tmp_path / "pyproject.toml").write_text(project)
    done = subprocess.run(
        [sys.executable, "-c", "from orchestrator.results import package_versions; print(package_versions())"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'moda-orchestrator': '9.8.7'" in done.stdout
