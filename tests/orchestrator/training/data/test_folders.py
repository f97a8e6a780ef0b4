"""Folders of images as people have them."""

import os
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from orchestrator.config.data_section import DataConfig
from orchestrator.training.data.loading import load_data
from tests.orchestrator.training.data.encoding import saved
from tests.orchestrator.training.data.refused import refusal_of

CLASSES = ("cat", "garbage truck", "ümläut")


def pixels_of(number, width=9, height=9):
    """One colour, by which an image is known again."""
    return np.full((height, width, 3), number, np.uint8)


def fill(folder, numbers, suffix=".png", kind="PNG"):
    """Images of three classes in turn, each of a colour of its own."""
    for number in numbers:
        path = folder / CLASSES[number % 3] / f"{number:03}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(pixels_of(number), kind))


def config(path, **more):
    return DataConfig(name="folder", path=str(path), **more)


def colours(images):
    """The colour of each image, and its class by that."""
    found = images.images[:, 0, 0, 0].tolist()
    assert images.labels.tolist() == [number % 3 for number in found]
    return sorted(found)


def refusal(path, **more):
    return refusal_of(config(path, **more))


@pytest.mark.parametrize("test", ["test", "val"])
def test_parts_for_training_and_test(tmp_path, test):
    fill(tmp_path / "train", range(60))
    fill(tmp_path / test, range(60, 90))
    data = load_data(config(tmp_path))
    assert data.class_names == CLASSES
    assert sorted(colours(data.train) + colours(data.validation)) == list(range(60))
    assert colours(data.test) == list(range(60, 90))
    assert set(data.contents) == {"content", "test_content"}
    fill(tmp_path / "other", range(90, 99))
    assert colours(load_data(config(tmp_path, test_path=str(tmp_path / "other"))).test) == list(range(90, 99))
    assert colours(load_data(config(tmp_path.name, root=str(tmp_path.parent))).test) == list(range(60, 90))


def test_test_comes_before_val(tmp_path):
    for name, numbers in (("train", range(60)), ("val", range(60, 75)), ("test", range(75, 90))):
        fill(tmp_path / name, numbers)
    assert colours(load_data(config(tmp_path)).test) == list(range(75, 90))


@pytest.mark.parametrize("folder", ["", "train"])
def test_a_fifth_is_held_out_of_a_folder_without_test_images(tmp_path, folder):
    fill(tmp_path / folder, range(60))
    data = load_data(config(tmp_path))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [38, 10, 12]
    assert torch.bincount(data.test.labels).tolist() == [4, 4, 4]
    assert sorted(colours(data.train) + colours(data.validation) + colours(data.test)) == list(range(60))


def test_it_has_the_contents_of_the_table_that_is_made_of_it(tmp_path):
    fill(tmp_path / "photos", range(60))
    files = sorted((tmp_path / "photos").glob("*/*"))
    images, labels = [path.read_bytes() for path in files], [path.parent.name for path in files]
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "photos.parquet")
    folder = load_data(config(tmp_path / "photos"))
    table = load_data(DataConfig(name="table", path=str(tmp_path / "photos.parquet")))
    assert folder.contents == table.contents
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(folder, name).images, getattr(table, name).images)
    (tmp_path / "photos" / "cat" / "000.png").write_bytes(saved(pixels_of(3), "PNG"))
    assert load_data(config(tmp_path / "photos")).contents != table.contents


def test_files_of_any_name_kind_and_mode(tmp_path):
    fill(tmp_path, range(60))
    image = Image.fromarray(pixels_of(200))
    odd = {
        "a.jpg": saved(image, "JPEG", quality=100),
        "a.JPEG": saved(image, "JPEG", quality=100),
        "a.webp": saved(image, "WEBP", lossless=True),
        "a.tif": saved(image, "TIFF"),
        "a.ppm": saved(image, "PPM"),
        "a.tga": saved(image, "TGA"),
        "a.ico": saved(image, "ICO", sizes=[(9, 9)]),
        "a.pcx": saved(image, "PCX"),
        "without": saved(image, "BMP"),
        "wrong.gif": saved(image, "PNG"),
        "deep/er/a.png": saved(image, "PNG"),
        "grey.png": saved(image.convert("L"), "PNG"),
        "one bit.png": saved(Image.new("1", (9, 9), 1), "PNG"),
        "palette.png": saved(image.convert("P"), "PNG"),
        "alpha.png": saved(image.convert("RGBA"), "PNG"),
        "grey alpha.png": saved(image.convert("LA"), "PNG"),
        "ink.jpg": saved(image.convert("CMYK"), "JPEG", quality=100),
    }
    for name, data in odd.items():
        path = tmp_path / "cat" / "odd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for name in (".hidden.png", "Thumbs.db", "__MACOSX/a.png", ".git/a.png", "desktop.ini"):
        path = tmp_path / "cat" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"junk")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    data = load_data(config(tmp_path, classes=("cat", "ümläut")))
    parts = (data.train, data.validation, data.test)
    found = torch.cat([part.images for part in parts]).float().mean((1, 2, 3))
    assert len(found) == 40 + len(odd)
    assert (found > 195).sum() == len(odd)
    assert ((found > 195) & (found < 205)).sum() == len(odd) - 1
    assert data.class_names == ("cat", "ümläut")


def test_only_the_classes_that_are_asked_for_are_read(tmp_path):
    fill(tmp_path, range(60))
    chosen = {"classes": ("ümläut", "cat")}
    data = load_data(config(tmp_path, **chosen))
    assert data.class_names == ("ümläut", "cat")
    assert {number % 3 for number in data.test.images[:, 0, 0, 0].tolist()} == {0, 2}
    broken = tmp_path / "garbage truck" / "001.png"
    broken.write_bytes(b"junk")
    assert load_data(config(tmp_path, **chosen)).contents == data.contents
    message = refusal(tmp_path, validation_fraction=0.5)
    assert message.startswith("data.path: 'garbage truck/001.png' is not a readable image: it begins with b'junk'")
    assert load_data(config(tmp_path, classes=("0", "2"))).class_names == ("cat", "ümläut")  # by number
    assert "data.classes names ['dog'], which the data does not have" in refusal(tmp_path, classes=("cat", "dog"))


def test_images_of_any_size_are_made_square(tmp_path):
    sizes = [(30, 20), (20, 30), (20, 20), (21, 64), (64, 21)] * 12
    for number, (width, height) in enumerate(sizes):
        path = tmp_path / CLASSES[number % 3] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(saved(pixels_of(number, width, height), "PNG"))
    message = refusal(tmp_path)
    assert re.search(
        r"data.path: '[^']*png' is \d+ x \d+, '[^']*png' is \d+ x \d+; images must be of one size", message
    )
    for fit, side in (("stretch", 16), ("centre", 16), ("centre", 12)):
        more = {} if fit == "stretch" else {"image_size": side}
        data = load_data(config(tmp_path, resize=16, fit=fit, **more))
        assert {part.images.shape[1:] for part in (data.train, data.validation, data.test)} == {(3, side, side)}
        assert colours(data.test) == sorted(data.test.images[:, 2, 5, 7].tolist())
    data = load_data(config(tmp_path, resize=16, fit="random", image_size=12))
    assert data.train.images.shape[1:] == (3, 16, 16)
    assert data.test.images.shape[1:] == data.validation.images.shape[1:] == (3, 12, 12)
    assert data.image_size == 12
    assert data.preprocessing()["shape"] == [3, 12, 12]


def test_outside_training_the_middle_is_seen(tmp_path):
    for number in range(30):
        path = tmp_path / CLASSES[number % 3] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        draw = np.random.default_rng(number).integers(0, 256, (20, 34, 3), dtype=np.uint8)
        path.write_bytes(saved(draw, "PNG"))
    more = {"resize": 16, "image_size": 11, "validation_fraction": 0.0, "mean": (0.0,), "std": (1.0,)}
    index = torch.arange(24)
    centre = load_data(config(tmp_path, fit="centre", **more))
    for fit in ("random", "random_resized"):
        data = load_data(config(tmp_path, fit=fit, **more))
        assert torch.equal(data.train[index], centre.train[index])
        assert torch.equal(data.test.images, centre.test.images)
        assert torch.equal(data.train.middle(data.train.images), centre.train.images)


def test_what_is_no_folder_of_classes_is_refused(tmp_path):
    assert "is not a folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "a.parquet").write_bytes(b"")
    assert "a file of many images is read by data=table" in refusal(tmp_path / "a.parquet")
    assert "has no folder for each class; sort its images as <class>/<image>" in refusal(tmp_path)
    (tmp_path / "cat").mkdir()
    assert "the folders of its classes are empty; put images into them" in refusal(tmp_path)
    fill(tmp_path, range(60))
    (tmp_path / "dog").mkdir()
    assert "classes ['dog'] have no training samples" in refusal(tmp_path)
    (tmp_path / "u\u0308ml\u00e4ut").mkdir()
    assert "are the same name in two Unicode forms; normalise them" in refusal(tmp_path)
    fill(tmp_path / "parts" / "train", range(60))
    (tmp_path / "parts" / "test").mkdir()
    (tmp_path / "parts" / "test" / "a.png").write_bytes(saved(pixels_of(1), "PNG"))
    message = refusal(tmp_path / "parts")
    assert message.startswith("data.path='")
    assert "test' has no folder for each class" in message


def test_links_to_classes_are_followed_and_broken_ones_named(tmp_path):
    fill(tmp_path / "all", range(60))
    (tmp_path / "some").mkdir()
    for name in CLASSES[:2]:
        (tmp_path / "some" / name).symlink_to(tmp_path / "all" / name)
    assert load_data(config(tmp_path / "some")).class_names == CLASSES[:2]
    os.symlink(tmp_path / "nowhere", tmp_path / "all" / "cat" / "a.png")
    message = refusal(tmp_path / "all")
    assert message.startswith("data.path: 'cat/a.png' cannot be read: ")
    assert message.endswith("; mend it, or leave such images out with data.unreadable=skip")


def test_programs_and_rare_formats_inside_are_not_opened(tmp_path):
    fill(tmp_path, range(60))
    (tmp_path / "cat" / "000.eps").write_bytes(saved(pixels_of(1), "EPS"))
    assert "'cat/000.eps' is not a readable image: it begins with b'%!PS" in refusal(tmp_path, limit=None)


def test_photographs(data_dir):
    if not (data_dir / "imagenette_small").is_dir():
        pytest.skip("no photographs in MODA_DATA_DIR")
    more = {"resize": 36, "fit": "random_resized", "image_size": 32, "root": str(data_dir)}
    data = load_data(config("imagenette_small", **more))
    assert len(data.class_names) == 10
    assert data.class_names[0] == "n01440764"
    assert torch.bincount(data.test.labels).tolist() == [20] * 10
    assert torch.bincount(torch.cat([data.train.labels, data.validation.labels])).tolist() == [60] * 10
    grey = (data.train.images.float().std(1) < 1).all((1, 2))
    assert 5 < int(grey.sum()) <= 18  # two of each class but one, a fifth of them held out
