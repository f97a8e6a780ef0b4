"""Networks that are easily cut wrongly: each is either cut to the same numbers or refused by name."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from moda_core import cut_network, largest_difference, mask_network, unit_layers

IMAGES = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Net(nn.Module):
    """Layers to choose from; ``body(net, images)`` makes features, a head the logits."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.over = nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.mul, self.getitem_select, self.mean_pool = nn.BatchNorm2d(6), nn.Tanh(), nn.Tanh()
        self.head = nn.Linear(6, 3)
        self.deep, self.wide = nn.Linear(6, 6, bias=False), nn.Linear(6, 3, bias=False)
        for layer in (self.deep, self.wide):  # so that a weight is a new tensor whenever it is asked for
            parametrizations.weight_norm(layer)

    def forward(self, x):
        return self.body(self, x)


def pooled(x):
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def expanded(x):
    return x.mean((2, 3), keepdim=True).expand_as(x)


def body(function):
    return pytest.param(function, id=function.__name__)


def an_expanded_factor_read_twice(n, x):
    x = F.relu(n.one(x))
    factor = expanded(x)
    return n.head(pooled(x * factor + F.avg_pool2d(factor, 3, 1, 1)))


def a_module_called_mul(n, x):
    return n.head(pooled(n.mul(n.two(F.relu(n.one(x))))))


def names_that_ours_might_take(n, x):
    x = F.relu(n.one(x))
    return n.head((n.two(x[:, [5, 4, 3, 2, 1, 0]]) + n.getitem_select(x)).mean((2, 3)) + pooled(n.mean_pool(x)))


def in_place_on_what_only_its_size_is_read_of(n, x):
    x = n.one(x)
    batch = x.size(0)
    return n.head(n.two(n.over(x)).mean((2, 3)).view(batch, -1))


def numbers_on_either_side(n, x):
    x = F.relu(n.one(x))
    return n.head(pooled(2 * x - 3 + n.two(x / 2 + 1) * 0.5))


def logits_of_a_second_call(n, x):
    x = F.relu(n.one(x))
    first = n.head(pooled(x))
    second = n.head(pooled(n.two(x)))
    first = first + second
    return second.view(-1, 3)


def two_linear_layers_without_bias(n, x):
    return n.wide(F.relu(n.deep(pooled(F.relu(n.one(x))))))


def logits_as_channels(n, x):
    return n.two(F.relu(n.one(x)))[:, [4, 1, 0]].mean((2, 3))


CUT = [
    body(a_module_called_mul),
    body(names_that_ours_might_take),
    body(in_place_on_what_only_its_size_is_read_of),
    body(numbers_on_either_side),
    body(logits_of_a_second_call),
    body(two_linear_layers_without_bias),
    body(logits_as_channels),
]


def made(function, change=lambda net: None):
    torch.manual_seed(0)
    net = Net(function).double()
    change(net)
    return net.eval()


def masks_of(layers):
    keep = [torch.rand(n, generator=torch.Generator().manual_seed(3)) < 0.5 for n in layers.widths]
    for keep_N in keep:
        keep_N[1] = True
    return keep


@pytest.mark.parametrize("function", CUT)
def test_cut_equals_masked(function):
    net = made(function)
    layers = unit_layers(net, IMAGES)
    keep = masks_of(layers)
    cut = cut_network(net, layers, keep, [2, 0], IMAGES)
    assert largest_difference(mask_network(net, layers, keep, [2, 0]), cut, IMAGES) < 1e-9


def plain(n, x):
    return n.head(pooled(F.relu(n.two(F.relu(n.one(x))))))


def of_rows(n, x):
    rows = F.avg_pool2d(n.two(F.relu(n.one(x))).flatten(2), 3, 1, 1)
    return n.head(rows.view(-1, 6, 6, 6).mean((2, 3)))


def hook(net):
    net.two.register_forward_hook(lambda module, inputs, output: output * 2)


def pre_hook(net):
    net.two.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))


def own_forward(net):
    net.two.forward = lambda x: F.conv2d(x, net.two.weight) * 2


def subclass(net):
    class Doubling(nn.Conv2d):
        __module__ = "torch.nn.elsewhere"  # so that tracing takes it for a layer

        def forward(self, x):
            return super().forward(x) * 2

    net.two = Doubling(6, 6, 3, padding=1).double()


@pytest.mark.parametrize("change", [hook, pre_hook, own_forward, subclass])
def test_layers_that_compute_something_else_are_refused(change):
    net = made(plain, change)
    layers = unit_layers(net, IMAGES)
    with pytest.raises(ValueError, match="'two': cutting does not know"):
        cut_network(net, layers, masks_of(layers), [0], IMAGES)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: parametrizations.weight_norm(net.two),
        lambda net: torch.nn.utils.weight_norm(net.two),
        lambda net: prune.random_unstructured(net.two, "weight", 0.5),
    ],
    ids=["parametrised", "weight norm", "pruned"],
)
def test_layers_that_make_their_weight_first_are_cut(change):
    net = made(plain, change)
    layers = unit_layers(net, IMAGES)
    keep = masks_of(layers)
    cut = cut_network(net, layers, keep, [2, 0], IMAGES)
    assert largest_difference(mask_network(net, layers, keep, [2, 0]), cut, IMAGES) < 1e-9


@pytest.mark.parametrize(
    ("function", "message"),
    [(of_rows, "avg_pool2d of sizes"), (an_expanded_factor_read_twice, "'expand_as'.*pixels change places")],
)
def test_what_reads_pixels_in_another_order_is_refused(function, message):
    net = made(function, lambda net: setattr(net, "narrow", nn.Conv2d(6, 6, 1).double()))
    layers = unit_layers(net, IMAGES)
    with pytest.raises(ValueError, match=message):
        cut_network(net, layers, masks_of(layers), [0], IMAGES)


def test_a_network_that_was_traced_in_another_mode_is_refused():
    net = made(lambda n, x: n.head(pooled(F.relu(n.one(x)) * 2 if n.training else F.relu(n.one(x)))))
    layers = unit_layers(net.train(), IMAGES)
    with pytest.raises(ValueError, match="call unit_layers again"):
        cut_network(net.eval(), layers, masks_of(layers), [0], IMAGES)


def test_constants_are_never_put_into_images_of_another_size():
    def halves(n, x):
        a, b = torch.sigmoid(F.relu(n.one(x))).chunk(2, 1)
        return n.head(torch.cat([pooled(n.narrow(a)), pooled(b)], 1))

    net = made(halves, lambda net: net.add_module("narrow", nn.Conv2d(3, 3, 3, padding=1).double()))
    layers = unit_layers(net, IMAGES)
    keep = [torch.tensor([False, False, False, True, True, False])]
    cut = cut_network(net, layers, keep, [0, 1], IMAGES)
    assert largest_difference(mask_network(net, layers, keep, [0, 1]), cut, IMAGES) < 1e-9
    with pytest.raises(ValueError, match=r"images are \(9, 9\); this network was cut for \(6, 6\)"):
        cut(torch.randn(2, 3, 9, 9).double())


@pytest.mark.parametrize("class_ids", [[], [0, 0], [-1], [3]])
def test_classes_that_are_not_there_are_refused_by_masking_too(class_ids):
    net = made(plain)
    layers = unit_layers(net, IMAGES)
    with pytest.raises(ValueError, match="class_ids"):
        mask_network(net, layers, masks_of(layers), class_ids)


def test_half_precision_constants_are_computed_wide():
    net = made(lambda n, x: n.head(pooled(n.norm(F.relu(n.one(x)))))).bfloat16()
    layers = unit_layers(net, IMAGES.bfloat16())
    keep = masks_of(layers)
    cut = cut_network(net, layers, keep, [0, 1, 2], IMAGES.bfloat16())
    assert next(cut.parameters()).dtype == torch.bfloat16
    masked = mask_network(net, layers, keep, [0, 1, 2])
    assert largest_difference(masked, cut, IMAGES.bfloat16()) < 0.02
