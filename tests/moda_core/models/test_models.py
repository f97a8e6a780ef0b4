"""The networks by name are the published ones."""

import inspect

import pytest
import torch
from torch import nn

from moda_core import build_model, unit_layers
from moda_core.models import MODEL_OPTIONS, MODELS

# Parameters as published for CIFAR-10 (VGG16: 33.65 M) or, for LeNet-5, for grey images of 28 x 28; unit layers.
PUBLISHED = {
    "vgg16": (33_646_666, 15),
    "resnet18": (11_173_962, 17),
    "resnet50": (23_520_842, 49),
    "mobilenet_v1": (3_217_226, 27),
    "lenet5": (61_706, 4),
}
SMALLEST = {"vgg16": 32, "resnet18": 8, "resnet50": 8, "mobilenet_v1": 16, "lenet5": 12}
DEFAULT_WIDTH = {"vgg16": 64, "resnet18": 64, "resnet50": 64, "mobilenet_v1": 32, "lenet5": 6}
NAMES = sorted(PUBLISHED)


def build(name, **options):
    data = {"in_channels": 1, "image_size": 28} if name == "lenet5" else {"in_channels": 3, "image_size": 32}
    return build_model(name, **{**data, "num_classes": 10, **options})


def parameters(network):
    return sum(p.numel() for p in network.parameters())


pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_name_is_tested():
    assert {*PUBLISHED, "vgg", "vit_small", "deit_small"} == set(MODELS)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_number_of_parameters(name):
    with torch.device("meta"):
        assert parameters(build(name)) == PUBLISHED[name][0]
        assert parameters(build(name, width=DEFAULT_WIDTH[name])) == PUBLISHED[name][0]


@pytest.mark.parametrize("name", NAMES)
def test_the_published_number_of_unit_layers(name):
    size, channels = (28, 1) if name == "lenet5" else (32, 3)
    layers = unit_layers(build(name, width=2), torch.zeros(1, channels, size, size))
    assert len(layers) == PUBLISHED[name][1]


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_width_scales_every_layer_in_proportion(name, width):
    def outputs(network):
        weighted = [one for one in network.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
        return [len(one.weight) for one in weighted if one is not network.head]

    with torch.device("meta"):
        whole, scaled = outputs(build(name)), outputs(build(name, width=width))
    assert scaled[0] == width
    assert scaled == [round(one * width / DEFAULT_WIDTH[name]) for one in whole]


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_images_and_too_small_ones(name):
    size = SMALLEST[name]
    network = build(name, width=2, in_channels=2, image_size=size, num_classes=3).eval()
    assert network(torch.zeros(2, 2, size, size)).shape == (2, 3)
    with pytest.raises(ValueError, match=rf"at least {size} .*not {size - 1}"):
        build(name, image_size=size - 1)


@pytest.mark.parametrize("width", [0, -1, 1.5, True, "4"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_width(name, width):
    with pytest.raises(ValueError, match=r"model\.width=.* must be a whole number of at least 1"):
        build(name, width=width)


def test_vgg16_is_the_vgg_at_its_defaults():
    networks = []
    for name in ("vgg", "vgg16"):
        torch.manual_seed(0)
        networks.append(build(name).state_dict())
    assert list(networks[0]) == list(networks[1])
    assert all(torch.equal(networks[0][key], networks[1][key]) for key in networks[0])


def test_strides_for_small_images():
    found = {}

    def watch(name):
        return lambda module, inputs, output: found.setdefault(name, []).append(output.shape[-1])

    for name in ("mobilenet_v1", "resnet50"):
        network = build(name, width=1).eval()
        for block in network.blocks:
            block.register_forward_hook(watch(name))
        network(torch.zeros(1, 3, 32, 32))
    assert found["mobilenet_v1"] == [32, 16, 16, 8, 8, *[4] * 6, 2, 2]
    assert found["resnet50"] == [*[32] * 3, *[16] * 4, *[8] * 6, *[4] * 3]


def test_the_bottleneck_has_its_stride_on_the_3x3_convolution():
    block = build("resnet50", width=1).blocks[3]
    assert [one.stride[0] for one in (block.conv1, block.conv2, block.conv3)] == [1, 2, 1]


def test_unknown_names_and_options():
    with pytest.raises(
        ValueError, match="'vgg17' is not known; known: deit_small, lenet5, mobilenet_v1, resnet18, resnet50"
    ):
        build("vgg17")
    with pytest.raises(ValueError, match=r"'resnet50' does not take these options: .*depth"):
        build("resnet50", depth=3)


def test_lenet5_without_padding_is_the_published_one():
    assert parameters(build("lenet5", in_channels=3, image_size=32, padding=0)) == 62_006
    network = build("lenet5", image_size=16, padding=0)
    assert network(torch.zeros(2, 1, 16, 16)).shape == (2, 10)
    with pytest.raises(ValueError, match="at least 16 x 16, not 15 x 15"):
        build("lenet5", image_size=15, padding=0)
    with pytest.raises(ValueError, match=r"model\.padding=-1 must be at least 0"):
        build("lenet5", padding=-1)


@pytest.mark.parametrize("name", [*NAMES, "vgg"])
def test_the_published_initialisation(name):
    """Weights of convolutions have the deviation of He's rule by fan out; what is not published stays PyTorch's."""
    torch.manual_seed(0)
    width = {} if name == "vgg" else {"width": 16}
    network = build(name, init="published", **width)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            # PyTorch's fan out counts all channels, also those of a depthwise convolution.
            fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
            spread = (2 / layer.weight.numel()) ** 0.5  # of an estimate of a deviation, relatively
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=5 * max(spread, 0.02))
            assert layer.bias is None or not layer.bias.any()
        if isinstance(layer, nn.Linear):
            if name in ("vgg", "vgg16", "mobilenet_v1"):
                assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
                assert not layer.bias.any()
            else:
                bound = layer.in_features**-0.5
                assert layer.weight.abs().max() <= bound
                assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
                assert layer.bias.any()
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert (layer.bias == 0).all()


def test_the_default_initialisation_is_pytorchs():
    networks = []
    for options in ({}, {"init": "pytorch"}, {"init": "published"}):
        torch.manual_seed(0)
        networks.append(build("resnet18", width=4, **options).state_dict())
    assert all(torch.equal(networks[0][key], networks[1][key]) for key in networks[0])
    assert not torch.equal(networks[0]["conv1.weight"], networks[2]["conv1.weight"])
    with pytest.raises(ValueError, match=r"model\.init='he' is not known; known: pytorch, published"):
        build("vgg16", init="he")


def test_the_options_of_every_network_are_its_builders_keywords_and_its_initialisation():
    given = {"in_channels", "image_size", "num_classes"}
    keywords = {name: tuple(inspect.signature(build).parameters) for name, build in MODELS.items()}
    own = {name: (*(key for key in keys if key not in given), "init") for name, keys in keywords.items()}
    assert own == MODEL_OPTIONS
