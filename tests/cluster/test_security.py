"""What docs/security.md promises: tokens wherever Ray starts, no secret in what is kept, no pickle from others."""

import ast
import json
import os
import re
import secrets
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.cluster.jobs import ROOT, submit
from tests.integration.ray_head import ray_head
from tests.integration.waiting import PATIENCE, WANDB_PATIENCE, wait_until

SHIPPED = [
    *(file for file in sorted((ROOT / "cluster").rglob("*")) if file.is_file()),
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile")),
]
STARTS_A_HEAD = re.compile(r"ray start --head.*?(?=\n(?! )|```|\Z)", re.S)  # with the lines that go on


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_starts_ray_asks_for_a_token_and_answers_itself_alone(file):
    text = file.read_text()
    assert "0.0.0.0" not in text
    assert not re.search(r"RAY_AUTH_MODE\W+disabled", text)
    assert not re.search(r"(KEY|TOKEN|SECRET|PASSWORD)\s*[=:]\s*['\"]?[A-Za-z0-9/+]{20,}", text)  # of anybody
    for head in STARTS_A_HEAD.findall(text):
        assert "--dashboard-host=127.0.0.1" in head or "--include-dashboard=false" in head, head
    if "ray start" in text:
        assert "RAY_AUTH_MODE=token" in text or ". ~/moda/cluster/environment.sh && ray start" in text


def test_the_search_finds_what_starts_ray():
    """So that the test above has something to look at."""
    heads = {file.name: len(STARTS_A_HEAD.findall(file.read_text())) for file in SHIPPED}
    starting = {name: count for name, count in heads.items() if count}
    assert starting == {"aws.yaml": 1, "on-premise.yaml": 1, "slurm.sh": 1, "cluster.md": 1}
    assert "RAY_AUTH_MODE=token" in (ROOT / "cluster" / "environment.sh").read_text()
    for name in ("rayjob", "raycluster"):
        spec = yaml.safe_load((ROOT / "cluster" / "kubernetes" / f"{name}.yaml").read_text())["spec"]
        assert spec.get("rayClusterSpec", spec)["authOptions"]["mode"] == "token"


PICKLES = ("pickle", "cloudpickle", "dill", "joblib", "shelve")
RUN_CODE = ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.jit.load", "Tuner.restore", "tune.Tuner.restore")


def readers_of_pickles(file):
    """Calls that run code of what they read, always or unless they are told not to."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called, options = ast.unparse(node.func), {option.arg: ast.unparse(option.value) for option in node.keywords}
        module, _, function = called.rpartition(".")
        if (
            (module.rpartition(".")[2] in PICKLES and function in ("load", "loads", "Unpickler"))
            or (called == "torch.load" and options.get("weights_only") != "True")
            or called in RUN_CODE
            or options.get("allow_pickle") == "True"
        ):
            yield called


def test_no_pickle_is_read_that_others_can_write():
    """Tune's own note of an error is one, from a scratch folder that this process has made for itself alone."""
    found = {
        (str(file.relative_to(ROOT)), called)
        for room in ("orchestrator", "moda_core")
        for file in (ROOT / room).rglob("*.py")
        for called in readers_of_pickles(file)
    }
    assert found == {("orchestrator/runs/deaths.py", "cloudpickle.load")}
    assert "scratch_folder(" in (ROOT / "orchestrator" / "runs" / "tuning.py").read_text()
    assert "tempfile.mkdtemp(" in (ROOT / "orchestrator" / "runs" / "scratch.py").read_text()


@pytest.mark.slow
def test_a_planted_secret_is_in_nothing_that_is_kept(tmp_path, monkeypatch):
    """In the environment of a cluster's nodes, as Kubernetes gives it to them; then everything is searched."""
    planted = {
        "WANDB_API_KEY": secrets.token_hex(20),
        "AWS_ACCESS_KEY_ID": "AKIA" + secrets.token_hex(8).upper(),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
        "AWS_SESSION_TOKEN": secrets.token_hex(40),
    }
    for name, value in {**planted, **WANDB_PATIENCE, "WANDB_MODE": "offline"}.items():
        monkeypatch.setenv(name, value)
    with ray_head(cpus=2, dashboard=True) as cluster:
        for name in planted:  # the one who submits has none of them
            monkeypatch.delenv(name)
        token = Path(cluster.environment["RAY_AUTH_TOKEN_PATH"])
        planted["RAY_AUTH_TOKEN"] = token.read_text()
        request = urllib.request.Request(f"{cluster.dashboard}/api/jobs/")
        request.add_header("Authorization", f"Bearer {planted['RAY_AUTH_TOKEN']}")
        wait_until(lambda: is_answered(request), "the job API")
        command = ("experiment=digits", "sweep.name=planted", "sweep.trials=2", "training.epochs=1")
        done = submit(cluster, "python", "-m", "orchestrator", "sweep", *command, f"storage={tmp_path}")
        assert done.returncode == 0, done.stdout + done.stderr
        jobs = urllib.request.urlopen(request, timeout=PATIENCE).read()
        assert json.loads(jobs)[0]["entrypoint"].startswith("python -m orchestrator sweep")

        kept = {"what was printed": (done.stdout + done.stderr).encode(), "the jobs' metadata": jobs}
        for folder in (tmp_path, token.parent):
            kept |= {str(file): file.read_bytes() for file in files_below(folder) if file != token}
        for name, value in planted.items():
            assert [place for place, data in kept.items() if value.encode() in data] == [], name
        found = [place for place, data in kept.items() if b"planted" in data]  # the sweep's name
        assert any(place.endswith(".parquet") and "/tables/" in place for place in found)
        assert any("/wandb/" in place and place.endswith(".wandb") for place in found)
        assert any("/logs/" in place for place in found)


def is_answered(request):
    try:
        return urllib.request.urlopen(request, timeout=PATIENCE).status == 200
    except OSError:
        return False


def files_below(folder):
    for path, _, names in os.walk(folder):
        yield from (Path(path) / name for name in names if (Path(path) / name).is_file())
