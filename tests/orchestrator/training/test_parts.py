"""The parts of images that training sees, compared with torchvision's."""

import dataclasses

import pytest
import torch

from moda_core import build_model
from moda_core.methods.moda import Moda
from orchestrator.training.batches import Steps, Workers, augmented_once, augmented_part
from orchestrator.training.data.image_set import ImageSet
from orchestrator.training.data.vision import torchvision_datasets
from orchestrator.training.loop import read_checkpoint, train
from orchestrator.training.parts import AREAS, RATIOS, TRIES, _shapes, _slices, random_parts, windows


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 24, 24), dtype=torch.uint8, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(pixels.float(), 5, 1, 2).round().to(torch.uint8)
    return ImageSet(smooth, torch.arange(40) % 4, (0.5,), (0.25,), seen=16)


def test_a_random_part_is_a_window_at_the_place_that_was_drawn(images):
    places = torch.tensor([[0.0, 0.0], [0.999999, 0.0], [0.5, 0.25], [1.0, 1.0]])
    parts = random_parts(images, images.images[:4], places, torch.rand(4, TRIES, 2))
    for part, image, (top, left) in zip(parts, images.images, [(0, 0), (8, 0), (4, 2), (8, 8)], strict=False):
        assert torch.equal(part, image[:, top : top + 16, left : left + 16])


@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_cpu_cuts_what_a_gpu_cuts(images, count):
    tops, lefts = torch.randint(0, 9, (2, count))
    pixels = images.images[:count]
    assert torch.equal(_slices(pixels, tops, lefts, 16, 16), windows(pixels, tops, lefts, 16, 16))


def test_every_place_is_as_likely_as_any_other(images):
    places = torch.stack([(torch.arange(900) + 0.5) / 900, torch.zeros(900)], 1)
    ramp = torch.arange(24, dtype=torch.uint8)[None, None, :, None].expand(900, 1, 24, 24)
    tops = random_parts(images, ramp, places, places)[:, 0, 0, 0]
    assert torch.bincount(tops.long()).tolist() == [100] * 9


def test_parts_of_any_scale_are_resized_as_torchvision_does(images):
    torchvision_datasets()  # its operators do not load everywhere
    import numpy as np
    from torchvision.transforms.functional import resized_crop, to_pil_image

    scaled = dataclasses.replace(images, is_scaled=True)
    generator = torch.Generator().manual_seed(2)
    places, shapes = torch.rand(40, 2, generator=generator), torch.rand(40, TRIES, 2, generator=generator)
    heights, widths = _shapes(shapes, 24)
    parts = random_parts(scaled, scaled.images, places, shapes)
    for part, image, place, height, width in zip(
        parts, images.images, places.tolist(), heights.tolist(), widths.tolist(), strict=True
    ):
        top, left = (int(share * (24 - length + 1)) for share, length in zip(place, (height, width), strict=True))
        wanted = np.asarray(resized_crop(to_pil_image(image), top, left, height, width, [16, 16])).transpose(2, 0, 1)
        assert (part.int() - torch.from_numpy(wanted.copy()).int()).abs().max() <= 1  # Pillow rounds in between
    assert heights.min() < 12
    assert widths.max() > 20


def test_shapes_are_those_of_random_resized_crop():
    generator = torch.Generator().manual_seed(3)
    heights, widths = _shapes(torch.rand(20_000, TRIES, 2, generator=generator), 256)
    areas, ratios = heights * widths / 256**2, widths / heights
    assert areas.min() >= AREAS[0] - 0.002
    assert areas.max() <= 1
    assert ratios.min() >= RATIOS[0] - 0.02
    assert ratios.max() <= RATIOS[1] + 0.02
    # The first of ten tries that fits: large parts fit less often, so the mean is below that of the areas, 0.54.
    torchvision_datasets()
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    image = torch.zeros(1, 256, 256)
    drawn = torch.tensor([RandomResizedCrop.get_params(image, AREAS, RATIOS)[2:] for _ in range(4000)])
    assert areas.mean() == pytest.approx(float(drawn.prod(1).float().mean()) / 256**2, abs=0.02)
    assert ratios.log().mean() == pytest.approx(float((drawn[:, 1] / drawn[:, 0]).log().mean()), abs=0.015)


def test_a_part_that_never_fits_is_the_whole_image(images):
    shapes = torch.ones(2, TRIES, 2)  # the whole area, wider than high
    heights, widths = _shapes(shapes, 24)
    assert (heights.tolist(), widths.tolist()) == ([24, 24], [24, 24])
    shapes[1, 3] = torch.tensor([0.0, 0.5])  # the fourth try is a small square
    heights, widths = _shapes(shapes, 24)
    assert (heights.tolist(), widths.tolist()) == ([24, 7], [24, 7])


@pytest.mark.parametrize("is_scaled", [False, True])
def test_workers_see_the_parts_that_one_alone_sees(images, configured, is_scaled):
    images = dataclasses.replace(images, is_scaled=is_scaled)
    training = configured("training.batch_size=16").training
    alone = list(Steps(40, training, Workers(), each=0).epoch(3))
    shared = [list(Steps(40, training, Workers(rank, 3), each=0).epoch(3)) for rank in range(3)]
    for number, batch in enumerate(alone):
        whole = augmented_part(images, batch, 0, True)
        assert whole.shape == (batch.size, 3, 16, 16)
        parts = [augmented_part(images, steps[number], 0, True) for steps in shared]
        assert torch.equal(torch.cat(parts), whole)
    again = augmented_part(images, next(Steps(40, training, Workers(), each=0).epoch(4)), 0, True)
    assert not torch.equal(again, augmented_part(images, alone[0], 0, True))


@pytest.mark.parametrize("is_scaled", [False, True])
def test_a_training_on_parts_is_resumed_to_the_bit(images, configured, is_scaled):
    images = dataclasses.replace(images, is_scaled=is_scaled)
    training = configured("training.batch_size=16", "training.epochs=3").training

    def run(resume=None):
        torch.manual_seed(0)
        network = build_model("vgg", in_channels=3, image_size=16, num_classes=4, widths=[4, "M"], hidden=[8])
        return network, train(network, images, training, Moda(), num_classes=4, flip=True, resume=resume)

    whole, epochs = run()
    checkpoints = [epoch.checkpoint() for epoch in epochs]
    resumed, epochs = run(read_checkpoint(checkpoints[0], torch.device("cpu")))
    assert len(list(epochs)) == 2
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    middle = dataclasses.replace(images, images=images.middle(images.images), seen=None)
    torch.manual_seed(0)
    other = build_model("vgg", in_channels=3, image_size=16, num_classes=4, widths=[4, "M"], hidden=[8])
    list(train(other, middle, training, Moda(), num_classes=4, flip=True))
    assert not torch.equal(other.state_dict()["features.0.weight"], whole.state_dict()["features.0.weight"])


def test_counting_sees_each_image_in_one_part(images):
    once = augmented_once(images, crop=0, flip=False, seed=1)
    assert once.images.shape == (40, 3, 16, 16)
    assert once.shape == images.shape == (3, 16, 16)
    for image, part in zip(images.images[:5], once.images, strict=False):
        windows = image.unfold(1, 16, 1).unfold(2, 16, 1)
        assert (windows == part[:, None, None]).all((0, 3, 4)).sum() == 1
    assert torch.equal(once[torch.arange(40)], images.normalise(once.images))
