"""Replacing a class: only the head trains, the numbers are what they should be, and it mends what was broken."""

import copy
import dataclasses
import json

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from moda_core import (
    ModuleSetError,
    RawImages,
    build_model,
    count_frequencies,
    keep_masks,
    load_modules,
    load_replaced,
    replace_class,
    replacement_accuracy,
    save_modules,
    save_replaced,
    unit_layers,
)
from moda_core.cutting import compose

TARGET = 3


def digits():
    """Training and test images (I, 1, 8, 8) and labels."""
    images, labels = (torch.from_numpy(one) for one in load_digits(return_X_y=True))
    images = (images.float() / 16).view(-1, 1, 8, 8)
    return (images[:1300], labels[:1300]), (images[1300:], labels[1300:])


def trained(images, labels, *, epochs, seed=0):
    """A small network with batch norm, trained on the images."""
    torch.manual_seed(seed)
    network = build_model("vgg", in_channels=1, image_size=8, num_classes=10, widths=[8, "M", 16, "M"], hidden=[32])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for _ in range(epochs):
        for index in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(images[index]), labels[index]).backward()
            optimizer.step()
    return network


@pytest.fixture(scope="module")
def broken():
    """A network that saw 8 images of the target class, a good one's module of it, the weak one's data, test data."""
    (images, labels), test = digits()
    target = (labels == TARGET).nonzero().flatten()
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[target[8:]] = False
    weak = trained(images[kept], labels[kept], epochs=2)
    strong = trained(images, labels, epochs=6, seed=1)
    layers = unit_layers(strong, images[:2])
    masks = keep_masks(
        count_frequencies(strong.eval(), layers, [(images, labels)], num_classes=10, thresholds=(0.0,)), 0.9
    )
    module = compose(strong, layers, masks, [TARGET], images[:2])
    return weak, module, [(images[kept], labels[kept])], [test]


class Column(nn.Module):
    def __init__(self, index):
        super().__init__()
        self.index = index

    def forward(self, logits):
        return logits[:, [self.index]]


@pytest.fixture
def small():
    """A weak network of 4 classes in float64, a module, images and labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    labels = torch.arange(50) % 4
    torch.manual_seed(0)
    weak = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 4)).double()
    return weak, nn.Linear(6, 1).double(), images, labels


def test_a_strong_module_mends_a_weak_class_more_than_the_layer_alone(broken):
    weak, module, training, test = broken
    found = replacement_accuracy(replace_class(weak, module, training, class_id=TARGET, num_classes=10), test)
    assert found.target_images + found.other_images == len(test[0][1])
    assert found.target_images == (test[0][1] == TARGET).sum()
    assert found.replaced.target > found.before.target + 0.1
    assert found.replaced.target > found.control.target + 0.1
    assert found.replaced.others > found.before.others - 0.02
    assert replacement_accuracy(replace_class(weak, module, training, class_id=TARGET, num_classes=10), test) == found


def test_the_head_starts_as_published():
    class_ids = torch.arange(100)
    weak, module = nn.Identity(), Column(0)
    made = replace_class(weak, module, [(torch.eye(100), class_ids)], class_id=7, num_classes=100, epochs=0)
    head = made.network.head
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert abs(head.weight.mean().item()) < 0.0005
    assert not head.bias.any()
    assert torch.equal(head.weight, made.control.head.weight)
    again, other = (
        replace_class(weak, module, [(torch.eye(100), class_ids)], class_id=7, num_classes=100, epochs=0, seed=seed)
        for seed in (0, 1)
    )
    assert torch.equal(head.weight, again.network.head.weight)
    assert not torch.equal(head.weight, other.network.head.weight)


def test_only_the_heads_train(small):
    weak, module, images, labels = small
    before = [copy.deepcopy(one.state_dict()) for one in (weak, module)]
    random_state = torch.get_rng_state()
    made = replace_class(weak, module, [(images, labels)], class_id=2, num_classes=4)
    assert weak.training  # each network keeps its own mode
    made.network.train()(images).sum().backward()
    for network, state in zip((weak, module), before, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
        assert all(one.requires_grad and one.grad is None for one in network.parameters())
    assert made.network.head.weight.grad is not None
    assert torch.equal(torch.get_rng_state(), random_state)


def nesterov(features, labels, weight, *, steps, lr):
    """Full-batch training of a linear layer, written out."""
    bias = torch.zeros(len(weight), dtype=weight.dtype)
    speed = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for step in range(steps):
        error = (features @ weight.T + bias).softmax(1) - F.one_hot(labels, len(weight))
        slope = [error.T @ features / len(labels), error.mean(0)]
        speed = [0.9 * old + new for old, new in zip(speed, slope, strict=True)]
        rate = lr / 2 * (1 + torch.cos(torch.tensor(torch.pi * step / steps, dtype=weight.dtype)))
        weight = weight - rate * (slope[0] + 0.9 * speed[0])
        bias = bias - rate * (slope[1] + 0.9 * speed[1])
    return features @ weight.T + bias


def test_logits_are_those_of_the_formula(small):
    weak, module, images, labels = small
    batches = [(images[:30], labels[:30]), (images[30:], labels[30:])]
    recipe = {"class_id": 1, "num_classes": 4, "batch_size": 50}
    start = replace_class(weak, module, batches, epochs=0, **recipe).network.head.weight.detach()
    made = replace_class(weak, module, batches, epochs=7, lr=0.5, **recipe)
    with torch.no_grad():
        own = copy.deepcopy(weak).eval()(images)
        exchanged = own.clone()
        exchanged[:, 1] = module(images)[:, 0]
        for network, features in ((made.network, exchanged), (made.control, own)):
            expected = nesterov(features, labels, start, steps=7, lr=0.5)
            torch.testing.assert_close(network(images), expected, rtol=1e-10, atol=1e-12)


def test_the_control_differs_in_nothing_but_the_logit(small):
    """With a module that says what the weak network says, both heads are the same to the bit."""
    weak, module, images, labels = small
    same = nn.Sequential(copy.deepcopy(weak), Column(1))
    made = replace_class(weak, same, [(images, labels)], class_id=1, num_classes=4, batch_size=8)
    assert torch.equal(made.network.head.weight, made.control.head.weight)
    assert torch.equal(made.network(images), made.control(images))
    other = replace_class(weak, module, [(images, labels)], class_id=1, num_classes=4, batch_size=8)
    assert torch.equal(other.control.head.weight, made.control.head.weight)
    assert not torch.equal(other.network.head.weight, made.network.head.weight)


def test_accuracies_by_hand():
    identity, nothing = torch.eye(3), torch.zeros(3)
    logits = torch.tensor([[9.0, 1, 0], [0, 9, 0], [0, 5, 9], [9, 0, 0], [0, 0, 9]])
    labels = torch.tensor([0, 0, 1, 2, 2])
    made = replace_class(nn.Identity(), Column(1), [(logits, labels)], class_id=0, num_classes=3, epochs=0)
    for network in (made.network, made.control):
        network.head.load_state_dict({"weight": identity, "bias": nothing})
    found = replacement_accuracy(made, [(logits[:2], labels[:2]), (logits[2:], labels[2:])])
    assert (found.target_images, found.other_images) == (2, 3)
    assert dataclasses.astuple(found.before) == (0.5, 0.25)  # class 1: 0 of 1, class 2: 1 of 2
    assert found.control == found.before
    # With the first logit replaced by the second, which ties with it: rows 0 and 1 say class 0, row 3 a tie of zeros.
    assert dataclasses.astuple(found.replaced) == (1.0, 0.25)
    few = replacement_accuracy(made, [(logits[:3], labels[:3])])
    assert dataclasses.astuple(few.before) == (0.5, 0.0)  # class 2 has no image and does not count


def test_sets_that_normalise_differently_share_raw_images(tmp_path):
    torch.manual_seed(0)
    raw = torch.randint(0, 256, (9, 1, 8, 8), dtype=torch.uint8)
    loaded = []
    for name, mean in (("weak", 0.1), ("strong", 0.6)):
        network = build_model("vgg", in_channels=1, image_size=8, num_classes=3, widths=[4, "M"], hidden=[6]).eval()
        layers = unit_layers(network, torch.zeros(2, 1, 8, 8))
        save_modules(
            tmp_path / name,
            network,
            layers,
            [torch.ones(3, width, dtype=torch.bool) for width in layers.widths],
            torch.randn(4, 1, 8, 8),
            class_names=["a", "b", "c"],
            preprocessing={"shape": [1, 8, 8], "mean": [mean], "std": [0.3]},
        )
        loaded.append((network, mean))
    weak, strong = RawImages(load_modules(tmp_path / "weak")), RawImages(load_modules(tmp_path / "strong", ["b"]))
    made = replace_class(weak, strong, [(raw, torch.arange(9) % 3)], class_id=1, num_classes=3)
    with torch.no_grad():
        own, other = (network((raw.float() / 255 - mean) / 0.3) for network, mean in loaded)
        own[:, 1] = other[:, 1]
        torch.testing.assert_close(made.network(raw), made.network.head(own))


def test_mistakes(small):
    weak, module, images, labels = small

    def attempt(weak=weak, module=module, labels=labels, **changed):
        return replace_class(weak, module, [(images, labels)], **{"class_id": 1, "num_classes": 4, **changed})

    for message, changed in (
        ("class_id=4", {"class_id": 4}),
        ("class_id=-1", {"class_id": -1}),
        ("num_classes=1", {"num_classes": 1, "class_id": 0}),
        ("epochs=-1", {"epochs": -1}),
        ("batch_size=0", {"batch_size": 0}),
        ("lr=nan", {"lr": float("nan")}),
        (r"weak gives logits of shape \(50, 4\); expected \(50, 5\)", {"num_classes": 5}),
        (r"module gives logits of shape \(50, 4\); expected \(50, 1\)", {"module": weak}),
        ("0 to 4; expected class ids 0 to 3", {"labels": torch.arange(50) % 5}),
        ("-1 to 3; expected", {"labels": torch.arange(50) % 5 - 1}),
        ("float64", {"labels": labels.double()}),
        ("no image is of class 1", {"labels": torch.zeros_like(labels)}),
        ("not finite numbers", {"module": nn.Sequential(module, nn.Threshold(float("inf"), float("inf")))}),
    ):
        with pytest.raises(ValueError, match=message):
            attempt(**changed)
    with pytest.raises(ValueError, match="no images"):
        replace_class(weak, module, [], class_id=1, num_classes=4)
    made = attempt()
    with pytest.raises(ValueError, match="no image is of class 1"):
        replacement_accuracy(made, [(images[:1], labels[:1])])
    with pytest.raises(ValueError, match="class 1 alone"):
        replacement_accuracy(made, [(images[1:2], labels[1:2])])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu(small):
    weak, module, images, labels = (one.cuda() for one in small)
    made = replace_class(weak, module, [(images, labels)], class_id=1, num_classes=4)
    assert made.network(images).is_cuda
    assert replacement_accuracy(made, [(images, labels)]).target_images == 13


def test_the_error_of_the_gain_is_that_of_paired_images():
    """Against the bootstrap: images of each class are drawn again, and the gain over the control is computed anew."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(torch.tensor([120, 60, 200]))
    logits = F.one_hot(labels, 3) + 1.2 * torch.randn(len(labels), 3, generator=generator)
    made = replace_class(nn.Identity(), Column(1), [(logits, labels)], class_id=0, num_classes=3, epochs=3)
    found = replacement_accuracy(made, [(logits, labels)])
    hits = [network(logits).argmax(1) == labels for network in (made.network, made.control)]
    gain = hits[0].double() - hits[1].double()
    draws = []
    for _ in range(4000):
        drawn = [own[torch.randint(len(own), (len(own),), generator=generator)] for own in gain.split([120, 60, 200])]
        draws.append([float(drawn[0].mean()), float((drawn[1].mean() + drawn[2].mean()) / 2)])
    expected = torch.tensor(draws, dtype=torch.float64).std(0)
    assert dataclasses.astuple(found.gain_error) == pytest.approx(expected.tolist(), rel=0.06)
    assert found.gain_error.target > 0


@pytest.fixture
def replaced(tmp_path):
    """A class replaced by that of another set, and kept in a folder: the folder and the network in memory."""
    torch.manual_seed(0)
    for name, mean in (("weak", 0.1), ("strong", 0.6)):
        network = build_model("vgg", in_channels=1, image_size=8, num_classes=3, widths=[4, "M"], hidden=[6]).eval()
        layers = unit_layers(network, torch.zeros(2, 1, 8, 8))
        masks = [torch.rand(3, width) < 0.8 for width in layers.widths]
        recipe = {"shape": [1, 8, 8], "mean": [mean], "std": [0.3]}
        more = {"class_names": ["a", "b", "c"], "preprocessing": recipe}
        save_modules(tmp_path / name, network, layers, masks, torch.randn(4, 1, 8, 8), **more)
    names = ["c", "a", "b"]
    weak = RawImages(load_modules(tmp_path / "weak", names))
    module = RawImages(load_modules(tmp_path / "strong", ["a"]))
    images, labels = torch.randint(0, 256, (30, 1, 8, 8), dtype=torch.uint8), torch.arange(30) % 3
    network = replace_class(weak, module, [(images, labels)], class_id=1, num_classes=3).network
    more = {"class_names": names, "class_name": "a"}
    written = save_replaced(tmp_path / "mended", network.head, tmp_path / "weak", tmp_path / "strong", **more)
    assert written == sum(file.stat().st_size for file in (tmp_path / "mended").rglob("*") if file.is_file())
    return tmp_path / "mended", network


def test_a_network_with_a_class_replaced_is_kept_and_loaded(replaced):
    folder, network = replaced
    loaded = load_replaced(folder)
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(loaded(images), network(images), rtol=1e-5, atol=1e-6)
    assert (loaded.class_names, loaded.replaced) == (["c", "a", "b"], "a")
    assert loaded.classify(images) == [loaded.class_names[index] for index in network(images).argmax(1)]
    assert loaded.classify(images[0, 0].numpy()) == loaded.classify(images)[0]  # any form of an image, as modules do
    with pytest.raises(ValueError, match="not known which images are of none of its classes"):
        loaded.classify(images, may_reject=True)
    with pytest.raises(ModuleSetError, match="is there already"):
        save_replaced(folder, network.head, folder, folder, class_names=["c", "a", "b"], class_name="a")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda folder: (folder / "replaced.json").unlink(), "lacks the file replaced.json"),
        (lambda folder: (folder / "replaced.json").write_text("[1]"), "is not an object"),
        (lambda folder: changed(folder, class_names=["c", "a", 3]), "no list of the names"),
        (lambda folder: changed(folder, class_name="d"), "does not name a class of its classes"),
        (lambda folder: changed(folder, class_names=["a", "b"]), "holds .* not a layer of 2 classes"),
        (lambda folder: changed(folder, schema_version=2), "schema_version 2, not 1"),
        (lambda folder: (folder / "head.safetensors").write_bytes(b"junk"), "was changed or cut short"),
        (lambda folder: (folder / "weak" / "manifest.json").unlink(), "holds no module set"),
        (lambda folder: linked(folder / "head.safetensors"), "lacks the file head.safetensors"),
    ],
)
def test_what_is_not_such_a_network_is_refused(replaced, spoil, expected):
    folder, _ = replaced
    spoil(folder)
    with pytest.raises(ModuleSetError, match=expected):
        load_replaced(folder)


def changed(folder, **keys):
    file = folder / "replaced.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def linked(file):
    file.rename(file.with_name("elsewhere"))
    file.symlink_to(file.with_name("elsewhere"))
