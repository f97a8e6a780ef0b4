"""Units at calls that a rule chooses, activations or not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import Decomposition, NetworkError, compose, largest_difference, mask_network, unit_sites, watch_units
from moda_core.graph.reading import channel_graph
from tests.moda_core.conftest import random_decomposition, randomise

IMAGES = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Block(nn.Module):
    """A convolution, a group norm, an addition and a linear layer; the ReLU may work in place."""

    def __init__(self, last):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4)
        self.relu, self.last = nn.ReLU(inplace=True), last
        self.hidden, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, images):
        out = self.conv(images)
        out = self.relu(self.norm(out) + 1) + F.relu(out)
        return self.last(self.head(self.hidden(out.mean((2, 3)))))


def sites_of(network, *names, images=IMAGES):
    return unit_sites(network, images, lambda node, module: node.name in names)


def test_a_site_is_a_call_with_a_name_and_units():
    network = randomise(Block(nn.Identity()), seed=0)
    sites = sites_of(network, "conv", "norm", "add", "relu_1", "add_1", "hidden")
    assert [(site.name, site.kind, site.units, site.dimension) for site in sites] == [
        ("conv", "call", 4, 1),
        ("norm", "call", 4, 1),
        ("add", "call", 4, 1),
        ("relu", "relu", 4, 1),
        ("add#2", "call", 4, 1),
        ("hidden", "call", 5, 1),
    ]
    values = watch_units(network, sites)(IMAGES)[1]
    torch.testing.assert_close(values[0], network.conv(IMAGES).abs().mean((2, 3)))


def test_the_predicate_is_asked_for_calls_and_gets_their_modules():
    network = randomise(Block(nn.Identity()), seed=0)
    asked = {}
    unit_sites(network, IMAGES, lambda node, module: asked.setdefault(node.name, module) is network.conv)
    assert asked["conv"] is network.conv
    assert asked["add"] is None
    assert "images" not in asked
    assert "output" not in asked


def test_a_dropped_channel_of_a_norm_still_counts_in_its_statistics():
    network = randomise(Block(nn.Identity()), seed=0)
    sites = sites_of(network, "norm")
    keep = torch.tensor([[True, False, False, True], [False, True, True, False]])
    out = network.conv(IMAGES)
    normed = network.norm(out) * keep[0].view(1, -1, 1, 1)
    expected = network.head(network.hidden((F.relu(normed + 1) + F.relu(out)).mean((2, 3))))[:, [0]]
    for found in (
        mask_network(network, sites, Decomposition([keep]), [0]),
        compose(network, sites, [keep], [0], IMAGES),
    ):
        torch.testing.assert_close(found(IMAGES), expected)


@pytest.mark.parametrize("names", [["conv"], ["add"], ["conv", "relu"], ["norm", "add_1", "hidden"], ["mean"]])
def test_cut_equals_masked_wherever_the_site_is(names):
    network = randomise(Block(nn.Identity()), seed=0)
    sites = sites_of(network, *names)
    decomposition = random_decomposition(sites.widths, 2, seed=1)
    for class_ids in ([0], [1, 0]):
        masked = mask_network(network, sites, decomposition, class_ids)
        cut = compose(network, sites, decomposition, class_ids, IMAGES)
        assert largest_difference(masked, cut, IMAGES) < 1e-9


def test_cut_equals_masked_with_sites_after_every_convolution_and_norm(network_and_images):
    network, images = network_and_images
    weighted = (nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d)
    sites = unit_sites(network, images, lambda node, module: isinstance(module, weighted))
    decomposition = random_decomposition(sites.widths, 5, seed=2, density=0.6)
    for class_ids in ([3], [4, 1]):
        masked = mask_network(network, sites, decomposition, class_ids)
        cut = compose(network, sites, decomposition, class_ids, images)
        assert largest_difference(masked, cut, images) < 1e-9


def test_what_makes_logits_is_no_site():
    network = randomise(Block(nn.Hardtanh()), seed=0)
    assert [site.name for site in sites_of(network, "hidden", "head", "last")] == ["hidden"]
    with pytest.raises(NetworkError, match="Block has no site that the rule wants"):
        sites_of(network, "head", "nowhere")


class Parts(nn.Module):
    """Channels in two parts, one of them overwritten, and a factor that was expanded."""

    def __init__(self, overwrites=False):
        super().__init__()
        self.conv, self.gate, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)
        self.overwrites = overwrites

    def forward(self, images):
        out = self.conv(images)
        if self.overwrites:
            rows = out.view(out.shape[0], 4, -1)
            F.relu_(out)
            return self.head(self.gate(rows.view(out.shape)).mean((2, 3)))
        first, second = out.chunk(2, 1)
        out = torch.cat([second, first], 1)
        return self.head((out * self.gate(out.mean((2, 3), keepdim=True)).expand_as(out)).mean((2, 3)))


def test_a_call_that_gives_several_tensors_is_refused_by_name():
    with pytest.raises(
        NetworkError, match="'chunk' does not give a single tensor, so it has no units; choose a call that"
    ):
        sites_of(randomise(Parts(), seed=0), "chunk")


def test_a_site_that_cutting_cannot_follow_is_refused_by_name():
    network = randomise(Parts(), seed=0)
    with pytest.raises(NetworkError, match=r"node 'expand_as'.*the masked network still works"):
        channel_graph(network, sites_of(network, "expand_as"), IMAGES)
    assert mask_network(network, sites_of(network, "expand_as"), [torch.ones(4, dtype=torch.bool)], [0])(IMAGES).any()


def test_overwriting_what_a_site_shares_is_refused():
    with pytest.raises(NetworkError, match="node 'relu_' works in place on what"):
        sites_of(randomise(Parts(overwrites=True), seed=0), "view")


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 7), nn.Linear(7, 2)

    def forward(self, images):
        return self.head(self.inner(images.flatten(2)[:, :, :6]).mean(1))


def test_sites_over_tokens_that_are_pixels_are_masked_and_refused_by_cutting():
    network = randomise(Tokens(), seed=0)
    sites = sites_of(network, "inner")
    assert sites[0].dimension == -1
    keep = torch.tensor([True, False] * 3 + [True])
    expected = network.head((network.inner(IMAGES.flatten(2)[:, :, :6]) * keep).mean(1))
    torch.testing.assert_close(mask_network(network, sites, [keep], [0, 1])(IMAGES), expected)
    with pytest.raises(NetworkError, match="pixels change places"):
        channel_graph(network, sites, IMAGES)
