"""A real sweep with the real W&B client: its runs and artifacts on the stand-in server, and what comes back."""

import base64
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime

import pytest
import wandb

from moda_core import load_modules
from moda_core.sets.manifest import MANIFEST, WEIGHTS
from orchestrator.modules.model_card import CARD
from orchestrator.modules.publishing import name_of
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.tracking.artifacts import point_alias
from tests.integration.sweeps import ROOT, call_moda, run_moda
from tests.integration.waiting import PATIENCE, WANDB_PATIENCE
from tests.integration.wandb_server import WandbServer, sync

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SMALL = ("experiment=digits", "sweep.name=tiny", "sweep.trials=2", "training.epochs=1", "evaluation.taus=[0.5,0.9]")
SHOW = """
import sys
from orchestrator.results.records import read_sweep
from orchestrator.views.sweep_run import SweepRun
from orchestrator.storage import DeltaStore
from orchestrator.modules.uploads import module_artifacts
sweep = read_sweep(DeltaStore(sys.argv[1]), "tiny")
SweepRun(sweep.config, sys.argv[1], "tiny", upload_bytes=1e6).end(sweep, module_artifacts(sweep, sys.argv[1]))
"""
FROM_OBJECT_STORE = """
import sys, wandb
from pathlib import Path
from orchestrator.tracking.artifacts import ModuleArtifact
files = {file.name: file.read_bytes() for file in Path(sys.argv[1]).iterdir()}
with wandb.init(project="moda", id="remote", mode="offline", dir=sys.argv[2]) as run:
    ModuleArtifact("remote", "pareto-0-0.1", ("best",), files, None).log(run)
"""
LOG = """
import sys, wandb
from pathlib import Path
from orchestrator.tracking.artifacts import ModuleArtifact, point_alias
from orchestrator.results.records import read_sweep
from orchestrator.modules.publishing import published
from orchestrator.storage import DeltaStore
root, logged = sys.argv[1], [one.split("=") for one in sys.argv[2:]]
storage = DeltaStore(root).storage_id(make=True)
sweep = read_sweep(DeltaStore(root), "tiny")
with wandb.init(project="moda", id="tiny", resume="allow", settings=wandb.Settings(silent=True)) as run:
    for name, *roles in logged:
        point = sweep.find(name)
        folder = Path(root) / "modules" / published(sweep, point, root)
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        ModuleArtifact("tiny", point_alias(point), roles, files, folder, storage).log(run)
"""
WARNED = f"""
import logging, sys
logging.basicConfig(stream=sys.stdout)
{LOG}
"""
STOP = """
import sys
from orchestrator.results.records import read_sweep
from orchestrator.views.sweep_run import SweepRun
from orchestrator.storage import DeltaStore
sweep = read_sweep(DeltaStore(sys.argv[1]), "tiny")
run = SweepRun(sweep.config, sys.argv[1], "stopped", upload_bytes=0)
run.update(sweep)
run.stop("interrupted")
print(run.where)
"""
USE = """
import sys, wandb
from orchestrator.modules.pulling import pull
with wandb.init(project="downstream", id="user", settings=wandb.Settings(silent=True)):
    pull("somebody/moda/tiny:best", sys.argv[1])
"""


def python(code, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **WANDB_PATIENCE, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def call_online(*arguments, storage, **environment):
    """``moda`` in this process, with a client of W&B that knows nothing of an earlier server."""
    wandb.teardown()
    done = call_moda(*arguments, storage=storage, **environment)
    wandb.teardown()
    return done


@pytest.fixture(scope="module")
def server():
    with WandbServer() as one:
        yield one
        assert not one.unexpected


@pytest.fixture(scope="module")
def storage(server, shared_ray, tmp_path_factory):
    folder = tmp_path_factory.mktemp("storage")
    done = run_moda("sweep", *SMALL, "sweep.concurrency=1", storage=folder, **server.environment, **shared_ray)
    assert done.returncode == 0, done.stderr
    assert "W&B" not in done.stderr
    assert f"W&B: {server.url}/somebody/moda/runs/tiny\n" in done.stdout
    return folder


@pytest.fixture(scope="module")
def sweep(storage):
    return read_sweep(DeltaStore(str(storage)), "tiny")


def plant(server, collection, change):
    """Another artifact with the best set's files, after somebody changed it."""
    best = server.artifacts.named(None, "moda", "tiny:best")
    one = dataclasses.replace(best, id=f"artifact-{len(server.artifacts.all)}", collection=collection, aliases=["best"])
    files = {name: server.blobs[best.file_path(name)] for name in best.files}
    listing = json.loads(server.blobs[best.manifest_path])
    one = change(one, files, listing["contents"]) or one
    for listed in listing["contents"].values():
        listed["birthArtifactID"] = one.id  # where the client asks for the file
    server.artifacts.all.append(dataclasses.replace(one, files=list(files)))
    server.blobs[one.manifest_path] = json.dumps(listing).encode()
    server.blobs.update({one.file_path(name): data for name, data in files.items()})


def entry(data):
    return {"digest": base64.b64encode(hashlib.md5(data).digest()).decode(), "size": len(data)}


def test_a_run_a_trial_and_one_for_the_sweep(server, storage, sweep):
    assert {name: (run.group, run.job_type) for name, run in server.runs.items() if run.project == "moda"} == {
        "tiny": ("tiny", "sweep"),
        "tiny-0000": ("tiny", "trial"),
        "tiny-0001": ("tiny", "trial"),
    }
    run = server.runs["tiny"]
    assert run.exit_code == 0
    assert run.summary["hypervolume"] == pytest.approx(sweep.hypervolume)
    rows = run.table("front")
    assert [row["point"] for row in rows] == [point.label for point in sweep.front]
    assert rows[0]["run"] == f"{server.url}/somebody/moda/runs/{sweep.front[0].trial.trial_id}"
    assert rows[0]["test_calibrated_reuse_accuracy"] == sweep.front[0].test["calibrated_reuse_accuracy"]
    (name,) = [file for file in run.files if "front_runs" in file]
    labels = json.loads(run.files[name])["data"][0]["text"]
    assert labels == [f'<a href="{row["run"]}">{row["point"]}</a>' for row in rows]


def test_the_sweep_s_run_has_its_numbers_after_each_trial_and_a_chart_of_its_front(server, sweep):
    run = server.runs["tiny"]
    numbers = [row for row in run.history if "front_points" in row]
    assert [row["trials"] for row in numbers] == [0, 1, 2]  # it is there before the first trial ends
    assert numbers[-1]["hypervolume"] == pytest.approx(sweep.hypervolume)
    assert numbers[-1]["best/cut_size"] == sweep.find("best").metrics["cut_size"]
    shown = run.config["_wandb"]["visualize"]["front_chart"]["panel_config"]
    assert (shown["panelDefId"], shown["stringSettings"]) == ("wandb/scatter/v0", {"title": "the front of tiny"})
    assert shown["fieldSettings"] == {"x": "cut_size", "y": "calibrated_reuse_accuracy"}
    assert [row["point"] for row in run.table("front_chart_table")] == [point.label for point in sweep.front]
    assert (run.summary["status"], run.summary["best/point"]) == ("finished", sweep.find("best").label)
    best = sweep.find("best")
    assert run.summary["best/test_cut_size"] == best.test["cut_size"]


def test_a_trial_s_summary_holds_every_metric_of_its_best_and_knee(server, sweep):
    for trial in sweep.trials:
        run = server.runs[trial.trial_id]
        alone = dataclasses.replace(sweep, points=[one for one in sweep.points if one.trial.number == trial.number])
        for role in ("best", "knee"):
            point = alone.find(role)
            assert run.summary[f"{role}/point"] == point.label
            assert {name: run.summary[f"{role}/{name}"] for name in point.metrics} == point.metrics
        assert run.config["coefficients"] == trial.coefficients
        assert run.config["trial"] == trial.number


def test_a_sweep_that_is_interrupted_leaves_its_run_with_what_it_has_found(server, storage, sweep):
    printed = python(STOP, storage, **server.environment)
    assert printed.splitlines()[-1] == f"{server.url}/somebody/moda/runs/stopped"
    run = server.runs["stopped"]
    assert (run.exit_code, run.summary["status"]) == (1, "interrupted")
    assert [row["point"] for row in run.table("front")] == [point.label for point in sweep.front]
    del server.runs["stopped"]


def test_best_and_knee_are_artifacts_of_the_sweep_s_run(server, storage, sweep):
    found = {alias: one for one in server.artifacts.committed("modules") for alias in one.aliases}
    for role in ("best", "knee"):
        point, one = sweep.find(role), found[role]
        assert (one.collection, one.made_by) == ("tiny", "tiny")
        assert "pareto-" + point.label.replace("/", "-") in one.aliases
        folder = storage / "modules" / name_of(point)
        assert sorted(one.files) == [MANIFEST, CARD, WEIGHTS]
        for name in one.files:
            assert server.blobs[one.file_path(name)] == (folder / name).read_bytes()
        assert one.metadata["manifest_sha256"] == hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        assert one.metadata["test.reuse_accuracy"] == point.test["reuse_accuracy"]
        assert len(one.metadata) <= 100


@pytest.mark.slow
def test_a_set_that_is_there_is_not_uploaded_again(server, storage):
    before = [one.id for one in server.artifacts.committed("modules")]
    uploads = Counter(path for path in server.uploads if path.endswith(WEIGHTS))
    (best,) = [one for one in server.artifacts.committed("modules") if "best" in one.aliases]
    best.aliases.remove("best")  # as if another had been the best
    python(SHOW, storage, **server.environment)
    assert [one.id for one in server.artifacts.committed("modules")] == before
    assert "best" in best.aliases
    assert Counter(path for path in server.uploads if path.endswith(WEIGHTS)) == uploads
    assert server.runs["tiny"].begun == 2


@pytest.mark.slow
def test_an_offline_run_is_synced_with_its_artifacts_also_from_another_place(storage, sweep, tmp_path):
    """The run names its artifacts' files by their first place, which a link leads from."""
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(storage, first, ignore=shutil.ignore_patterns("wandb"))
    python(SHOW, first, WANDB_MODE="offline")
    for place in (first, second):
        if place is second:
            first.rename(second)
            first.symlink_to(second)
        with WandbServer() as server:
            sync(place, server, "--include-synced")
            assert server.runs["tiny"].summary["front_points"] == len(sweep.front)
            assert len(server.runs["tiny"].table("front")) == len(sweep.front)
            for role in ("best", "knee"):
                one = server.artifacts.named(None, "moda", f"tiny:{role}")
                weights = storage / "modules" / name_of(sweep.find(role)) / WEIGHTS
                assert server.blobs[one.file_path(WEIGHTS)] == weights.read_bytes()


@pytest.mark.slow
def test_a_set_of_an_object_store_is_staged(storage, sweep, tmp_path):
    folder = storage / "modules" / name_of(sweep.find("best"))
    python(FROM_OBJECT_STORE, folder, tmp_path, WANDB_DATA_DIR=str(tmp_path / "data"), WANDB_SILENT="true")
    with WandbServer() as server:
        sync(tmp_path, server)
        one = server.artifacts.named(None, "moda", "remote:best")
        for name in (MANIFEST, CARD, WEIGHTS):
            assert server.blobs[one.file_path(name)] == (folder / name).read_bytes()


def test_pulling_from_the_storage_logs_nothing(server, storage, tmp_path):
    before = len(server.operations)
    done = call_online("pull", "tiny", "--to", str(tmp_path / "x"), storage=storage, **server.environment)
    assert done.returncode == 0, done.stderr
    assert len(server.operations) == before


def test_pull_by_alias_brings_the_same_bytes(server, storage, sweep, tmp_path):
    reference, to = "somebody/moda/tiny:best", tmp_path / "modules"
    done = run_moda("pull", reference, "--to", str(to), storage=tmp_path / "none", **server.environment)
    assert done.returncode == 0, done.stderr
    assert f"{to}: {reference}, 10 classes" in done.stdout
    folder = storage / "modules" / name_of(sweep.find("best"))
    assert sorted(file.name for file in to.iterdir()) == [MANIFEST, CARD, WEIGHTS]
    assert all((to / name).read_bytes() == (folder / name).read_bytes() for name in (MANIFEST, CARD, WEIGHTS))
    assert load_modules(to, classes=["3", "8"]).class_names == ["3", "8"]
    again = call_online("pull", reference, "--to", str(to), storage=tmp_path / "none", **server.environment)
    assert again.returncode == 2
    assert "is not empty" in again.stderr


def test_pulling_twice_downloads_once_and_classes_are_a_set_of_their_own(server, storage, tmp_path):
    best = server.artifacts.named(None, "moda", "tiny:best")
    environment = {**server.environment, "MODA_CACHE_DIR": str(tmp_path / "cache"), "MODA_CACHE_GIB": "1"}
    for classes, times in ((["8", "3"], 1), (["5"], 0)):
        del server.downloads[:]
        to = tmp_path / "-".join(classes)
        asked = ["pull", "somebody/moda/tiny:best", "--classes", *classes, "--to", str(to)]
        done = call_online(*asked, storage=tmp_path / "none", **environment)
        assert done.returncode == 0, done.stderr
        assert ("KiB downloaded" in done.stdout) == bool(times)
        assert server.downloads.count(best.file_path(WEIGHTS)) == times
        assert load_modules(to).class_names == classes
        assert (to / WEIGHTS).stat().st_size < len(server.blobs[best.file_path(WEIGHTS)])
        assert (to / CARD).read_text().startswith(f"> Only {', '.join(classes)} of the set")


def test_a_run_that_is_active_used_it(server, storage, tmp_path):
    python(USE, tmp_path / "modules", **server.environment, WANDB_DIR=str(tmp_path))
    assert server.artifacts.named(None, "moda", "tiny:best").used_by == ["user"]
    assert (tmp_path / "modules" / MANIFEST).is_file()


def changed(one, files, contents):
    files[WEIGHTS] = files[WEIGHTS][:-1] + bytes([files[WEIGHTS][-1] ^ 1])
    contents[WEIGHTS] |= entry(files[WEIGHTS])


def truncated(one, files, contents):
    files[WEIGHTS] = files[WEIGHTS][:-8]
    contents[WEIGHTS] |= entry(files[WEIGHTS])


def lying(one, files, contents):
    """The listing says the right size, the file has another."""
    files[WEIGHTS] = files[WEIGHTS][:-8]


def escaping(one, files, contents):
    files["../../evil"] = b"evil"
    contents["../../evil"] = entry(b"evil")


def absolute(one, files, contents):
    contents["/etc/evil"] = entry(b"evil")


def bare(one, files, contents):
    del files[MANIFEST], contents[MANIFEST]


def stuffed(one, files, contents):
    files["more.bin"] = b"more"
    contents["more.bin"] = entry(b"more")


def reference(one, files, contents):
    contents[WEIGHTS] |= {"ref": "file:///etc/passwd"}


def another(one, files, contents):
    return dataclasses.replace(one, type="model")


HOSTILE = {
    changed: "another sha256",
    truncated: "bytes, the manifest says",
    lying: "bytes, the manifest says",
    escaping: "'../../evil' is not a file name",
    absolute: "'/etc/evil' is not a file name",
    bare: "there is no manifest.json in it",
    stuffed: "'more.bin', which its manifest does not name",
    reference: "is a reference",
    another: "of type 'model'",
}


def test_hostile_artifacts_are_refused_with_the_reason(server, storage, tmp_path):
    for change in HOSTILE:
        plant(server, change.__name__, change)
    names = {f"somebody/moda/{change.__name__}:best": reason for change, reason in HOSTILE.items()}
    for name, reason in names.items():
        to = str(tmp_path / "sets" / name.replace("/", "-"))
        done = call_online("pull", name, "--to", to, storage=tmp_path, **server.environment)
        assert done.returncode == 2
        assert reason in done.stderr
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_what_cannot_be_pulled_is_one_line(server, storage, tmp_path):
    plant(server, "wrong", changed)
    for name, key, reason in (
        ("somebody/moda/wrong:best", server.environment, "another sha256"),
        ("somebody/moda/tiny:nothing", server.environment, "'tiny:nothing' not found"),
        ("somebody/moda/tiny:best", {"NETRC": str(tmp_path / "none"), "WANDB_API_KEY": ""}, "no W&B API key"),
    ):
        done = call_online("pull", name, "--to", str(tmp_path / "x"), storage=tmp_path, **key)
        assert done.returncode == 2
        assert reason in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_versions_of_points_that_left_the_front_are_deleted(server, storage, sweep, tmp_path):
    """As when a sweep went on and its points were better: real versions of points that are not on the front."""
    front = {point.label for point in sweep.front}
    off, production, *_ = (point for point in sweep.points if point.label not in front)
    (tmp_path / "own").mkdir()
    copy = shutil.copytree(storage, tmp_path / "own" / "storage", ignore=shutil.ignore_patterns("wandb"))
    before = {one.id for one in server.artifacts.committed("modules") if one.collection == "tiny"}
    logged = (off.label, f"{production.label}=production")
    python(LOG, copy, *logged, **server.environment, WANDB_DIR=str(tmp_path))
    stale = server.artifacts.named(None, "moda", f"tiny:{point_alias(off)}")
    kept = server.artifacts.named(None, "moda", f"tiny:{point_alias(production)}")
    assert {stale.id, kept.id} & before == set()

    def gc(*options, **environment):
        done = call_online("gc", "tiny", *options, storage=copy, **{**server.environment, **environment})
        found = {one.id for one in server.artifacts.committed("modules") if one.collection == "tiny"}
        return done, found

    done, found = gc(WANDB_MODE="offline")
    assert "W&B" not in done.stdout
    done, found = gc()
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^W&B artifact.*? {2,}\S+ +(\d+) ", done.stdout, re.M) == ["1"]
    assert found == {*before, stale.id, kept.id}
    done, found = gc("--delete")
    assert done.returncode == 0, done.stderr
    assert "and 1 artifact versions in W&B" in done.stdout
    assert found == {*before, kept.id}
    assert server.artifacts.named(None, "moda", "tiny:best").id in found
    assert not (copy / "modules" / name_of(off)).exists()


@pytest.mark.slow
def test_versions_of_another_storage_stay(server, storage, sweep, tmp_path):
    """A sweep of the same name and project, in a storage of somebody else; what does not say where it is from; and what
    an earlier version of this program logged, which only the table ``modules`` knows."""
    front = {point.label for point in sweep.front}
    points = [point for point in sweep.points if point.label not in front][2:5]  # of which no other test logs any
    theirs = shutil.copytree(storage, tmp_path / "theirs", ignore=shutil.ignore_patterns("wandb", "storage"))
    mine = shutil.copytree(theirs, tmp_path / "mine")
    python(LOG, theirs, *(point.label for point in points), **server.environment, WANDB_DIR=str(tmp_path))
    versions = [server.artifacts.named(None, "moda", f"tiny:{point_alias(point)}") for point in points]
    for version in versions:
        assert version.metadata["storage"] == DeltaStore(str(theirs)).storage_id()
    for version in versions[1:]:
        del version.metadata["storage"]
    store = DeltaStore(str(mine))
    earlier = points[2]
    row = {"sweep_id": "tiny", "trial_id": earlier.trial.trial_id, "name": name_of(earlier), "time": NOW}
    store.append("modules", [{**row, "event": "published", "manifest_sha256": versions[2].metadata["manifest_sha256"]}])
    done = call_online("gc", "tiny", "--delete", storage=mine, **server.environment)
    assert done.returncode == 0, done.stderr
    assert "2 W&B versions of tiny are kept: they may be from another storage" in done.stderr
    assert [version.state for version in versions] == ["COMMITTED", "COMMITTED", "DELETED"]
    done = call_online("gc", "tiny", "--delete", storage=theirs, **server.environment)
    assert done.returncode == 0, done.stderr
    assert versions[0].state == "DELETED"


@pytest.mark.slow
def test_an_alias_that_moves_away_from_another_storage_is_reported(server, storage, sweep, tmp_path):
    other = shutil.copytree(storage, tmp_path / "other", ignore=shutil.ignore_patterns("wandb", "storage"))
    best = sweep.find("best").label
    python(LOG, storage, f"{best}=best", **server.environment, WANDB_DIR=str(tmp_path))
    for folder, count in ((storage, 0), (other, 2)):
        done = python(WARNED, folder, f"{best}=best", **server.environment, WANDB_DIR=str(tmp_path))
        assert done.count("moves away from a module set of another storage") == count


@pytest.mark.slow
def test_a_w_and_b_that_does_not_answer_is_said_and_the_rest_is_done(storage, sweep, tmp_path):
    copy = shutil.copytree(storage, tmp_path / "storage", ignore=shutil.ignore_patterns("wandb"))
    (copy / "trials" / "tiny-0000" / "checkpoint.pt").write_bytes(b"left")
    with WandbServer() as server:
        environment = server.environment
        done = run_moda("gc", storage=copy, **environment)  # it answers, and has no such collection
        assert (done.returncode, done.stderr) == (0, "")
    done = run_moda("gc", "--delete", storage=copy, **environment)
    assert done.returncode == 1
    assert not (copy / "trials" / "tiny-0000" / "checkpoint.pt").exists()
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("moda gc: W&B could not be asked (")
