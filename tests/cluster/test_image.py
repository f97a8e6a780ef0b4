"""cluster/Dockerfile: its instructions, carried out in a fresh environment. No image was built here."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.jobs import ROOT, checkout
from tests.integration.waiting import PATIENCE

TEXT = (ROOT / "cluster" / "Dockerfile").read_text()
INSTRUCTIONS = [
    tuple(line.split(maxsplit=1)) for line in TEXT.replace("\\\n", " ").splitlines() if re.match(r"[A-Z]+ ", line)
]


def test_what_the_image_starts_from_and_runs_as():
    kinds = [kind for kind, _ in INSTRUCTIONS]
    assert INSTRUCTIONS[0] == ("FROM", "python:3.12-slim-bookworm")
    assert ("USER", "1000") in INSTRUCTIONS[kinds.index("RUN") :]
    assert "RAY_AUTH_MODE=token" in dict(INSTRUCTIONS)["ENV"]
    (system,) = [command for kind, command in INSTRUCTIONS if kind == "RUN" and "apt-get" in command]
    assert {"wget", "procps"} <= set(system.split())  # of KubeRay's probes, and of what ends a job
    for kind, command in INSTRUCTIONS:
        if kind == "RUN":
            subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.slow
def test_its_installation_works_and_runs_what_it_starts(tmp_path):
    """What copies and what installs with pip, in an environment of its own; a sweep then runs without the checkout."""
    context, image = checkout(tmp_path / "context"), tmp_path / "image"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "python"], check=True)
    environment = {**os.environ, "PATH": f"{tmp_path / 'python' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment = {name: value for name, value in environment.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}
    for kind, command in INSTRUCTIONS:
        if kind == "COPY":
            *sources, target = command.split()
            for source in sources:
                copy(context / source, image / target)
        if kind == "RUN" and command.startswith("pip "):
            subprocess.run(["bash", "-e", "-c", command], cwd=image, env=environment, check=True, timeout=4 * PATIENCE)

    work = tmp_path / "home"
    work.mkdir()
    assert re.match(r"\[(\".*\")\]$", INSTRUCTIONS[-1][1])
    for command in (["moda", "--help"], ["moda", "train", "data=digits", "training.epochs=1", "tracking=none"]):
        done = subprocess.run(
            command, cwd=work, env={**environment, "MODA_STORAGE": str(work)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert "orchestrator" not in os.listdir(work)


def copy(source: Path, target: Path) -> None:
    """As COPY does: a file into a folder, or what is in a folder."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
