"""Image files classified at the command line by the preprocessing that a set records."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from moda_core import build_model, save_modules, unit_layers
from moda_core.sets import Preprocessing
from orchestrator.cli.command_line import main
from orchestrator.training.data.loading import load_data

SIDE = 24


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images of two classes: upright and lying, grey, transparent, turned by a camera."""
    folder, generator = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 4)):
        for place, name in enumerate(["cat", "dog"]):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                height, width = (40, 30) if (number + place) % 2 else (28, 51)
                image = Image.fromarray(generator.integers(256, size=(height, width, 3), dtype=np.uint8))
                mode = ("RGB", "L", "RGBA")[number % 3]
                exif = Image.Exif()
                exif[274] = 1 + number % 8  # the orientation
                image = image.convert(mode)
                if mode == "RGBA":
                    image.putalpha(Image.fromarray(generator.integers(256, size=(height, width), dtype=np.uint8)))
                image.save(folder / split / name / f"{number}.png", exif=exif)
    return folder


@pytest.mark.parametrize(
    "overrides",
    [
        (f"data.resize={SIDE}",),
        ("data.resize=32", "data.fit=centre", f"data.image_size={SIDE}"),
        ("data.resize=32", "data.fit=random_resized", f"data.image_size={SIDE}", "data.background=black"),
        ("data.resize=32", "data.fit=random", f"data.image_size={SIDE}", "data.channels=1"),
    ],
)
def test_a_module_sees_a_file_as_the_test_set_has_it(photos, configured, overrides):
    config = configured("data=folder", f"data.path={photos}", "data.validation_fraction=0.34", *overrides)
    data = load_data(config.data)
    recipe = Preprocessing.of({**data.preprocessing(), **config.data.decoding})
    files = sorted((photos / "test").rglob("*.png"))
    assert torch.equal(recipe.pixels(files), data.test.images)
    assert torch.equal(recipe.normalise(recipe.pixels(files)), data.test[torch.arange(len(files))])


@pytest.fixture(scope="module")
def module_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "set"
    torch.manual_seed(0)
    network = build_model("vgg", num_classes=2, image_size=SIDE, in_channels=3, widths=[8, "M"], hidden=[8]).eval()
    images = torch.randn(2, 3, SIDE, SIDE)
    layers = unit_layers(network, images)
    masks = [torch.ones(2, width, dtype=torch.bool) for width in layers.widths]
    recipe = {"shape": [3, SIDE, SIDE], "mean": [0.5] * 3, "std": [0.25] * 3}
    more = {"class_names": ["cat", "dog"], "preprocessing": recipe, "rejection": {"least_logits": [1000, 1000]}}
    save_modules(folder, network, layers, masks, images, **more)
    return str(folder)


def test_files_and_folders_are_classified_and_unreadable_ones_named(photos, module_set, tmp_path, capsys):
    (tmp_path / "junk.jpg").write_bytes(b"junk")
    (tmp_path / ".hidden.jpg").write_bytes(b"junk")
    status = main(["classify", module_set, str(photos / "test"), str(tmp_path), "--json"])
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert [row["image"] for row in rows] == sorted(map(str, (photos / "test").rglob("*.png")))
    assert {row["class"] for row in rows} <= {"cat", "dog"}
    assert all(0.5 <= row["probability"] <= 1 for row in rows)
    assert printed.err.splitlines() == [f"{tmp_path / 'junk.jpg'} is not a readable image: {junk()}"]
    assert status == 1


def junk():
    return "it begins with b'junk'; read are AVIF, BMP, GIF, JPEG, JPEG2000, PNG, PPM, TIFF, WEBP"


def test_an_image_may_be_none_of_the_classes(photos, module_set, capsys):
    file = str(photos / "test" / "cat" / "0.png")
    words = ["classify", module_set, file, "--classes", "dog", "--format", "csv"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == ["image,class,probability", f"{file},dog,1.0"]
    assert main([*words, "--none-of-these"]) == 0
    assert capsys.readouterr().out.splitlines() == ["image,class,probability", f"{file},,"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["{set}", "{empty}"], "is a folder without files"),
        (["{set}", "{file}", "--classes", "cow"], "classes 'cow' are not in this module set"),
        (["{empty}", "{file}"], "holds no module set"),
        (["{set}", "{file}", "--json", "--format", "csv"], "--json --format csv: give one of them"),
        (["{set}", "{file}", "--format", "xml"], "--format xml: known: arrow, csv, json, table"),
    ],
)
def test_wrong_words_are_one_line(photos, module_set, tmp_path, capsys, words, expected):
    places = {"set": module_set, "empty": tmp_path, "file": photos / "test" / "cat" / "0.png"}
    assert main(["classify", *(word.format(**places) for word in words)]) in (1, 2)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert expected in line
