"""Images that cannot be read: refused by name, or left out and counted; and what a summary says of all images."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator.config.composing import load_config
from orchestrator.config.data_section import DataConfig
from orchestrator.config.identities import identity
from orchestrator.errors import ConfigError
from orchestrator.training.data.loading import load_data
from orchestrator.training.data.mapped import MappedImages
from orchestrator.training.fingerprinting import fingerprints
from tests.orchestrator.training.data.encoding import exif, flat_jpeg, png, saved

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 12, 10, 3), dtype=np.uint8)
WHOLE = [saved(image, "PNG") for image in PIXELS]
TRUNCATED = saved(PIXELS[0].repeat(9, 0).repeat(9, 1), "JPEG")[:-300]
BROKEN = {
    "train/cat/01.png": b"junk",
    "train/cat/09.jpg": TRUNCATED,
    "train/dog/02.png": b"",
    "test/dog/34.png": saved(np.zeros((4, 4), np.uint16), "PNG"),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MODA_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path):
    """Two classes, 30 images to train and 10 to test."""
    for number, image in enumerate(WHOLE):
        part, label = "train" if number < 30 else "test", "cat" if number % 2 else "dog"
        path = tmp_path / "photos" / part / label / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    return tmp_path / "photos"


def config(folder, **more):
    return DataConfig(name="folder", path=str(folder), resize=8, **more)


def break_some(folder):
    for name, data in BROKEN.items():
        (folder / name).with_suffix(".png").unlink()
        (folder / name).write_bytes(data)


def test_the_default_refuses_by_name(photos):
    break_some(photos)
    with pytest.raises(
        ConfigError, match=r"^data\.path: 'cat/01\.png' is not a readable image: it begins with"
    ) as caught:
        load_data(config(photos))
    assert str(caught.value).endswith("; mend it, or leave such images out with data.unreadable=skip")


@pytest.mark.parametrize("fit", ["stretch", "random"])
def test_others_are_what_they_are_with_whole_ones(photos, fit):
    more = {} if fit == "stretch" else {"fit": fit, "image_size": 6}
    whole = load_data(config(photos, **more))
    break_some(photos)
    skipping = {kept: load_data(config(photos, unreadable="skip", kept_in=kept, **more)) for kept in ("memory", "file")}
    assert isinstance(skipping["file"].train.images, MappedImages)
    again = load_data(config(photos, unreadable="skip", kept_in="file", **more))  # of the file that is there
    for data in (*skipping.values(), again):
        assert data.contents == skipping["memory"].contents
        assert data.contents["skipped"] == "4"
        assert data.summary == skipping["memory"].summary
        left = [len(part) for part in (data.train, data.validation, data.test)]
        assert sum(left) == 36
        assert left[2] == 9
        for part, name in ((data.train, "train"), (data.validation, "validation"), (data.test, "test")):
            assert_within(part, getattr(whole, name))
    (line,) = [line for line in again.summary if line.startswith("skipped")]
    assert line.startswith("skipped    4 of 40 images cannot be read; the first: data.path: 'cat/0")
    assert "data.unreadable" not in line


def assert_within(part, whole):
    """The images of a part are those of the whole one in their order, without some."""
    pixels, places = [image.tobytes() for image in whole.images[:].numpy()], []
    for image, label in zip(part.images[:].numpy(), part.labels.tolist(), strict=True):
        places.append(pixels.index(image.tobytes()))
        assert whole.labels[places[-1]] == label
    assert places == sorted(places)


def test_a_file_that_lacks_images_is_not_taken_where_they_are_refused(photos):
    break_some(photos)
    load_data(config(photos, unreadable="skip", kept_in="file"))
    with pytest.raises(ConfigError, match="is not a readable image"):
        load_data(config(photos, kept_in="file"))


def test_a_class_of_which_nothing_is_left_and_a_set_of_which_nothing_is(photos):
    for file in (photos / "test" / "cat").iterdir():
        file.write_bytes(b"junk")
    with pytest.raises(ConfigError, match=r"classes \['cat'\] have no test samples"):
        load_data(config(photos, unreadable="skip"))
    for file in photos.rglob("*.png"):
        file.write_bytes(b"junk")
    with pytest.raises(ConfigError, match=r"^data\.path: none of 30 images can be read; the first: data\.path: 'cat/"):
        load_data(config(photos, unreadable="skip"))


def test_how_many_are_left_out_is_a_part_of_what_a_sweep_is(photos):
    asked = load_config(
        [f"data.path={photos}", "data=folder", "data.resize=8", "data.unreadable=skip", "tracking=none"]
    )
    refusing = dataclasses.replace(asked, data=dataclasses.replace(asked.data, unreadable="refuse"))
    whole = {
        each.data.unreadable: identity(each, fingerprints(each, load_data(each.data))) for each in (asked, refusing)
    }
    assert whole["skip"] == whole["refuse"]
    (photos / "train" / "cat" / "01.png").write_bytes(b"junk")
    (photos / "train" / "dog" / "02.png").unlink()
    found = identity(asked, fingerprints(asked, load_data(asked.data)))["data"]
    assert found["skipped"] == "1"
    assert found["content"] != whole["skip"]["data"]["content"]


def test_data_sets_by_name_have_no_unreadable_images():
    with pytest.raises(ConfigError, match=r"data\.unreadable=skip is for data=folder and data=table"):
        load_config(["data=digits", "data.unreadable=skip"])


def test_images_from_anywhere_are_summed_up(tmp_path):
    grey, colour = PIXELS[0, :, :, 0], Image.fromarray(PIXELS[0])
    palette = colour.convert("P")
    clear = colour.convert("RGBA")
    clear.putalpha(128)
    odd = {
        "a/grey.png": saved(grey, "PNG"),
        "a/one.png": saved(Image.fromarray(grey).convert("1"), "PNG"),
        "a/cmyk.jpg": flat_jpeg([255, 0, 255, 255]),
        "a/palette.gif": saved(palette, "GIF"),
        "a/pixel.bmp": saved(PIXELS[0][:1, :1], "BMP"),
        "b/clear.png": saved(clear, "PNG"),
        "b/turned.jpg": saved(colour, "JPEG", exif=b"Exif\0\0" + exif(6)),
        "b/deep.png": png(2, 2, 16, 2, [bytes(12)] * 2),
        "b/wide.webp": saved(PIXELS[0].repeat(5, 1), "WEBP"),
        "b/tall.tif": saved(PIXELS[0].repeat(3, 0), "TIFF"),
    }
    for name, data in odd.items():
        for part in ("train", "test"):
            path = tmp_path / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    data = load_data(config(tmp_path, validation_fraction=0.2))
    assert data.summary == (
        "data       folder: 2 classes; 8 images to train, 2 for validation, 10 to test; 8 x 8 pixels, colour",
        "classes    4 training images each",
        "stored as  8 PNG, 4 JPEG, 2 BMP, 2 GIF, 2 TIFF, 2 WEBP; 1 x 1 to 50 x 36 pixels",
        "converted  4 grey to colour, 2 CMYK to colour, 2 from a palette, 2 transparent on white, 2 turned upright by"
        " EXIF; data.fit=stretch to 8 x 8",
    )
    grey = load_data(config(tmp_path, channels=1, kept_in="file"))
    assert grey.summary[0].endswith("8 x 8 pixels, grey")
    assert "14 colour to grey, 2 from a palette" in grey.summary[3]


def test_uneven_classes_are_remarked_upon(tmp_path):
    for number, image in enumerate(WHOLE):
        path = tmp_path / ("many" if number % 5 else "few") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(image)
    data = load_data(config(tmp_path))
    counts = torch.bincount(data.train.labels).tolist()
    assert data.summary[1] == (
        f"classes    {counts[0]} ('few') to {counts[1]} ('many') training images each: uneven, and an accuracy counts"
        " images, not classes"
    )
    digits = load_data(load_config(["data=digits"]).data)
    assert digits.summary[0].startswith(
        "data       digits: 10 classes; 1,120 images to train, 280 for validation, 397 to"
    )
    assert len(digits.summary) == 2
