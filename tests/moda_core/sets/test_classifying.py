"""Images of any kind and size, as a loaded module takes them."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from moda_core import ModuleSetError, build_model, load_modules, save_modules, slice_modules, unit_layers
from moda_core.sets import Preprocessing
from moda_core.sets.manifest import MANIFEST, parse_manifest
from moda_core.sets.preprocessing import BATCH

NAMES = ["0", "7", "cat"]
COLOUR = {"shape": [3, 12, 12], "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]}
LEAST = [-1000.0, 1000.0, -1000.0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A set of three classes, of which the second rejects every image."""
    folder = tmp_path_factory.mktemp("sets") / "set"
    torch.manual_seed(0)
    network = build_model("vgg", num_classes=3, image_size=12, in_channels=3, widths=[8, "M"], hidden=[8]).eval()
    images = torch.randn(4, 3, 12, 12)
    layers = unit_layers(network, images)
    masks = [torch.ones(3, width, dtype=torch.bool) for width in layers.widths]
    more = {"class_names": NAMES, "preprocessing": COLOUR, "rejection": {"least_logits": LEAST}}
    save_modules(folder, network, layers, masks, images, **more)
    return folder


@pytest.fixture(scope="module")
def module(folder):
    return load_modules(folder)


@pytest.fixture
def pixels():
    return torch.randint(256, (5, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_every_form_of_the_same_image_is_the_same(module, pixels, tmp_path):
    array = pixels[0].permute(1, 2, 0).numpy()
    image = Image.fromarray(array)
    image.save(tmp_path / "image.png")
    forms = [pixels[0], array, image, tmp_path / "image.png", str(tmp_path / "image.png")]
    forms.append((tmp_path / "image.png").read_bytes())
    expected = module(module.preprocess(pixels[:1])).softmax(1)[0]
    for form in forms:
        assert torch.equal(module.preprocess(form), module.preprocess(pixels[:1])), type(form)
        assert isinstance(module.classify(form), str)
        assert torch.equal(module.probabilities(form), expected)
    assert module.classify(forms) == [module.classify(image)] * len(forms)
    assert module.probabilities(forms).shape == (len(forms), 3)


def test_one_image_has_one_answer_and_several_have_a_list(module, pixels):
    names = module.classify(pixels)
    assert names == [module.classify(one) for one in pixels]
    assert module.classify(pixels.permute(0, 2, 3, 1).numpy()) == names
    assert module.classify(iter([*pixels])) == names
    assert module.classify([]) == []
    assert module.classify(pixels[:0]) == []
    assert module.probabilities([]).shape == (0, 3)
    many = pixels.repeat(1 + BATCH // 4, 1, 1, 1)
    assert module.classify(many) == names * (1 + BATCH // 4)


def test_other_sizes_and_colours_become_what_the_network_takes(module):
    grey = Image.fromarray(np.full((30, 50), 77, dtype=np.uint8))
    seen_through = Image.new("RGBA", (8, 9), (0, 0, 0, 0))
    for image, value in ((grey, 77), (np.full((30, 50, 1), 77, dtype=np.uint8), 77), (seen_through, 255)):
        expected = Preprocessing.of(COLOUR).normalise(torch.full((1, 3, 12, 12), value, dtype=torch.uint8))
        assert torch.equal(module.preprocess(image), expected)
    half = torch.zeros(3, 24, 24, dtype=torch.uint8)
    half[:, :, 12:] = 200
    stretched = Preprocessing.of(COLOUR).pixels(half)
    assert stretched[..., 0].unique().tolist() == [0]
    assert stretched[..., -1].unique().tolist() == [200]


def test_a_recorded_centre_is_cut_out_with_its_proportions():
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 200
    centred = Preprocessing.of({**COLOUR, "fit": "centre", "resize": 20, "background": "black"})
    assert centred.pixels(wide).unique().tolist() == [200]
    assert 0 in Preprocessing.of(COLOUR).pixels(wide)
    on_black = Preprocessing.of({**COLOUR, "background": "black"})
    assert on_black.pixels(Image.new("RGBA", (4, 4), (255, 255, 255, 0))).unique().tolist() == [0]


def test_what_is_no_image_is_named(module, tmp_path):
    (tmp_path / "junk.png").write_bytes(b"junk")
    good = torch.zeros(3, 12, 12, dtype=torch.uint8)
    for wrong, expected in [
        (tmp_path / "junk.png", r"junk.png is not a readable image: it begins with b'junk'"),
        ([good, tmp_path / "none.png"], r"none.png cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
        ([good, good.float()], "image 1 holds float32; give uint8"),
        (np.zeros((3, 12, 12)), "the image holds float64"),
        (torch.zeros(2, 12, 12, dtype=torch.uint8), r"the image is of shape \(2, 12, 12\)"),
        (np.zeros((0, 3), dtype=np.uint8), r"of shape \(0, 3\)"),
        (17, "the image is a int; give names of files"),
    ]:
        with pytest.raises(ValueError, match=expected):
            module.classify(wrong)


def test_without_pillow_tensors_of_the_right_size_are_taken(module, pixels, monkeypatch):
    monkeypatch.setitem(sys.modules, "moda_core.images", None)
    assert len(module.classify(pixels)) == 5
    with pytest.raises(ValueError, match=r"pip install 'moda-core\[images\]'"):
        module.classify(pixels[0].numpy())


def test_images_of_other_classes_are_none(module, folder, pixels, tmp_path):
    known = [None if name == "7" else name for name in module.classify(pixels)]
    assert module.classify(pixels, may_reject=True) == known
    assert load_modules(folder, ["7"]).classify(pixels, may_reject=True) == [None] * 5
    slice_modules(folder, tmp_path / "slice", ["cat", "7"])
    sliced = load_modules(tmp_path / "slice")
    assert sliced.manifest["rejection"]["least_logits"] == [-1000, 1000]
    composed = load_modules(folder, ["cat", "7"])
    assert sliced.classify(pixels, may_reject=True) == composed.classify(pixels, may_reject=True)
    del sliced.manifest["rejection"]
    with pytest.raises(ValueError, match="says nothing of images of other classes"):
        sliced.classify(pixels, may_reject=True)


def test_numbers_are_names_where_classes_are_called_so(folder):
    assert load_modules(folder, [7, 0]).class_names == ["7", "0"]
    with pytest.raises(ModuleSetError, match="classes '1' are not in this module set; it has '0', '7', 'cat'"):
        load_modules(folder, [1])


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("preprocessing", {**COLOUR, "fit": "tile"}, "fit='tile'"),
        ("preprocessing", {**COLOUR, "resize": 20}, "resize=20"),
        ("preprocessing", {**COLOUR, "fit": "centre"}, "resize=None"),
        ("preprocessing", {**COLOUR, "fit": "centre", "resize": 11}, "at least H and W"),
        ("preprocessing", {**COLOUR, "fit": ["stretch"]}, "fit="),
        ("preprocessing", {**COLOUR, "background": "x" * 1000}, "background='xxx"),
        ("rejection", {"least_logits": [0.0, 1.0]}, "a number a class"),
        ("rejection", {"least_logits": [0.0, 1.0, "2"]}, "least_logits"),
        ("rejection", [1, 2, 3], "rejection="),
    ],
)
def test_a_manifest_that_says_it_wrongly_is_refused(folder, key, value, expected):
    manifest = json.loads((folder / MANIFEST).read_text())
    with pytest.raises(ModuleSetError, match=expected):
        parse_manifest(json.dumps({**manifest, key: value}).encode())
