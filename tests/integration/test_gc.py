"""``moda gc`` on what a real sweep left, in a folder and in a bucket; what works after it, and what says why not."""

import hashlib
import itertools
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from moda_core import load_modules
from moda_core.sets.manifest import MANIFEST, parse_manifest
from orchestrator.cli.command_line import main
from orchestrator.modules.garbage import remove, survey
from orchestrator.modules.publishing import name_of
from orchestrator.modules.retention import retentions
from orchestrator.results.records import read_sweep, utc_now
from orchestrator.storage.delta import DeltaStore
from orchestrator.storage.files import Files
from orchestrator.storage.schema import TABLES
from tests.defaults import THREE_COEFFICIENTS
from tests.integration.sweeps import run_moda, sweep_in_process

# Two choices a training, and trials that do not depend on each other. Trial 2 is dominated, and so is point 0/0.1.
CHOICES = ("evaluation.taus=[0.9]", "evaluation.thresholds=[0.1]", "evaluation.levels=[0.1]", "evaluation.targets=[]")
SWEEP = ("experiment=digits", *THREE_COEFFICIENTS, "search=sobol", "sweep.name=tiny")
OBJECTIVES = ("search.objectives.reuse_accuracy=max", "~search.objectives.calibrated_reuse_accuracy")
DRAW = ("evaluation.pairs=null", "evaluation.subsets_per_size=3", "evaluation.images_per_size=60")
ASKED = (*SWEEP, "training.epochs=1", "tracking=none", *CHOICES, *DRAW, *OBJECTIVES)
ON, OFF, LOST = "1/0.9/0.1", "0/0.1", "2/0.1"  # on the front; off it, of a trial that stays; of one that goes
GOING = {
    "modules/tiny-0000-level0.1/manifest.json",
    "modules/tiny-0000-level0.1/model_card.md",
    "modules/tiny-0000-level0.1/weights.safetensors",
    "modules/tiny-0002-level0.1/manifest.json",
    "modules/tiny-0002-level0.1/model_card.md",
    "modules/tiny-0002-level0.1/weights.safetensors",
    "modules/tiny-0003-level0.1/weights.safetensors",
    "trials/tiny-0001/checkpoint.pt",
    "trials/tiny-0002/contributions.safetensors",
    "trials/tiny-0002/frequencies.safetensors",
    "trials/tiny-0002/weights.safetensors",
}
UNKNOWN = {"trials/other-0000/weights.safetensors"}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished sweep, three of its sets, and what crashes and other people left."""
    folder = tmp_path_factory.mktemp("swept")
    sweep_in_process(*ASKED, "sweep.trials=4", storage=folder / "storage")
    for number, name in enumerate((ON, OFF, LOST)):
        to = str(folder / f"set-{number}")
        assert main(["pull", f"sweep:tiny/{name}", "--to", to, f"storage={folder}/storage"]) == 0
    files = Files(str(folder / "storage"))
    files.write("trials/tiny-0001/checkpoint.pt", b"left")
    for name in (*UNKNOWN, "modules/tiny-0003-level0.1/weights.safetensors"):
        files.write(name, b"left")
        os.utime(folder / "storage" / name, (0, 0))
    return folder


@pytest.fixture
def storage(swept, tmp_path):
    copy = tmp_path / "storage"
    shutil.copytree(swept / "storage", copy)
    return copy


@pytest.fixture
def bucket(swept, s3, tmp_path):
    """The same storage on S3, where files are as old as they are there."""
    files = Files(f"{s3}/{tmp_path.name}")
    for one in (swept / "storage").rglob("*"):
        if one.is_file():
            files.write(str(one.relative_to(swept / "storage")), one.read_bytes())
    return files


def everything(folder):
    """Every file with its hash, the tables' own among them."""
    files = (one for one in Path(folder).rglob("*") if one.is_file())
    return {str(one.relative_to(folder)): hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


def stored(files):
    return {one.name for folder in ("modules", "trials") for one in files.under(folder)}


def rows(root):
    store = DeltaStore(str(root))
    return {name: sorted(map(repr, store.read(name).to_pylist())) for name in TABLES if name != "modules"}


def log(root):
    told = DeltaStore(str(root)).read("modules", "tiny").sort_by("time").to_pylist()
    return {name: [row["event"] for row in told if row["name"] == name] for name in {row["name"] for row in told}}


def moda(capsys, *arguments):
    """A command in this process: its exit code, output and errors."""
    code = main(list(arguments))
    told = capsys.readouterr()
    return code, told.out, told.err


def test_looking_changes_nothing(storage, capsys):
    before = everything(storage)
    code, out, _ = moda(capsys, "gc", f"storage={storage}")
    assert code == 0
    assert everything(storage) == before
    assert "nothing was removed; add --delete to remove these files" in out
    assert "kept, of no known sweep: trials/other-0000 (1 files, 0.000 MiB)" in out
    cells = re.findall(r"^(\S.*?) {2,}(\S*) +(\d+) +(\d+) +([\d.]+) *$", out, re.M)
    sizes = {name: (storage / name).stat().st_size for name in GOING}
    assert {what: (sweep, number, files) for what, sweep, number, files, _ in cells} == {
        "module sets of points that are not on the front": ("tiny", "2", "6"),
        "weights and counts of trials without a point there": ("tiny", "1", "3"),
        "checkpoints of trials that are over": ("tiny", "1", "1"),
        "files of interrupted writes": ("tiny", "1", "1"),
        "total": ("", "5", "11"),
    }
    assert cells[-1][-1] == f"{sum(sizes.values()) / 2**20:.3f}"


def test_what_no_front_asks_for_goes_and_the_rows_stay(storage, capsys):
    files, recorded = Files(str(storage)), rows(storage)
    before, size = stored(files), sum((storage / name).stat().st_size for name in GOING)
    kept = {name: one for name, one in everything(storage).items() if name in before - GOING}
    code, out, _ = moda(capsys, "gc", "tiny", "--delete", f"storage={storage}")
    assert code == 0
    assert f"removed 11 files, {size / 2**20:.3f} MiB" in out
    assert "small files of the tables; no row was removed" in out
    assert {name: one for name, one in everything(storage).items() if name in stored(files)} == kept
    assert set(kept) >= UNKNOWN
    assert not (storage / "trials" / "tiny-0002").exists()
    assert rows(storage) == recorded
    assert log(storage) == {
        "tiny-0001-tau0.9-threshold0.1": ["published"],
        "tiny-0000-level0.1": ["published", "removed"],
        "tiny-0002-level0.1": ["published", "removed"],
    }
    version = DeltaStore(str(storage)).version("modules")
    code, out, _ = moda(capsys, "gc", "--delete", f"storage={storage}")
    assert code == 0
    assert "removed 0 files" in out
    assert DeltaStore(str(storage)).version("modules") == version
    assert {name: one for name, one in everything(storage).items() if name in stored(files)} == kept


def test_after_it_the_front_is_shown_and_pulled_and_the_rest_says_why_not(storage, tmp_path, capsys):
    where = f"storage={storage}"
    assert moda(capsys, "gc", "--delete", where)[0] == 0
    sweep = read_sweep(DeltaStore(str(storage)), "tiny")
    assert all(one.label in moda(capsys, "front", "tiny", "--all", where)[1] for one in sweep.front)
    assert moda(capsys, "report", "tiny", "--to", str(tmp_path / "report.html"), where)[0] == 0
    page = (tmp_path / "report.html").read_text()
    assert all(f"{one.label}<" in page for one in sweep.front)
    asked = "select name from modules where event = 'removed' order by name"
    _, out, _ = moda(capsys, "query", "tiny", asked, "--format", "json", where)
    assert [row["name"] for row in json.loads(out)] == ["tiny-0000-level0.1", "tiny-0002-level0.1"]
    for number, name in enumerate(("best", OFF)):  # the second is made again from its trial
        assert moda(capsys, "pull", f"sweep:tiny/{name}", "--to", str(tmp_path / str(number)), where)[0] == 0
        assert len(load_modules(tmp_path / str(number)).class_names) == 10
    assert log(storage)["tiny-0000-level0.1"] == ["published", "removed", "published"]
    for command in (["pull", f"sweep:tiny/{LOST}", "--to", str(tmp_path / "x")], ["rerun", "tiny/2"]):
        code, _, error = moda(capsys, *command, where)
        assert code == 2
        assert error.startswith(f"moda {command[0]}: trial tiny-0002 has no weights in the storage: `moda gc` removes")
        assert "`moda front tiny` shows, or train its coefficients again: moda confirm tiny --points 2/" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_after_it_the_sweep_goes_on(storage, shared_ray, capsys):
    """By another objective a point of the trial that is gone is on the front: it cannot be measured, which is said."""
    assert moda(capsys, "gc", "--delete", f"storage={storage}")[0] == 0
    more = ("sweep.trials=5", "search.objectives.coupling=min")
    done = run_moda("sweep", *ASKED, *more, storage=storage, **shared_ray)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "5 of 5 trials finished" in done.stdout
    assert "1 points cannot be measured on test, because `moda gc` removed their trials' weights" in done.stdout


@pytest.mark.slow
def test_after_it_a_point_of_a_trial_that_is_gone_is_confirmed(storage, shared_ray, capsys):
    """Which is the way to have it again."""
    where = f"storage={storage}"
    assert moda(capsys, "gc", "--delete", where)[0] == 0
    arguments = ("confirm", "tiny", "--points", LOST, "--seeds", "1", "tracking=none")
    done = run_moda(*arguments, storage=storage, **shared_ray)
    assert done.returncode == 0, done.stderr + done.stdout
    (child,) = (one for one in retentions(DeltaStore(str(storage))) if one.sweep.sweep_id != "tiny")
    assert moda(capsys, "gc", "--delete", where)[0] == 0
    kept = stored(Files(str(storage)))
    assert f"trials/{child.sweep.sweep_id}-0000/weights.safetensors" in kept
    assert "confirmed by" in moda(capsys, "front", "tiny", where)[1]


class DiskError(OSError):
    """A removal that fails."""


def test_whatever_removal_fails_nothing_looks_whole_that_is_not_and_the_same_again_goes_on(
    swept, tmp_path, monkeypatch
):
    delete = Files.delete
    for at in itertools.count():
        storage = tmp_path / str(at)
        shutil.copytree(swept / "storage", storage)
        store, files, deletes = DeltaStore(str(storage)), Files(str(storage)), itertools.count()

        def failing(self, name, at=at, deletes=deletes):
            if next(deletes) == at:
                raise DiskError("read-only")
            delete(self, name)

        with monkeypatch.context() as broken:
            broken.setattr(Files, "delete", failing)
            try:
                remove(survey(store, files, retentions(store), utc_now()), store, files, utc_now)
            except DiskError:
                failed = True
            else:
                failed = False
        for manifest in (storage / "modules").glob(f"*/{MANIFEST}"):
            names = parse_manifest(manifest.read_bytes())["files"]
            assert {MANIFEST, *names} == {one.name for one in manifest.parent.iterdir()}
        weights = storage / "trials" / "tiny-0002" / "weights.safetensors"
        assert not weights.exists() or len(list(weights.parent.iterdir())) == 3
        if failed:
            remove(survey(store, files, retentions(store), utc_now()), store, files, utc_now)
        assert not stored(files) & GOING
        assert stored(files) >= UNKNOWN
        assert {name: events for name, events in log(storage).items() if events != ["published"]} == {
            "tiny-0000-level0.1": ["published", "removed"],
            "tiny-0002-level0.1": ["published", "removed"],
        }
        if not failed:
            break
    assert at == len(GOING)


def test_a_removal_that_fails_is_one_line(storage, monkeypatch, capsys):
    def failing(self, name):
        raise DiskError("read-only")

    monkeypatch.setattr(Files, "delete", failing)
    code, _, error = moda(capsys, "gc", "--delete", f"storage={storage}")
    assert code == 2
    assert error == f"moda gc: storage='{storage}': read-only; run the same command again to continue\n"


@pytest.mark.slow
def test_in_a_bucket_too(bucket, tmp_path, capsys):
    where = f"storage={bucket.root}"
    before, recorded = stored(bucket), rows(bucket.root)
    assert moda(capsys, "gc", where)[0] == 0
    assert stored(bucket) == before
    code, out, _ = moda(capsys, "gc", "--delete", where)
    assert code == 0
    young = {"modules/tiny-0003-level0.1/weights.safetensors"}  # not an hour there
    assert f"removed {len(GOING - young)} files" in out
    assert stored(bucket) == before - (GOING - young)
    assert rows(bucket.root) == recorded
    sweep = read_sweep(DeltaStore(bucket.root), "tiny")
    assert log(bucket.root)[name_of(sweep.find(LOST))] == ["published", "removed"]
    assert moda(capsys, "pull", "tiny", "--to", str(tmp_path / "set"), where)[0] == 0
    assert moda(capsys, "pull", f"sweep:tiny/{LOST}", "--to", str(tmp_path / "x"), where)[0] == 2
    assert "removed 0 files" in moda(capsys, "gc", "--delete", where)[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["other"], "sweep 'other' is not in the storage; it holds ['tiny']"),
        (["tiny", "search.objectives.flops=min"], "this command takes storage= only"),
        (["storage=/nowhere/at/all"], "the storage holds no sweeps; set storage=... to the right one"),
    ],
)
def test_mistakes_are_said(swept, capsys, arguments, said):
    code, _, error = moda(capsys, "gc", f"storage={swept}/storage", *arguments)
    assert code == 2
    assert said in error
