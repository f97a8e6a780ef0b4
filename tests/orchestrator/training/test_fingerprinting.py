"""Fingerprints of networks: what is computed counts, not how its code reads."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orchestrator.training.fingerprinting import graph_fingerprint


class Net(nn.Module):
    """Two branches and a head; every keyword is something that an edit may change."""

    def __init__(self, width=4, kernel=3, stride=1, activation=nn.ReLU, drop=0.1, eps=1e-5, shared=True, frozen=False):
        super().__init__()
        self.conv = nn.Conv2d(1, width, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(width, eps=eps)
        self.left = nn.Conv2d(width, width, 1)
        self.right = self.left if shared else nn.Conv2d(width, width, 1)
        self.act, self.drop = activation(), nn.Dropout(drop)
        self.head = nn.Linear(width, 3)
        self.conv.weight.requires_grad_(not frozen)

    def forward(self, x):
        x = self.act(self.norm(self.conv(x)))
        left = self.act(self.left(x))
        right = self.act(self.right(left))
        return self.head(self.drop(left + right).mean((2, 3)))


class Renamed(nn.Module):
    """The same network by somebody else: other names, functions for layers, another order of writing."""

    def __init__(self):
        super().__init__()
        self.classify = nn.Linear(4, 3)
        self.regular = nn.Dropout(0.1)
        self.twice = nn.Conv2d(4, 4, 1)
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4))

    def forward(self, images):
        batch, channels = images.shape[0], 4
        first = F.relu(self.twice(torch.relu(self.stem(images))))
        both = torch.add(first, self.twice(first).relu())
        return self.classify(F.adaptive_avg_pool2d(self.regular(both), 1).view(batch, channels))


class Branches(nn.Module):
    """Two convolutions of one image, called in either order."""

    def __init__(self, swapped=False):
        super().__init__()
        self.small, self.large = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 3, padding=1)
        self.head, self.swapped = nn.Linear(4, 3), swapped

    def forward(self, x):
        if self.swapped:
            large = F.relu(self.large(x))
            small = F.relu(self.small(x))
        else:
            small = F.relu(self.small(x))
            large = F.relu(self.large(x))
        return self.head((small + large).mean((2, 3)))


def fingerprint(network):
    return graph_fingerprint(network, torch.zeros(2, 1, 6, 6))


def test_weights_names_and_the_way_of_writing_do_not_count():
    assert fingerprint(Net()) == fingerprint(Net()) == fingerprint(Renamed())
    assert fingerprint(Branches()) == fingerprint(Branches(swapped=True))


@pytest.mark.parametrize(
    "edit",
    [
        {"width": 5},
        {"kernel": 5},
        {"stride": 2},
        {"activation": nn.GELU},
        {"activation": lambda: nn.LeakyReLU(0.2)},
        {"drop": 0.2},
        {"eps": 1e-3},
        {"shared": False},
        {"frozen": True},
    ],
)
def test_an_edit_of_what_is_computed_counts(edit):
    assert fingerprint(Net(**edit)) != fingerprint(Net())


def test_which_of_two_equal_layers_is_frozen_counts():
    networks = [Net(shared=False), Net(shared=False)]
    networks[0].left.weight.requires_grad_(False)
    networks[1].right.weight.requires_grad_(False)
    assert fingerprint(networks[0]) != fingerprint(networks[1])


def test_a_constant_and_the_kind_of_dropout_count():
    class Scaled(Net):
        factor = 1.0

        def forward(self, x):
            return super().forward(x * self.factor)

    class Doubled(Scaled):
        factor = 2.0

    whole = Net()
    whole.drop = nn.Dropout2d(0.1)
    assert len({fingerprint(network) for network in (Net(), Scaled(), Doubled(), whole)}) == 4
