"""The least-squares refit against numpy.linalg.lstsq on rows that are written out, layer by layer."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from moda_core import Decomposition, Scales, cut_network, mask_network, refit_network, unit_layers
from tests.moda_core.conftest import random_masks, randomise

CLASSES = [3, 1]
RCOND = 1e-3  # below it a singular value counts as 0


class Chain(nn.Module):
    """Two convolutions and two linear layers."""

    def __init__(self, *, stride: int = 1, groups: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 6, 3, padding=1, stride=stride, groups=groups, bias=bias)
        self.hidden = nn.Linear(6, 7)
        self.last = nn.Linear(7, 5)

    def forward(self, images):
        out = F.relu(self.second(F.relu(self.first(images))))
        return self.last(F.relu(self.hidden(out.mean((2, 3)))))


class Twice(nn.Module):
    """A layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, images):
        out = F.relu(self.first(images.flatten(1)))
        return self.last(F.relu(self.again(F.relu(self.again(out)))))


def images_of(count, channels=2, size=5, seed=3):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def module_named(network, name):
    """A layer of a cut network by the name of its node."""
    (found,) = (module for key, module in network.named_modules() if key.endswith(f"_{name}"))
    return found


def patches(values, *, stride):
    """What a 3x3 convolution with padding 1 reads at each output position, written out: (rows, ch x 9)."""
    padded = np.pad(values.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    side = (values.shape[2] - 1) // stride + 1
    return np.stack(
        [
            image[:, stride * row : stride * row + 3, stride * column : stride * column + 3].ravel()
            for image in padded
            for row in range(side)
            for column in range(side)
        ]
    )


def fitted(features, wanted):
    """Weights and bias by numpy."""
    rows = np.hstack([features, np.ones((len(features), 1))])
    solution = np.linalg.lstsq(rows, wanted, rcond=RCOND)[0]
    return solution[:-1].T, solution[-1]


@pytest.mark.parametrize("stride", [1, 2])
def test_every_layer_is_what_numpy_fits_on_the_inputs_that_the_refitted_layers_before_it_give(stride):
    network = randomise(Chain(stride=stride), seed=0)
    images = images_of(60)
    layers = unit_layers(network, images)
    keep = [mask[0] for mask in random_masks(layers.widths, 1, seed=5, density=0.5)]
    batches = list(images.split(17))
    refit = refit_network(network, layers, keep, CLASSES, batches)

    first, second, hidden = keep
    with torch.no_grad():
        before = F.relu(network.first(images))
        wanted = network.second(before)
        outputs = wanted.permute(0, 2, 3, 1).reshape(-1, 6).numpy()[:, second.numpy()]
        weight, bias = fitted(patches(before[:, first], stride=stride), outputs)
        assert np.allclose(module_named(refit, "second").weight.detach().numpy().reshape(len(weight), -1), weight)
        assert np.allclose(module_named(refit, "second").bias.detach().numpy(), bias)
        now = F.relu(
            F.conv2d(
                before[:, first],
                torch.tensor(weight).view(-1, int(first.sum()), 3, 3),
                torch.tensor(bias),
                padding=1,
                stride=stride,
            )
        ).mean((2, 3))
        middle = network.hidden(F.relu(wanted).mean((2, 3)))
        weight, bias = fitted(now.numpy(), middle.numpy()[:, hidden.numpy()])
        assert np.allclose(module_named(refit, "hidden").weight.detach().numpy(), weight)
        now = F.relu(torch.tensor(now.numpy() @ weight.T + bias))
        weight, bias = fitted(now.numpy(), network.last(F.relu(middle)).numpy()[:, sorted(CLASSES)])
        assert np.allclose(module_named(refit, "last").weight.detach().numpy(), weight)
        logits = (now.numpy() @ weight.T + bias)[:, [1, 0]]  # in the order of CLASSES
        assert np.allclose(refit(images).numpy(), logits)


@pytest.mark.parametrize(("groups", "bias"), [(2, True), (2, False)])
def test_a_grouped_convolution_is_refitted_group_by_group(groups, bias):
    network = randomise(Chain(groups=groups, bias=bias), seed=1)
    images = images_of(50)
    layers = unit_layers(network, images)
    keep = [torch.tensor([1, 0, 1, 1, 0, 0, 1, 0]).bool(), torch.tensor([1, 1, 0, 1, 0, 1]).bool()]
    keep.append(torch.ones(7).bool())
    refit = refit_network(network, layers, keep, CLASSES, [images])
    with torch.no_grad():
        before = F.relu(network.first(images))
        wanted = network.second(before).permute(0, 2, 3, 1).reshape(-1, 6).numpy()
    expected = np.zeros((len(wanted), 6))
    for group in range(groups):
        inputs = [channel for channel in range(4 * group, 4 * group + 4) if keep[0][channel]]
        outputs = slice(3 * group, 3 * group + 3)
        rows = patches(before[:, inputs], stride=1)
        rows = np.hstack([rows, np.ones((len(rows), 1))]) if bias else rows
        expected[:, outputs] = rows @ np.linalg.lstsq(rows, wanted[:, outputs], rcond=RCOND)[0]
    shown = np.maximum(expected, 0) * keep[1].numpy()
    layer = next(module for key, module in refit.named_modules() if key.endswith("_second"))
    found = F.relu(layer(before[:, keep[0]])).detach().permute(0, 2, 3, 1).reshape(-1, int(keep[1].sum())).numpy()
    assert np.allclose(found, shown[:, keep[1].numpy()])


def test_with_fewer_images_than_inputs_the_weights_change_as_little_as_possible():
    network = randomise(Chain(), seed=2)
    images = images_of(3)
    layers = unit_layers(network, images)
    keep = [torch.ones(8).bool(), torch.ones(6).bool(), torch.tensor([1, 1, 0, 1, 0, 1, 1]).bool()]
    refit = refit_network(network, layers, keep, [0, 1, 2, 3, 4], [images])
    with torch.no_grad():
        units = F.relu(network.hidden(F.relu(network.second(F.relu(network.first(images)))).mean((2, 3))))
        rows = np.hstack([units[:, keep[2]].numpy(), np.ones((3, 1))])
        missing = (
            network(images).numpy()
            - F.linear(units[:, keep[2]], network.last.weight[:, keep[2]], network.last.bias).numpy()
        )
    change = np.linalg.lstsq(rows, missing, rcond=RCOND)[0]
    last = module_named(refit, "last")
    assert np.abs(change).max() > 1e-3
    assert np.allclose(last.weight.detach().numpy(), network.last.weight[:, keep[2]].detach().numpy() + change[:-1].T)
    assert np.allclose(last.bias.detach().numpy(), network.last.bias.detach().numpy() + change[-1])
    assert np.allclose(refit(images).detach().numpy(), network(images).detach().numpy())  # they interpolate


def test_where_nothing_is_cut_nothing_is_refitted(network_and_images):
    network, images = network_and_images
    layers = unit_layers(network, images)
    keep = [torch.ones(width).bool() for width in layers.widths]
    refit = refit_network(network, layers, keep, [0, 1, 2], [images])
    cut = cut_network(network, layers, keep, [0, 1, 2], images)
    assert all(torch.equal(one, other) for one, other in zip(refit.parameters(), cut.parameters(), strict=True))


def test_the_logits_come_nearer_to_those_of_the_whole_network_at_the_same_size(network_and_images):
    network, images = network_and_images
    layers = unit_layers(network, images)
    masks = random_masks(layers.widths, 5, seed=7, density=0.5)
    decomposition = Decomposition(masks)
    cut = cut_network(network, layers, decomposition, [0, 4], images)
    before = [parameter.clone() for parameter in network.parameters()]
    refit = refit_network(network, layers, decomposition, [0, 4], [images])
    assert [one.shape for one in refit.parameters()] == [one.shape for one in cut.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(network.parameters(), before, strict=True))
    with torch.no_grad():
        whole = network(images)[:, [0, 4]]
        distances = [float((one(images) - whole).square().mean()) for one in (cut, refit)]
    assert distances[1] < 0.5 * distances[0]


def test_the_scales_of_units_multiply_those_of_the_whole_network_too():
    network = randomise(Chain(), seed=4)
    images = images_of(80)
    layers = unit_layers(network, images)
    scales = tuple(torch.full((5, width), 0.5, dtype=torch.float64) for width in layers.widths)
    everything = [torch.ones(5, width).bool() for width in layers.widths]
    masks = [*everything[:2], everything[2].clone()]
    masks[2][:, ::2] = False
    halved = Scales(scales, torch.ones(5))
    refit = refit_network(network, layers, Decomposition(masks, halved), [0, 1, 2], [images])
    whole = mask_network(network, layers, Decomposition(everything, halved), [0, 1, 2])
    cut = mask_network(network, layers, Decomposition(masks, halved), [0, 1, 2])
    with torch.no_grad():
        units = [F.relu(network.first(images)) * 0.5]
        units.append(F.relu(network.second(units[0])) * 0.5)
        units.append(F.relu(network.hidden(units[1].mean((2, 3)))) * 0.5)
        weight, bias = fitted(units[2][:, masks[2][0]].numpy(), whole(images).numpy())
        expected = units[2][:, masks[2][0]].numpy() @ weight.T + bias
        assert np.allclose(refit(images).numpy(), expected)
        assert not np.allclose(cut(images).numpy(), expected, atol=1e-3)


def test_a_layer_that_is_called_twice_stays_as_it_is():
    network = randomise(Twice(), seed=6)
    images = torch.randn(40, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    layers = unit_layers(network, images)
    keep = [torch.tensor([1, 1, 0, 1, 1, 0]).bool() for _ in layers.widths]
    refit = refit_network(network, layers, keep, [0, 1, 2, 3, 4], [images])
    cut = cut_network(network, layers, keep, [0, 1, 2, 3, 4], images)
    unlike = [
        name
        for (name, one), other in zip(refit.named_parameters(), cut.parameters(), strict=True)
        if not torch.equal(one, other)
    ]
    assert [name.rpartition("_")[2] for name in unlike] == ["last.weight", "last.bias"]


def test_no_images_are_refused():
    network = randomise(Chain(), seed=0)
    layers = unit_layers(network, images_of(2))
    with pytest.raises(ValueError, match="no images to refit on"):
        refit_network(network, layers, [torch.ones(width).bool() for width in layers.widths], [0, 1], [])
