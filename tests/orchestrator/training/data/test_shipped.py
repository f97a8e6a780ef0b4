"""Data sets that torchvision reads: small files of its layouts, read by torchvision itself.

Its checksums are of the whole data sets, so they are left out here.
"""

import pickle
import struct

import numpy as np
import pytest
import torch
from scipy.io import savemat

from orchestrator.errors import ConfigError
from orchestrator.training.data.loading import load_data
from orchestrator.training.data.vision import torchvision_datasets

PIXELS = np.random.default_rng(1).integers(0, 256, (2, 60, 32, 32, 3), dtype=np.uint8)


def test_svhn(configured, tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_datasets().svhn, "check_integrity", lambda *_: True)
    labels = np.arange(60) % 10 + 1  # in these files 10 is the digit 0
    for part, images in zip(("train", "test"), PIXELS, strict=True):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None]})
    config = configured("data=svhn", f"data.root={tmp_path}").data
    data = load_data(config)
    assert data.class_names == tuple("0123456789")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [48, 12, 60]
    assert torch.equal(data.test.images, torch.from_numpy(PIXELS[1].transpose(0, 3, 1, 2)))
    assert data.test.labels.tolist() == [(row % 10 + 1) % 10 for row in range(60)]
    assert (config.crop, config.flip) == (4, False)


def test_mnist(configured, tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_datasets().mnist, "check_integrity", lambda *_: True)
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, images in zip(("train", "t10k"), PIXELS[..., 0], strict=True):
        content = struct.pack(">4i", 2051, 60, 32, 32) + images.tobytes()
        (folder / f"{name}-images-idx3-ubyte").write_bytes(content)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2i", 2049, 60) + bytes(i % 10 for i in range(60))
        )
    config = configured("data=mnist", f"data.root={tmp_path}").data
    data = load_data(config)
    assert data.class_names == tuple("0123456789")
    assert torch.equal(data.test.images[:, 0], torch.from_numpy(PIXELS[1, ..., 0]))
    assert data.test.labels.tolist() == [row % 10 for row in range(60)]
    assert not config.flip


def test_cifar100_through_torchvision(configured, tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_datasets().cifar, "check_integrity", lambda *_: True)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    names = [f"class {number:02}" for number in range(100)]
    pixels = np.random.default_rng(1).integers(0, 256, (2, 300, 3072), dtype=np.uint8)
    for name, images in zip(("train", "test"), pixels, strict=True):
        (folder / name).write_bytes(pickle.dumps({"data": images, "fine_labels": [row % 100 for row in range(300)]}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    data = load_data(configured("data=cifar100", f"data.root={tmp_path}", "data.validation_fraction=0.34").data)
    assert data.class_names == tuple(names)
    assert len(data.train) + len(data.validation) == len(data.test) == 300
    assert torch.equal(data.test.images[3], torch.from_numpy(pixels[1, 3].reshape(3, 32, 32)))
    assert data.test.labels[205] == 5


def test_cifar100_as_the_table_that_is_there(configured, data_dir):
    if not (data_dir / "cifar100").is_dir():
        pytest.skip("no CIFAR-100 in MODA_DATA_DIR")
    config = configured("data=cifar100", "data.limit=1000", "data.test_limit=500").data
    data = load_data(config)
    assert len(data.class_names) == 100
    assert data.class_names[:3] == ("apple", "aquarium_fish", "baby")
    assert torch.bincount(data.train.labels).tolist() == [8] * 100
    assert torch.bincount(data.test.labels).tolist() == [5] * 100
    assert data.train.shape == (3, 32, 32)
    assert (config.crop, config.flip) == (4, True)


@pytest.mark.parametrize("name", ["cifar100", "mnist", "svhn"])
def test_what_is_not_there_names_the_remedy(configured, tmp_path, name):
    with pytest.raises(ConfigError, match=rf"^data\.name={name}: not found under data\.root={tmp_path}.*download=true"):
        load_data(configured(f"data={name}", f"data.root={tmp_path}").data)


def test_digits_are_not_mirrored(configured):
    flips = {name: configured(f"data={name}").data.flip for name in ("digits", "mnist", "svhn", "cifar10", "cifar100")}
    assert flips == {"digits": False, "mnist": False, "svhn": False, "cifar10": True, "cifar100": True}
