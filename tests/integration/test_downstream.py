"""The example project: two modules, pulled, composed and served, in an environment of its own."""

import json
import shutil
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from moda_core import load_modules
from tests.integration.sweeps import ROOT, call_moda
from tests.integration.waiting import PATIENCE

LOADED = "import digit_server, sys; print(*sorted({'orchestrator', 'ray', 'wandb', 'torchvision'} & set(sys.modules)))"


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=["linked", pytest.param("installed", marks=pytest.mark.slow)])
def environment(request, tmp_path_factory):
    """A virtual environment with ``moda-core``, as it is packed, and the example.

    What they need is installed like anywhere, or, which takes seconds, linked from the environment of the tests.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    wheels = folder / "wheels"
    for part in ("moda_core", "packages", "docs/examples/serve"):  # building writes beside the sources
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.egg-info", "build"))
    for project in ("packages/moda-core", "docs/examples/serve"):
        pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, folder / project)
    if request.param == "linked":
        site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        (site / "tests.pth").write_text(sysconfig.get_path("purelib"))
    more = ["--no-deps", "--no-compile"] if request.param == "linked" else ["-c", ROOT / "constraints.txt"]
    pip("--python", folder / "bin" / "python", "install", "--ignore-installed", *more, *wheels.glob("*.whl"))
    return folder


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=PATIENCE) as answer:
        return json.load(answer)


def test_two_modules_are_pulled_composed_and_served(environment, swept, tmp_path):
    done = call_moda(
        "pull", "sweep:tiny/best", "--classes", "3", "8", "--to", str(tmp_path / "modules"), storage=swept[0]
    )
    assert done.returncode == 0, done.stderr
    loaded = subprocess.run(
        [environment / "bin" / "python", "-c", LOADED], capture_output=True, text=True, cwd=tmp_path
    )
    assert (loaded.returncode, loaded.stdout.strip()) == (0, ""), loaded.stderr
    command = [environment / "bin" / "digit-server", "modules", "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            url = server.stdout.readline().strip()
            about = ask(url)
            assert (about["classes"], about["shape"]) == (["3", "8"], [1, 8, 8])
            assert about["parameters"] < about["of"]
            images = np.rint(load_digits().images[:50].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
            found = ask(url, {"images": images.tolist()})["classes"]
            assert found == load_modules(tmp_path / "modules").classify(torch.from_numpy(images))
            for wrong in ({"images": [[[[300]]]]}, {"images": images[0].tolist()}, {}, []):
                with pytest.raises(urllib.error.HTTPError, match="400"):
                    ask(url, wrong)
        finally:
            server.terminate()
