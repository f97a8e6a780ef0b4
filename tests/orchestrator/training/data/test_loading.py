"""Data sets and tables: what is loaded, what is refused before training starts."""

import dataclasses
import io
import pickle
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from orchestrator.config.config import parse_config, to_plain
from orchestrator.config.identities import difference, identity
from orchestrator.errors import ConfigError
from orchestrator.training.data import loading
from orchestrator.training.data.loading import load_data
from orchestrator.training.data.vision import torchvision_datasets

# The header of a PNG of 60,000 x 60,000.
BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
BOMB += zlib.crc32(BOMB[12:]).to_bytes(4, "big") + b"\0\0\0\0IDAT"


def encoded(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (60, 9, 9, 3), dtype=np.uint8)


@pytest.fixture
def table_config(configured, tmp_path):
    def write(table, *overrides, name="images.parquet"):
        path = tmp_path / name
        if path.suffix == ".parquet":
            pq.write_table(table, path)
        else:
            feather.write_feather(table, path, compression="uncompressed")
        return configured("data=table", f"data.path={path}", *overrides).data

    return write


def test_digits_are_split_by_class_and_never_overlap(configured):
    data = load_data(configured().data)
    assert [len(one) for one in (data.train, data.validation, data.test)] == [1120, 280, 397]
    for one in (data.train, data.validation, data.test):
        assert torch.bincount(one.labels, minlength=10).min() >= 0.08 * len(one)
    sets = [
        {bytes(image.numpy().tobytes()) for image in one.images} for one in (data.train, data.validation, data.test)
    ]
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]
    assert not sets[1] & sets[2]
    normalised = data.train[torch.arange(len(data.train))]
    assert normalised.mean().abs() < 1e-3
    assert (normalised.std() - 1).abs() < 1e-3


def test_without_validation_all_images_are_trained_on(configured):
    split, whole = (load_data(configured(f"data.validation_fraction={part}").data) for part in (0.2, 0))
    assert [len(one) for one in (whole.train, whole.validation, whole.test)] == [1400, 0, 397]
    assert torch.equal(whole.test.images, split.test.images)
    parts = torch.cat([split.train.images, split.validation.images])
    assert sorted(map(bytes, parts.numpy())) == sorted(map(bytes, whole.train.images.numpy()))
    assert whole.judged[0] == "test"
    assert split.judged[0] == "validation"
    assert len(whole.to(torch.device("cpu")).validation.images) == 0


def test_a_table_without_validation(table_config, pixels):
    table = pa.table({"image": [encoded(one) for one in pixels], "label": np.arange(60) % 3})
    data = load_data(table_config(table, "data.validation_fraction=0"))
    assert [len(one) for one in (data.train, data.validation, data.test)] == [48, 0, 12]
    assert data.validation.images.shape == (0, 3, 9, 9)


def test_images_are_normalised_by_the_constants_of_a_data_set(table_config, pixels):
    table = pa.table({"image": [encoded(one) for one in pixels], "label": np.arange(60) % 3})
    data = load_data(table_config(table, "data.normalisation=cifar10"))
    mean, std = ([0.4914, 0.4822, 0.4465], [0.2471, 0.2435, 0.2616])
    mean_3HW, std_3HW = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    expected = (data.train.images[:5].double() / 255 - mean_3HW) / std_3HW
    torch.testing.assert_close(data.train[torch.arange(5)].double(), expected, rtol=1e-5, atol=1e-5)
    assert (data.test.mean, data.validation.std) == (tuple(mean), tuple(std))
    with pytest.raises(ConfigError, match="its constants are of colour images, and these have 1 channel"):
        load_data(table_config(table, "data.normalisation=imagenet", "data.channels=1"))


def test_classes_are_renumbered_in_the_order_given(configured):
    data = load_data(configured("data.classes=[8,3]").data)
    whole = load_data(configured().data)
    assert data.class_names == ("8", "3")
    assert data.num_classes == 2
    assert len(data.test) == int(((whole.test.labels == 8) | (whole.test.labels == 3)).sum())


def test_fashion_mnist_through_torchvision(configured, data_dir):
    data = load_data(configured("data=fashion_mnist", "data.limit=1000", "data.test_limit=500").data)
    assert data.train.images.shape == (800, 1, 28, 28)
    assert len(data.validation) == 200
    assert torch.bincount(data.test.labels).tolist() == [50] * 10
    assert data.class_names[0] == "t-shirt-top"


def test_cifar10_as_a_table(configured, data_dir):
    data = load_data(configured("data=cifar10_table", "data.limit=500", "data.test_limit=200").data)
    assert data.train.images.shape == (400, 3, 32, 32)
    assert data.class_names[8] == "ship"
    assert torch.bincount(data.train.labels).tolist() == [40] * 10


def test_cifar10_through_torchvision(configured, tmp_path, monkeypatch):
    """A small folder of torchvision's layout, read by torchvision itself (its checksums are of the whole data set)."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    pixels = np.random.default_rng(1).integers(0, 256, (6, 40, 3072), dtype=np.uint8)
    for index, name in enumerate([f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]):
        batch = {"data": pixels[index], "labels": [row % 10 for row in range(40)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    cifar = torchvision_datasets().cifar
    monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)
    data = load_data(configured("data=cifar10", f"data.root={tmp_path}").data)
    assert data.class_names == tuple(names)
    assert [len(one) for one in (data.train, data.validation, data.test)] == [160, 40, 40]
    assert torch.equal(data.test.images[3], torch.from_numpy(pixels[5, 3].reshape(3, 32, 32)))
    assert data.test.labels[3] == 3


def test_missing_files_name_the_remedy(configured, tmp_path):
    for name in ("fashion_mnist", "cifar10"):
        with pytest.raises(ConfigError, match=r"not found under data.root=.*data.download=true"):
            load_data(configured(f"data={name}", f"data.root={tmp_path}").data)
    with pytest.raises(ConfigError, match="matches no file"):
        load_data(configured("data=table", "data.path=nothing-*.parquet").data)


@pytest.mark.parametrize("form", ["binary", "struct", "large", "feather", "names", "dictionary"])
def test_tables_in_every_form(pixels, table_config, form):
    images = [encoded(one) for one in pixels]
    labels = pa.array([index % 3 for index in range(60)])
    column = pa.array(images, pa.large_binary() if form == "large" else pa.binary())
    if form == "struct":
        column = pa.array([{"bytes": one, "path": None} for one in images])
    if form in ("names", "dictionary"):
        labels = pa.array([["cat", "ant", "bee"][index % 3] for index in range(60)])
        labels = labels.dictionary_encode() if form == "dictionary" else labels
    name = "images.arrow" if form == "feather" else "images.parquet"
    data = load_data(table_config(pa.table({"image": column, "label": labels}), name=name))
    assert data.class_names == (("ant", "bee", "cat") if form in ("names", "dictionary") else ("0", "1", "2"))
    assert [len(one) for one in (data.train, data.validation, data.test)] == [38, 10, 12]
    found = {one.numpy().tobytes() for one in torch.cat([data.train.images, data.validation.images, data.test.images])}
    assert found == {one.transpose(2, 0, 1).tobytes() for one in pixels}


def test_grey_resize_and_names(pixels, table_config):
    table = pa.table({"picture": [encoded(one) for one in pixels], "kind": [index % 2 for index in range(60)]})
    overrides = ["data.image_column=picture", "data.label_column=kind", "data.channels=1", "data.resize=4"]
    data = load_data(table_config(table, *overrides, "data.class_names=[no,yes]"))
    assert data.train.images.shape[1:] == (1, 4, 4)
    assert data.class_names == ("no", "yes")


def test_bad_tables_are_refused(pixels, table_config):
    images = [encoded(one) for one in pixels]
    labels = [index % 3 for index in range(60)]
    good = {"image": images, "label": labels}
    other_size = [*images[:-1], encoded(np.zeros((5, 5, 3), np.uint8))]
    wide = [encoded(np.zeros((5, 6, 3), np.uint8) + index) for index in range(60)]
    wrong = [
        ({**good, "image": [b"junk", *images[1:]]}, "row 0 is not a readable image"),
        ({**good, "image": [None, *images[1:]]}, "row 0 is not a readable image"),
        ({**good, "image": [images[0][:40], *images[1:]]}, "row 0 is not a readable image"),
        ({**good, "image": other_size}, r"is 5 x 5, .* set data\.resize=9"),
        ({**good, "image": wide}, "not square"),
        ({**good, "image": labels}, "encoded image bytes are needed"),
        ({**good, "label": [None, *labels[1:]]}, "1 empty values"),
        ({**good, "label": [float(one) for one in labels]}, "whole numbers or names are needed"),
        ({**good, "label": [one - 1 for one in labels]}, "labels run from -1"),
        ({**good, "label": [7 if index == 0 else 0 for index in range(60)]}, "cannot be held out|no training samples"),
        ({**good, "image": [encoded(pixels[0, :, :, 0].astype(np.uint16) * 200), *images[1:]]}, "more than 8 bits"),
        ({**good, "image": [BOMB, *images[1:]]}, "row 0 is not a readable image|at most 4096"),
        ({"image": images, "other": labels}, r"data.label_column='label' is not a column.*\['image', 'other'\]"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "has no rows"),
    ]
    for table, message in wrong:
        with pytest.raises(ConfigError, match=message):
            load_data(table_config(pa.table(table)))


def test_a_class_without_training_samples_is_refused(pixels, table_config):
    table = pa.table({"image": [encoded(one) for one in pixels], "label": [index % 3 for index in range(60)]})
    with pytest.raises(ConfigError, match=r"classes \['d'\] have no training samples"):
        load_data(table_config(table, "data.class_names=[a,b,c,d]"))


def test_a_class_without_test_images_is_refused(pixels, table_config, tmp_path):
    table = pa.table({"image": [encoded(one) for one in pixels], "label": [index % 3 for index in range(60)]})
    pq.write_table(table.filter(pa.compute.equal(table["label"], 0)), tmp_path / "test.parquet")
    with pytest.raises(ConfigError, match=r"classes \['1', '2'\] have no test samples"):
        load_data(table_config(table, f"data.test_path={tmp_path}/test.parquet"))


def test_names_for_labels_that_are_names_are_refused(pixels, table_config):
    table = pa.table({"image": [encoded(one) for one in pixels], "label": ["ab"[index % 2] for index in range(60)]})
    with pytest.raises(ConfigError, match=r"data\.class_names is for labels that are whole numbers"):
        load_data(table_config(table, "data.class_names=[x,y]"))


def test_a_file_that_is_no_table_is_refused(configured, tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"not parquet")
    with pytest.raises(ConfigError, match="is not a Parquet or Arrow table"):
        load_data(configured("data=table", f"data.path={tmp_path}/x.parquet").data)


def test_the_same_seed_draws_the_same_images(configured):
    config = configured("data.limit=300").data
    first, again = load_data(config), load_data(config)
    other = load_data(dataclasses.replace(config, seed=1))
    assert torch.equal(first.train.images, again.train.images)
    assert not torch.equal(first.train.images, other.train.images)


def test_images_are_normalised_as_configured_in_every_split(configured):
    own = load_data(configured("data.limit=300").data)
    data = load_data(configured("data.limit=300", "data.mean=[0.25]", "data.std=[0.5]").data)
    for name in ("train", "validation", "test"):
        split, index = getattr(data, name), torch.arange(5)
        assert torch.equal(split.images, getattr(own, name).images)
        wanted = (split.images[:5].double() / 255 - 0.25) / 0.5
        assert torch.allclose(split[index].double(), wanted, atol=1e-6)
    assert data.preprocessing() == {"shape": [1, 8, 8], "mean": [0.25], "std": [0.5]}
    assert own.train.mean != data.train.mean


def test_statistics_of_many_images_are_counted(configured, pixels, table_config, monkeypatch):
    table = pa.table({"image": [encoded(one) for one in pixels], "label": [index % 3 for index in range(60)]})
    usual = load_data(table_config(table)).train
    monkeypatch.setattr(loading, "LARGE", 0)
    counted = load_data(table_config(table)).train
    assert counted.mean == pytest.approx(usual.mean, rel=1e-6)
    assert counted.std == pytest.approx(usual.std, rel=1e-6)
    scaled = usual.images.double() / 255
    assert counted.mean == pytest.approx(scaled.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert counted.std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist(), rel=1e-12)


def test_one_number_or_one_per_channel(pixels, table_config):
    table = pa.table({"image": [encoded(one) for one in pixels], "label": [index % 3 for index in range(60)]})
    data = load_data(table_config(table, "data.mean=[0,0.5,1]", "data.std=[1,1,0.5]"))
    assert (data.train.mean, data.train.std) == ((0.0, 0.5, 1.0), (1.0, 1.0, 0.5))
    data = load_data(table_config(table, "data.mean=[0.5]", "data.std=[0.25]"))
    assert (data.train.mean, data.train.std) == ((0.5,) * 3, (0.25,) * 3)
    with pytest.raises(
        ConfigError, match=r"data\.mean=\[0\.5, 0\.5\]: give 3 numbers, one per channel, or one for all"
    ):
        load_data(table_config(table, "data.mean=[0.5,0.5]", "data.std=[0.25]"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.mean=[0.5]"], "data.std=null: data.mean and data.std go together; set both"),
        (["data.std=[0.5]"], "data.mean=null: data.mean and data.std go together; set both"),
        (["data.mean=[123.7]", "data.std=[58.4]"], r"data.mean=\[123.7\]: .* from 0 to 255 by 255"),
        (["data.mean=[0.5]", "data.std=[58.4]"], r"data.std=\[58.4\]: .* from 0 to 255 by 255"),
        (["data.mean=[0.5]", "data.std=[0]"], r"data.std=\[0.0\]: must be within \(0, 1\]"),
        (["data.mean=[-0.1]", "data.std=[1]"], r"data.mean=\[-0.1\]: must be within \[0, 1\]"),
        (["data.mean=[]", "data.std=[]"], r"data.mean=\[\]: must be"),
        (["data.mean=0.5", "data.std=0.5"], r"data.mean=0.5 must be a list"),
        (["data.mean=[a]", "data.std=[1]"], r"data.mean\[0\]='a' must be of type float"),
        (["data.background=red"], "data.background='red' is not known; known: black, white"),
    ],
)
def test_normalisation_that_cannot_be_meant_is_refused(configured, overrides, message):
    with pytest.raises(ConfigError, match=message):
        configured(*overrides)


def test_keys_that_came_later_count_only_where_they_are_set(configured):
    """Older sweeps recorded no such keys, and are the same sweeps still."""
    recorded = {"name": "digits", "path": None, "test_path": None, "image_column": "image", "label_column": "label"}
    recorded |= {"class_names": None, "channels": 3, "resize": None, "classes": None, "limit": None}
    recorded |= {"test_limit": None, "validation_fraction": 0.2, "crop": 0, "flip": False, "seed": 0}
    config = configured()
    plain = to_plain(config)
    plain["data"] = {**recorded, "root": None, "download": False}
    assert identity(parse_config(plain))["data"] == identity(config)["data"] == recorded
    assert identity(configured("data.test_files=test-*"))["data"] == recorded  # the contents tell
    set_keys = configured("data.mean=[0.5]", "data.std=[1]", "data.background=black")
    added = {"mean": [0.5], "std": [1.0], "background": "black"}
    assert identity(set_keys)["data"] == {**recorded, **added}
    assert difference(identity(config), identity(set_keys)).startswith("data.background is 'white', not 'black'; ")
