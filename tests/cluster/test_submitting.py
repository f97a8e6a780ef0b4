"""``ray job submit`` on a cluster of its own, with real processes: what is sent, and what becomes of it."""

import re
import urllib.error
import urllib.request
import zipfile

import pytest
import yaml
from ray._private.runtime_env.packaging import create_package

from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from tests.cluster.jobs import ROOT, checkout, submit
from tests.integration.ray_head import ray_head
from tests.integration.waiting import PATIENCE, wait_until

SWEEP = ("python", "-m", "orchestrator", "sweep", "experiment=digits", "sweep.name=submitted", "tracking=none")
LEFT_HERE = (
    "data/train/3/image.png", "photos/3/image.jpg", "table.parquet", "moda-results/tables/trials/0.parquet",
    "demo-results/mine.html", "weights.safetensors", ".venv/pyvenv.cfg", "my-venv/bin/python", "wandb/run/files",
    "conda/lib/python3.12/site-packages/torch/__init__.py", ".env", "credentials.env", "key.pem", ".git/HEAD",
)  # fmt: skip
SENT = ("my_package/nets.py", "my_sweeps/wide.yaml")


@pytest.fixture
def full_checkout(tmp_path):
    """A checkout in which somebody has worked."""
    folder = checkout(tmp_path / "checkout")
    for name in (*LEFT_HERE, *SENT):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_a_job_is_sent_code_alone(full_checkout, tmp_path):
    """By the function that makes the package that is uploaded."""
    package = tmp_path / "package.zip"
    create_package(str(full_checkout), package, include_gitignore=True, include_parent_dir=False, excludes=[])
    sent = {name for name in zipfile.ZipFile(package).namelist() if not name.endswith("/")}
    assert sent.isdisjoint(LEFT_HERE)
    assert sent.issuperset(SENT)
    code = {str(file.relative_to(ROOT)) for room in ("orchestrator", "moda_core", "sweeps") for file in files_of(room)}
    assert sent.issuperset(code | {"pyproject.toml", "cluster/requirements.txt"})
    assert {name.partition("/")[0] for name in sent if "/" in name} == {
        *("cluster", "moda_core", "orchestrator", "packages", "sweeps"),
        *("my_package", "my_sweeps"),
    }
    assert package.stat().st_size < 4 * 2**20


def files_of(room):
    return [file for file in (ROOT / room).rglob("*") if file.is_file() and "__pycache__" not in file.parts]


def test_the_environment_of_a_job_names_files_of_the_project():
    environment = yaml.safe_load((ROOT / "cluster" / "runtime-env.yaml").read_text())
    pins = pins_of(ROOT / environment["pip"])
    assert pins <= pins_of(ROOT / "constraints.txt")
    assert {pin.partition("==")[0] for pin in pins} >= {"ray", "torch", "wandb", "deltalake", "lazy-loader"}
    assert not [pin for pin in pins if pin.startswith(("cuda-", "nvidia-"))]  # torch's wheels bring what they need
    assert int(environment["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) >= 60


def pins_of(file):
    lines = file.read_text().splitlines()
    return {line.partition(" ;")[0] for line in lines if not line.startswith("#")}


def asks_for_a_token(url):
    try:
        urllib.request.urlopen(url, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:  # not up yet
        return False
    return False


@pytest.mark.slow
def test_a_submitted_sweep_is_the_same_sweep(tmp_path):
    """Where the packages are installed."""
    with ray_head(cpus=2, dashboard=True) as cluster:
        wait_until(lambda: asks_for_a_token(f"{cluster.dashboard}/api/jobs/"), "a job API that asks for a token")
        sweep = (*SWEEP, "sweep.trials=2", "training.epochs=1")
        done = submit(cluster, *sweep, f"storage={tmp_path}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 of 2 trials finished" in done.stdout
        assert re.search(r"Job '\w+' succeeded", done.stdout + done.stderr)
        found = read_sweep(DeltaStore(str(tmp_path)), "submitted")
        assert [trial.status for trial in found.trials] == ["finished", "finished"]
        assert found.find("best").test is not None

        wrong = submit(cluster, *sweep, "storage=here")
        assert wrong.returncode != 0
        assert "is relative to a job's temporary folder" in wrong.stdout + wrong.stderr
