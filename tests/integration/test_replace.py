"""``moda replace`` on two module sets of a real sweep."""

import re

import pytest
import torch

from moda_core import RawImages, load_modules, replace_class, replacement_accuracy
from orchestrator.config.composing import load_config
from orchestrator.modules.pulling import pull_point
from orchestrator.results.records import read_sweep
from orchestrator.storage.delta import DeltaStore
from orchestrator.training.data.image_set import EVALUATION_BATCH
from orchestrator.training.data.loading import load_data
from tests.integration.sweeps import TINY, run_moda


@pytest.mark.slow
def test_a_class_of_one_published_set_from_another(swept, tmp_path):
    storage = swept[0]
    sweep = read_sweep(DeltaStore(str(storage)), "tiny")
    folders = []
    for number in (0, 1):  # the published coefficients, and standard training
        point = sweep.find(f"{number}/0.9/0")
        folders.append(pull_point(sweep, point, str(storage), str(tmp_path / str(number))).folder)
    done = run_moda("replace", *map(str, folders), "--class", "8", storage=storage)
    assert done.returncode == 0, done.stderr
    assert "note:" not in done.stdout

    data = load_data(load_config(TINY).data)
    weak, strong = RawImages(load_modules(folders[0])), RawImages(load_modules(folders[1], ["8"]))
    train, test = (
        list(zip(one.images.split(EVALUATION_BATCH), one.labels.split(EVALUATION_BATCH), strict=True))
        for one in (data.train, data.test)
    )
    found = replacement_accuracy(replace_class(weak, strong, train, class_id=8, num_classes=10), test)
    own = weak(data.test.images).argmax(1)[data.test.labels == 8] == 8
    assert found.before.target == pytest.approx(own.double().mean().item())
    assert found.target_images == len(own) == torch.bincount(data.test.labels)[8]
    for name, one in (("weak", found.before), ("replaced", found.replaced), ("control", found.control)):
        (row,) = re.findall(rf"^{name} +\d.*", done.stdout, re.M)
        numbers = [float(cell) for cell in row.split()[1:]]
        if name == "weak":
            numbers = [*numbers[:1], 0.0, *numbers[1:3], 0.0, *numbers[3:]]
        expected = [one.target, one.target - found.before.target, found.target_images / 100]
        expected += [one.others, one.others - found.before.others, found.other_images / 100]
        assert numbers == pytest.approx([100 * value for value in expected], abs=0.0501), name
