"""What the two distributions install: all files of the packages, and no file twice."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.integration.sweeps import ROOT
from tests.integration.waiting import PATIENCE


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The files that each wheel puts beside other packages, by distribution."""
    copy = tmp_path_factory.mktemp("checkout") / "checkout"  # building writes beside the sources
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "wandb", "tests", "*.egg-info", "build", "docs"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", copy / "dist"]
    done = subprocess.run(
        [*command, copy / "packages" / "moda-core", copy], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for wheel in (copy / "dist").iterdir():
        names = zipfile.ZipFile(wheel).namelist()
        found[wheel.name.split("-")[0]] = {name for name in names if ".dist-info/" not in name}
    return found


def sources(*packages, suffixes):
    """The files of packages that are to be installed."""
    paths = [path.relative_to(ROOT) for package in packages for path in ROOT.glob(f"{package}/**/*")]
    return {Path(path).as_posix() for path in paths if path.suffix in suffixes}


def test_moda_core_is_moda_core_alone(wheels):
    assert wheels["moda_core"] == sources("moda_core", suffixes=[".py", ".pyi", ".typed"])


def test_the_orchestrator_is_everything_else(wheels):
    wanted = sources("orchestrator", "sweeps", suffixes=[".arrow", ".py", ".pyi", ".yaml", ".j2", ".css", ".js"])
    assert wheels["moda_orchestrator"] == wanted
    assert "orchestrator/views/templates/report.html.j2" in wanted
    assert "orchestrator/views/templates/report/front.js" in wanted


def test_no_file_is_installed_by_both(wheels):
    assert wheels["moda_core"] & wheels["moda_orchestrator"] == set()
