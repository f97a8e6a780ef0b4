"""Accuracies by class, written out one image after the other."""

import math
import statistics

import pytest
import torch
from torch import nn

from moda_core import draw_budget, draw_pairs
from orchestrator.training.class_means import accuracy_by_class, reuse_by_class
from orchestrator.training.data.image_set import ImageSet

LABELS = torch.tensor([0] * 40 + [1] * 9 + [2] * 3)


@pytest.fixture(params=["drawn", "all"])
def draw(request):
    if request.param == "all":
        return draw_pairs(LABELS, [(0, 1), (0, 2), (0, 1, 2)], num_classes=3)
    return draw_budget(LABELS, 60, num_classes=3, seed=1)


@pytest.fixture
def correct_P(draw):
    return torch.rand(len(draw.pair_label_P), generator=torch.Generator().manual_seed(0)) < 0.6


def test_each_class_has_the_weighted_mean_of_its_pairs(draw, correct_P):
    found = reuse_by_class(correct_P, draw)
    wanted, errors = [], []
    for label in sorted(set(draw.pair_label_P.tolist())):
        pairs = [pair for pair, own in enumerate(draw.pair_label_P.tolist()) if own == label]
        weights = {pair: float(draw.weight_P[pair]) for pair in pairs}
        total = sum(weights.values())
        mean = sum(weight * bool(correct_P[pair]) for pair, weight in weights.items()) / total
        of_image = {}
        for pair, weight in weights.items():
            image = int(draw.pair_image_P[pair])
            of_image[image] = of_image.get(image, 0.0) + weight / total * (bool(correct_P[pair]) - mean)
        count = len(of_image)
        errors.append(max(1 / count, math.sqrt(sum(rest**2 for rest in of_image.values()) * count / max(1, count - 1))))
        wanted.append(mean)
    assert found.means == pytest.approx(wanted)
    assert found.errors == pytest.approx(errors)
    assert found.balanced == pytest.approx(statistics.mean(wanted))
    assert found.balanced_error == pytest.approx(math.sqrt(sum(error**2 for error in errors)) / len(errors))
    assert found.worst == min(found.means)
    assert found.worst_error == pytest.approx(errors[wanted.index(min(wanted))])


def test_classes_weigh_their_means_to_the_mean_of_all(draw, correct_P):
    """The reuse accuracy is the mean of the classes' own, each by the weight that its pairs have."""
    found = reuse_by_class(correct_P, draw)
    shares = [float(draw.weight_P[draw.pair_label_P == label].sum()) for label in draw.pair_label_P.unique()]
    of_all, _ = draw.mean(correct_P)
    assert sum(share * mean for share, mean in zip(shares, found.means, strict=True)) == pytest.approx(of_all)


def test_a_frequent_class_does_not_hide_a_rare_one(draw):
    found = reuse_by_class(draw.pair_label_P != 2, draw)
    assert (found.balanced, found.worst) == pytest.approx((2 / 3, 0.0))
    assert draw.mean(draw.pair_label_P != 2)[0] > 0.75


def test_images_of_the_whole_network_are_counted_by_class():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3, 3, bias=False))
    network[1].weight.data = torch.eye(3)
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    seen = torch.tensor([0, 0, 0, 2, 1, 0])
    images = nn.functional.one_hot(seen, 3).reshape(6, 3, 1, 1).to(torch.uint8) * 255
    of_class, right = accuracy_by_class(network, ImageSet(images, labels, (0.0,) * 3, (1.0,) * 3))
    assert of_class.tolist() == [4, 2, 0]
    assert right.tolist() == [3, 1, 0]
