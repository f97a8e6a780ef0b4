"""Transforms of torchvision in training: what torchvision gives for a seed, whichever worker or attempt it is."""

import dataclasses
import pickle
import threading

import pytest
import torch

from moda_core import build_model
from moda_core.methods.moda import Moda
from orchestrator.config.composing import load_config
from orchestrator.config.config import to_plain
from orchestrator.config.identities import identity, identity_hash
from orchestrator.config.recorded import parse_config
from orchestrator.declarations.augmentations import AUGMENTATIONS
from orchestrator.errors import ConfigError
from orchestrator.training.batches import Steps, Workers, augmented_once, augmented_part
from orchestrator.training.data.augmenting import Augmentation
from orchestrator.training.data.image_set import ImageSet
from orchestrator.training.data.loading import load_data
from orchestrator.training.data.vision import torchvision_transforms
from orchestrator.training.loop import read_checkpoint, train

NEEDED = {
    "ColorJitter": {"brightness": 0.9, "contrast": [0.2, 0.4]},
    "GaussianBlur": {"kernel_size": 5},
    "RandomAdjustSharpness": {"sharpness_factor": 9.0},
    "RandomAffine": {"degrees": 40, "translate": [0.1, 0.2]},
    "RandomPosterize": {"bits": 2},
    "RandomRotation": {"degrees": [20, 40]},
    "RandomSolarize": {"threshold": 100},
}
STATED = ({"name": "RandAugment", "magnitude": 9}, {"name": "RandomErasing", "p": 0.5})


def stated(name):
    certain = {"p": 1.0} if "p" in AUGMENTATIONS[name] else {}
    return {"name": name, **certain, **NEEDED.get(name, {})}


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 200, (40, 3, 16, 16), dtype=torch.uint8, generator=generator)
    augmentation = Augmentation(STATED)
    return ImageSet(pixels, torch.arange(40) % 4, (0.5,) * 3, (0.5,) * 3, augmentation=augmentation)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_transform_leaves_size_and_kind_and_changes_something(images, name, channels):
    pixels, seeds = images.images[:8, :channels], torch.arange(8)
    made = load_config([f"data.augmentations=[{stated(name)}]".replace("'", "")]).data.augmentations
    found = Augmentation(made)(pixels, seeds)
    assert (found.shape, found.dtype) == (pixels.shape, torch.uint8)
    if name != "RandomGrayscale" or channels == 3:
        assert not torch.equal(found, pixels)


def test_an_image_becomes_what_torchvision_makes_of_its_seed(images):
    kinds = torchvision_transforms()
    torch.manual_seed(5)
    before = torch.default_generator.get_state()
    found = images.augmentation(images.images[:6], torch.arange(100, 106))
    assert torch.equal(torch.default_generator.get_state(), before)
    direct = kinds.Compose([kinds.RandAugment(magnitude=9), kinds.RandomErasing(p=0.5)])
    for image, seed, wanted in zip(images.images, range(100, 106), found, strict=False):
        torch.manual_seed(seed)
        assert torch.equal(direct(image), wanted)
    alone = pickle.loads(pickle.dumps(images.augmentation))(images.images[3:4], torch.tensor([103]))  # noqa: S301
    assert torch.equal(alone[0], found[3])


def test_threads_do_not_draw_from_one_another(images):
    wanted, found = images.augmentation(images.images, torch.arange(40)), {}

    def transform(number):
        found[number] = images.augmentation(images.images, torch.arange(40))

    threads = [threading.Thread(target=transform, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[number], wanted) for number in range(4))


def test_workers_see_what_one_alone_sees(images, configured):
    training = configured("training.batch_size=16").training
    alone = list(Steps(40, training, Workers(), each=0).epoch(3))
    shared = [list(Steps(40, training, Workers(rank, 3), each=0).epoch(3)) for rank in range(3)]
    plain = dataclasses.replace(images, augmentation=None)
    for number, batch in enumerate(alone):
        whole = augmented_part(images, batch, 1, True)
        assert torch.equal(torch.cat([augmented_part(images, steps[number], 1, True) for steps in shared]), whole)
        assert not torch.equal(augmented_part(plain, batch, 1, True), whole)
    again = augmented_part(images, next(Steps(40, training, Workers(), each=0).epoch(4)), 0, False)
    assert not torch.equal(again, augmented_part(images, alone[0], 0, False))


def test_a_training_is_resumed_to_the_bit_and_is_another_one_than_without(images, configured):
    training = configured("training.batch_size=16", "training.epochs=3").training

    def run(images, resume=None):
        torch.manual_seed(0)
        network = build_model("vgg", in_channels=3, image_size=16, num_classes=4, widths=[4, "M"], hidden=[8])
        return network, train(network, images, training, Moda(), num_classes=4, flip=True, resume=resume)

    whole, epochs = run(images)
    checkpoints = [epoch.checkpoint() for epoch in epochs]
    resumed, epochs = run(images, read_checkpoint(checkpoints[0], torch.device("cpu")))
    assert len(list(epochs)) == 2
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    other, epochs = run(dataclasses.replace(images, augmentation=None))
    list(epochs)
    assert not torch.equal(other.state_dict()["features.0.weight"], whole.state_dict()["features.0.weight"])


def test_counting_sees_each_image_transformed_once(images):
    once = augmented_once(images, crop=0, flip=False, seed=7)
    assert torch.equal(once.images, augmented_once(images, crop=0, flip=False, seed=7).images)
    assert not torch.equal(once.images, augmented_once(images, crop=0, flip=False, seed=8).images)
    assert not torch.equal(once.images, images.images)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("[MixUp]", "MixUp mixes images of two classes, and modules are trained by pairs of images"),
        ("[{name: CutMix, alpha: 1.0}]", "CutMix mixes images of two classes"),
        ("[RandAugmnt]", r"'RandAugmnt' is not known \(did you mean RandAugment\?\); known: AugMix, AutoAugment"),
        ("[Lambda]", "'Lambda' is not known"),
        ("[3]", "3 is not known"),
        ("[{magnitude: 3}]", "None is not known"),
        ("[{name: RandAugment, strength: 3}]", "RandAugment has no parameter 'strength'; it has num_ops, magnitude"),
        ("[{name: RandAugment, magnitude: 2.5}]", "magnitude=2.5 must be a whole number from 0 to 30"),
        ("[{name: ColorJitter, hue: 0.7}]", "ColorJitter: hue=0.7 must be a number from -0.5 to 0.5"),
        ("[{name: ColorJitter, hue: true}]", "hue=True must be a number"),
        ("[{name: ColorJitter, hue: [0.1, 0.2, 0.3]}]", "give one number, or two of them"),
        ("RandAugment", r"data\.augmentations='RandAugment' must be a list"),
    ],
)
def test_what_is_no_augmentation_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        load_config([f"data.augmentations={given}"])


@pytest.mark.parametrize("given", ["[RandomRotation]", "[{name: GaussianBlur, kernel_size: 4}]"])
def test_what_torchvision_refuses_is_refused_before_training(given, configured):
    config = configured(f"data.augmentations={given}", "data.limit=100")
    with pytest.raises(ConfigError, match=r"^data\.augmentations: (RandomRotation|GaussianBlur): .*; change it$"):
        load_data(config.data)


def test_an_augmentation_is_a_part_of_what_a_sweep_is():
    plain, named = load_config([]), load_config(["data.augmentations=[RandAugment]"])
    as_mapping = load_config(["data.augmentations=[{name: RandAugment}]"])
    assert named == as_mapping == parse_config(to_plain(named))
    assert "augmentations" not in identity(plain)["data"]
    assert identity_hash(identity(named)) == identity_hash(identity(as_mapping)) != identity_hash(identity(plain))
