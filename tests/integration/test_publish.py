"""Publishing a point as a module set: its card, its row, and writes that fail."""

import hashlib
import itertools
import os
import shutil

import pytest
import safetensors.torch

from moda_core import load_modules
from moda_core.sets.manifest import MANIFEST, WEIGHTS, parse_manifest
from orchestrator.declarations import METRICS
from orchestrator.modules.model_card import CARD
from orchestrator.modules.publishing import name_of
from orchestrator.modules.pulling import pull_point
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore


class NoSpaceError(OSError):
    """A write that fails."""


@pytest.fixture
def storage(swept, tmp_path):
    """A copy of a finished sweep's storage, without module sets."""
    copy = tmp_path / "storage"
    shutil.copytree(swept[0], copy, ignore=shutil.ignore_patterns("modules", "wandb"))
    return copy


def test_the_card_shows_the_point_and_the_whole_curve_of_its_training(storage, tmp_path):
    sweep = read_sweep(DeltaStore(str(storage)), "tiny")
    point = sweep.find("best")
    pulled = pull_point(sweep, point, str(storage), str(tmp_path / "modules"))
    card = (pulled.folder / CARD).read_text()
    assert CARD in pulled.manifest["files"]
    assert f"| trial | {point.trial.number} of sweep tiny |" in card
    reuse = METRICS["reuse_accuracy"]
    assert f"| {reuse.title} | {reuse.text(point.metrics[reuse.name])} | {reuse.text(point.test[reuse.name])} |" in card
    curve = [line for line in card.splitlines() if line.startswith(("| tau ", "| level ", "| size ", "| **"))]
    assert len(curve) == sum(one.trial.number == point.trial.number for one in sweep.points)
    (chosen,) = (line for line in curve if line.startswith("| **"))
    calibrated = METRICS["calibrated_reuse_accuracy"].text(point.metrics["calibrated_reuse_accuracy"])
    assert f"**{point.choice}** | **{calibrated}** |" in chosen
    assert "load_modules(folder, classes=['0', '1'])" in card


def test_a_write_that_fails_leaves_nothing_or_a_whole_set(storage, tmp_path, monkeypatch):
    sweep = read_sweep(DeltaStore(str(storage)), "tiny")
    point = sweep.find("knee")
    published = storage / "modules" / name_of(point)
    to, sync, writes = tmp_path / "modules", os.fsync, itertools.count()

    def failing(at):
        def fsync(descriptor):
            if next(writes) == at:
                raise NoSpaceError
            sync(descriptor)

        return fsync

    for at in itertools.count():
        writes = itertools.count()
        monkeypatch.setattr(os, "fsync", failing(at))
        shutil.rmtree(storage / "modules", ignore_errors=True)
        try:
            pull_point(sweep, point, str(storage), str(to))
        except NoSpaceError:
            assert not to.exists()
            assert [one for one in tmp_path.iterdir() if one != storage] == []
            if (published / MANIFEST).exists():  # then all that it names is there
                names = parse_manifest((published / MANIFEST).read_bytes())["files"]
                assert {MANIFEST, *names} == {one.name for one in published.iterdir()}
            continue
        break
    assert at == 9  # three files each: proven, published, pulled
    assert len(load_modules(to).class_names) == 10


def events(storage, name):
    rows = [row for row in DeltaStore(str(storage)).read("modules", "tiny").to_pylist() if row["name"] == name]
    return sorted(rows, key=lambda row: row["time"])


def off_front(sweep):
    """A point that nobody has published."""
    front = {point.label for point in sweep.front}
    return next(point for point in sweep.points if point.label not in front)


def test_publishing_leaves_a_row_and_pulling_none(storage, tmp_path):
    sweep = read_sweep(DeltaStore(str(storage)), "tiny")
    point = off_front(sweep)
    for to in ("first", "again"):
        pulled = pull_point(sweep, point, str(storage), str(tmp_path / to))
    name = name_of(point)
    (row,) = events(storage, name)
    files = {one.name: one.read_bytes() for one in (storage / "modules" / name).iterdir()}
    assert (row["event"], row["trial_id"], row["name"]) == ("published", point.trial.trial_id, name)
    assert {key: row[key] for key in point.choice.columns} == point.choice.columns
    assert row["manifest_sha256"] == hashlib.sha256(files[MANIFEST]).hexdigest()
    assert row["bytes"] == sum(map(len, files.values())) == pulled.bytes
    tensors = safetensors.torch.load(files[WEIGHTS])
    held = [one for key, one in tensors.items() if key.startswith("state.") and key.endswith(("weight", "bias"))]
    assert row["parameters"] == sum(one.numel() for one in held)
    assert point.metrics["cut_size"] * row["full_parameters"] < row["parameters"] < row["full_parameters"]


def test_a_row_that_was_not_written_is_written_when_the_set_is_pulled_next(storage, tmp_path, monkeypatch, caplog):
    sweep = read_sweep(DeltaStore(str(storage)), "tiny")
    point = off_front(sweep)
    name = name_of(point)

    def failing(*_):
        raise NoSpaceError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(DeltaStore, "append", failing)
        with pytest.raises(NoSpaceError):
            pull_point(sweep, point, str(storage), str(tmp_path / "first"))
        assert (storage / "modules" / name / MANIFEST).exists()
        pull_point(sweep, point, str(storage), str(tmp_path / "second"))  # as from a storage that one may only read
    assert f"{name} is not recorded in the table modules, which cannot be written: disk full" in caplog.text
    assert events(storage, name) == []
    pull_point(sweep, point, str(storage), str(tmp_path / "third"))
    assert [row["event"] for row in events(storage, name)] == ["published"]
