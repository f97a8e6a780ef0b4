"""Which units each class keeps, read from a module set's files as they are written."""

import dataclasses

import numpy as np
import pytest

from moda_core import load_modules
from orchestrator.results.kept_units import read_kept_units
from orchestrator.results.per_class import SweepClasses
from orchestrator.results.records import read_sweep
from orchestrator.storage import WEIGHTS, set_file
from orchestrator.storage.delta import DeltaStore
from orchestrator.storage.files import Files
from orchestrator.views.page import render_report
from orchestrator.views.per_class import class_sections
from tests.integration.sweeps import call_moda
from tests.older_storage import unpack_older_storage


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A storage with the set of a sweep's best point, its files, and the sweep."""
    unpack_older_storage(tmp_path, monkeypatch)
    root = tmp_path / "storage"
    done = call_moda("pull", "sweep:first/best", "--to", str(tmp_path / "set"), storage=root)
    assert done.returncode == 0, done.stderr
    return tmp_path / "set", Files(str(root)), read_sweep(DeltaStore(str(root)), "first")


def test_they_are_the_set_s(published):
    folder, files, sweep = published
    units = next(each for each in read_kept_units(sweep, files) if each.point == sweep.find("best").label)
    module_set = load_modules(folder)
    assert list(units.class_names) == module_set.class_names
    counts = units.all_CN.sum(1)
    assert all(0 < count <= units.all_CN.shape[1] for count in counts)
    one, other = units.all_CN[3], units.all_CN[8]
    assert units.overlaps_CC[3, 8] == pytest.approx((one & other).sum() / (one | other).sum())
    assert np.diag(units.overlaps_CC) == pytest.approx(1)
    (section,) = class_sections(sweep, SweepClasses(), [units])
    largest = units.class_names[int(counts.argmax())]
    assert section["lines"][0].startswith(
        f"Class {largest} keeps most: {counts.max()} of {units.all_CN.shape[1]} units"
    )
    assert [row.cells[1] for row in section["rows"]] == [str(count) for count in counts]
    page = render_report(sweep, kept=[units])
    assert f"<details data-classes='{units.point}' open>" in page
    assert page.count("--share: 100%") == (np.rint(100 * units.overlaps_CC) == 100).sum() >= len(units.class_names)


def test_a_set_that_cannot_be_read_is_said(published):
    _, files, sweep = published
    name = sweep.find("best").own.set_name
    files.write(set_file(name, WEIGHTS), b"no tensors")
    found = {units.point: units.why_not for units in read_kept_units(sweep, files)}
    assert f"module set {name} cannot be read" in found[sweep.find("best").label]
    sections = class_sections(sweep, SweepClasses(), read_kept_units(sweep, files))
    (said,) = [line for section in sections for line in section["lines"] if "cannot be read" in line]
    assert said in render_report(sweep, kept=read_kept_units(sweep, files))


def test_without_published_sets_there_are_none(published):
    _, files, sweep = published
    assert read_kept_units(dataclasses.replace(sweep, points=[]), files) == []
