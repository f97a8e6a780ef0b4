"""The cut network against the masked one, which is the definition; sizes against the networks really cut."""

import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from moda_core import cut_network, largest_difference, mask_network, merge_masks, module_metrics, unit_layers
from moda_core.cutting import compose
from moda_core.cutting.cutter import Cutter
from tests.moda_core.conftest import random_masks


def parameters(network):
    """Those that train: what a constant adds to a layer without a bias does not."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6), density=st.sampled_from([0.02, 0.2, 0.6, 0.95]), data=st.data())
def test_cut_equals_masked(network_and_images, seed, density, data):
    network, images = network_and_images
    layers = unit_layers(network, images)
    classes = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True))
    masks = random_masks(layers.widths, 5, seed, density)
    masked = mask_network(network, layers, merge_masks(masks, classes), classes)
    cut = compose(network, layers, masks, classes, images)
    assert cut(images).shape == (16, len(classes))
    assert largest_difference(masked, cut, images) < 1e-9


def test_the_mask_is_what_reaches_the_consumers(network_and_images):
    """The masked network against hooks on the plain one: an oracle that shares no code with it."""
    network, images = network_and_images
    layers = unit_layers(network, images)
    keep = merge_masks(random_masks(layers.widths, 5, seed=3), [1, 4])
    calls = iter(keep)

    def masking(original, dimension):
        def call(x, *more, **options):
            units = original(x, *more, **options | ({"inplace": False} if "inplace" in options else {}))
            return units.movedim(dimension, -1).mul(next(calls)).movedim(-1, dimension)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name, dimension in {"relu": 1, "gelu": -1, "scaled_dot_product_attention": 1}.items():
            patch.setattr(F, name, masking(getattr(F, name), dimension))  # nn.ReLU and nn.GELU call it too
        expected = network(images)[:, [1, 4]]
    found = mask_network(network, layers, keep, [1, 4])(images)
    torch.testing.assert_close(found, expected)


def test_keeping_everything_returns_the_network(network_and_images):
    network, images = network_and_images
    layers = unit_layers(network, images)
    keep = [torch.ones(n, dtype=torch.bool) for n in layers.widths]
    cut = cut_network(network, layers, keep, range(5), images)
    assert parameters(cut) == parameters(network)
    torch.testing.assert_close(cut(images), network(images), rtol=1e-12, atol=1e-12)


def test_sizes_and_overlaps_are_those_of_the_networks_cut(network_and_images, monkeypatch):
    network, images = network_and_images
    layers = unit_layers(network, images)
    masks = random_masks(layers.widths, 5, seed=7)
    found = module_metrics(network, layers, masks, images)
    sizes = [parameters(compose(network, layers, masks, [c], images)) for c in range(5)]
    assert found.parameters == parameters(network)
    assert found.sizes_C.tolist() == pytest.approx([size / parameters(network) for size in sizes], abs=1e-12)
    assert found.module_size == pytest.approx(sum(sizes) / 5 / parameters(network))
    # What two modules share, by marking every parameter with its own number and counting the marks in common.
    monkeypatch.setattr(Cutter, "_mixed", lambda cutter, node, constants_C: torch.zeros(node.channels).double())
    marked = [marks(network, layers, masks, c, images) for c in range(5)]
    shared = [len(a & b) / parameters(network) for a, b in itertools.combinations(marked, 2)]
    either = [len(a | b) / parameters(network) for a, b in itertools.combinations(marked, 2)]
    assert found.module_overlap == pytest.approx(sum(shared) / len(shared))
    assert found.overlap_jaccard == pytest.approx(sum(s / e for s, e in zip(shared, either, strict=True)) / len(shared))


def marks(network, layers, masks, class_id, images):
    values = {name: p.detach().clone() for name, p in network.named_parameters()}
    start = 1
    for p in network.parameters():
        p.data = torch.arange(start, start + p.numel(), dtype=torch.float64).view_as(p)
        start += p.numel()
    cut = compose(network, layers, masks, [class_id], images)
    for name, p in network.named_parameters():
        p.data = values[name]
    return {int(value) for p in cut.parameters() if p.requires_grad for value in p.flatten()}


def test_weights_of_a_cut_network_are_copies(network_and_images):
    network, images = network_and_images
    layers = unit_layers(network, images)
    keep = [torch.ones(n, dtype=torch.bool) for n in layers.widths]
    cut = cut_network(network, layers, keep, [0, 1], images)
    before = network(images).clone()
    for p in cut.parameters():
        p.data.zero_()
    assert torch.equal(network(images), before)


def test_an_unknown_operation_is_named_and_never_cut_wrongly():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3, padding=1)
            self.head = nn.Linear(4 * 16, 3)

        def forward(self, x):
            return self.head(torch.flatten(torch.softmax(F.relu(self.conv(x)), 1), 1))

    network, images = Gated(), torch.randn(2, 1, 4, 4)
    layers = unit_layers(network, images)
    with pytest.raises(ValueError, match=r"'softmax'.*does not know"):
        cut_network(network, layers, [torch.ones(4, dtype=torch.bool)], [0, 1], images)


def relu_of_logits():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU())


def flattened_logits():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, stride=2, padding=1), nn.Flatten()
    )


@pytest.mark.parametrize(("make", "classes"), [(relu_of_logits, 5), (flattened_logits, 8)])
def test_logits_that_no_linear_layer_makes(make, classes):
    network, images = make().double().eval(), torch.randn(6, 1, 4, 4, dtype=torch.float64)
    layers = unit_layers(network, images)
    assert layers.widths == [8]  # a ReLU of the logits is not a unit layer
    keep = [torch.tensor([True, False, True, True] * 2)]
    for ids in ([0, 1, 2], [4, 0], list(range(classes))):
        cut = cut_network(network, layers, keep, ids, images)
        assert largest_difference(mask_network(network, layers, keep, ids), cut, images) < 1e-9


class Plain(nn.Module):
    """A body by a function, on two convolutions, a shared ReLU, batch norm and a head."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.conv = nn.Conv2d(3, 3, 1)
        self.more = nn.Conv2d(3, 3, 1)
        self.over = nn.ReLU(inplace=True)
        self.nothing = nn.Identity()
        self.tied = nn.Conv2d(3, 3, 1)
        self.tied.weight = self.conv.weight
        self.weight = nn.Parameter(torch.ones(()))
        self.rows = nn.LayerNorm(4)
        self.head = nn.LazyLinear(2)

    def forward(self, x):
        return self.head(torch.flatten(self.body(self, x), 1))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda m, x: (y := m.conv(x)) + m.more(m.over(y)), r"works in place on what \['add'\] read too"),
        (lambda m, x: (y := m.conv(x)) + m.more(m.over(y[:, :])), r"works in place on what \['add'\] read too"),
        (lambda m, x: (y := m.conv(x)) + m.more(m.over(m.nothing(y))), r"works in place on what \['add'\] read too"),
        (lambda m, x: (y := m.more(F.relu(m.conv(x))), y.add_(1.0))[0], "works in place on what"),
        (lambda m, x: F.relu(m.conv(x)) + m.more(x).mean((2, 3), keepdim=True).mean(1, keepdim=True), "does not know"),
        (lambda m, x: F.relu(m.conv(x)) + m.more(x)[:, :1], "add of 3, 1 channels"),
        (lambda m, x: F.relu(m.conv(x)) + m.more.bias[0], "does not know.*getitem"),
        (lambda m, x: F.relu(m.conv(x)).transpose(2, 3), "pixels change places"),
        (lambda m, x: F.relu(m.conv(x)).transpose(0, 1).reshape(x.size(0), -1), "images of a batch change places"),
        (lambda m, x: F.relu(m.conv(x)) * m.weight, "which cutting does not know to follow"),
        (lambda m, x: F.relu(m.conv(x)).flip(2), "does not know.*flip"),
        (lambda m, x: m.more(F.relu(m.conv(x)).transpose(1, 2)[:, :3]), "pixels change places"),
        (lambda m, x: torch.cat([F.relu(m.conv(x)), m.more(x)], 2), "does not know.*cat"),
        (lambda m, x: F.relu(m.conv(x)) / (m.more(x) + 9.0), "does not know.*div"),
        (lambda m, x: F.relu(m.conv(x)) * torch.sigmoid(m.more(x)) ** 2, "does not know.*pow"),
        (lambda m, x: F.relu(m.tied(m.conv(x))), "not one parameter in two layers"),
        (lambda m, x: m.rows(F.relu(m.conv(x))), "does not know.*LayerNorm"),
    ],
)
def test_what_would_be_cut_wrongly_is_refused(body, message):
    network, images = Plain(body).eval(), torch.randn(2, 3, 4, 4)
    network(images)
    layers = unit_layers(network, images)
    with pytest.raises(ValueError, match=message):
        cut_network(network, layers, [torch.ones(n, dtype=torch.bool) for n in layers.widths], [0, 1], images)


def test_dropout_as_a_function_and_several_outputs_are_refused():
    images = torch.randn(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"use a module such as nn\.Dropout"):
        unit_layers(Plain(lambda m, x: F.dropout(F.relu(m.conv(x)), training=m.training)), images)

    class Two(Plain):
        def forward(self, x):
            return super().forward(x), x

    network = Two(lambda m, x: F.relu(m.conv(x)))
    layers = unit_layers(network, images)
    with pytest.raises(ValueError, match="returns its logits alone"):
        cut_network(network, layers, [torch.ones(3, dtype=torch.bool)], [0], images)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ([torch.zeros(4, dtype=torch.bool)], "keeps no unit"),
        ([torch.ones(3, dtype=torch.bool)], r"expected bool \(4,\)"),
        ([torch.ones(4)], "expected bool"),
        ([], "0 masks for 1"),
    ],
)
def test_masks_that_do_not_fit_are_refused(keep, message):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    images = torch.randn(2, 1, 4, 4)
    layers = unit_layers(network, images)
    for make in (mask_network, lambda *a: cut_network(*a, images)):
        with pytest.raises(ValueError, match=message):
            make(network, layers, keep, [0, 1])
