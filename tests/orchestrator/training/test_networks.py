"""Networks of torchvision and of the user's own, by name."""

import re

import pytest
import torch
from torch import nn

from moda_core import unit_layers
from orchestrator.config.composing import load_config
from orchestrator.config.model_names import check_model_name, model_options
from orchestrator.errors import ConfigError
from orchestrator.training.data.loading import load_data
from orchestrator.training.data.vision import torchvision_models
from orchestrator.training.networks import make_model
from orchestrator.training.trial import check_trainable, make_network

HERE = "tests.orchestrator.training.test_networks"


class TinyNet(nn.Module):
    """A user's network."""

    def __init__(self, in_channels, image_size, num_classes, width=4):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, width, 3), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(width * (image_size - 2) ** 2, num_classes)

    def forward(self, images):
        return self.head(self.features(images))


class Branching(TinyNet):
    """One that cannot be traced."""

    def forward(self, images):
        return super().forward(images if images.sum() > 0 else -images)


class TwoOutputs(TinyNet):
    def forward(self, images):
        return super().forward(images), images


class OneLogitTooMany(TinyNet):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__(in_channels, image_size, num_classes + 1)


class Broken(TinyNet):
    def __init__(self, in_channels, image_size, num_classes):
        raise KeyError("of its own\nin two lines")


class AsItStands(nn.Sequential):
    """A network as tutorials have it, for digits."""

    def __init__(self, classes=10):
        super().__init__(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))


class TakesSome(AsItStands):
    def __init__(self, num_classes):
        super().__init__(num_classes)


class TakesAny(AsItStands):
    def __init__(self, **keywords):
        super().__init__(keywords["num_classes"])


class NeedsMore(AsItStands):
    def __init__(self, width):
        super().__init__()


@pytest.mark.parametrize(("name", "classes"), [("AsItStands", 10), ("TakesSome", 3), ("TakesAny", 3)])
def test_a_class_is_given_what_it_takes(name, classes):
    network = make_model(f"{HERE}:{name}", {}, in_channels=1, image_size=8, num_classes=classes)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, classes)
    if name == "AsItStands":
        network = make_model(f"{HERE}:{name}", {"classes": 3}, in_channels=1, image_size=8, num_classes=3)
        assert network[3].out_features == 3
        with pytest.raises(ConfigError, match=r"cannot take images of 3 x 8 x 8 .*; its constructor does not take"):
            make_model(f"{HERE}:{name}", {}, in_channels=3, image_size=8, num_classes=10)


def tiny_net(*, in_channels, image_size, num_classes, width=2):
    return TinyNet(in_channels, image_size, num_classes, width)


def no_network(*, in_channels, image_size, num_classes):
    return {"in_channels": in_channels}


def make(name, options=None, *, in_channels=1, image_size=8, num_classes=3):
    return make_model(name, options or {}, in_channels=in_channels, image_size=image_size, num_classes=num_classes)


pytestmark = pytest.mark.usefixtures("one_thread")


def test_moda_cores_names_are_built_as_before():
    torch.manual_seed(0)
    network = make("vgg", {"widths": [4, "M"], "hidden": []})
    assert [tuple(p.shape) for p in network.parameters()] == [(4, 1, 3, 3), (4,), (4,), (4,), (3, 64), (3,)]


@pytest.mark.parametrize(
    ("name", "image_size", "options"),
    [
        ("shufflenet_v2_x0_5", 16, {}),
        ("squeezenet1_1", 32, {"dropout": 0.1}),
        ("mobilenet_v3_small", 16, {}),
        ("googlenet", 32, {}),  # two more outputs in training unless told otherwise
        ("resnet18", 8, {}),
    ],
)
def test_torchvision_by_name(name, image_size, options):
    network = make(f"torchvision:{name}", options, image_size=image_size)
    assert network.training
    assert network(torch.randn(2, 1, image_size, image_size)).shape == (2, 3)
    assert len(unit_layers(network, torch.zeros(1, 1, image_size, image_size))) > 10


def test_the_size_of_the_image_reaches_a_vision_transformer(monkeypatch):
    models = torchvision_models()

    def small(*, weights, **keywords):
        sizes = {"patch_size": 8, "num_layers": 1, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8}
        return models.VisionTransformer(**sizes, **keywords)

    monkeypatch.setattr(models, "get_model_builder", lambda name: small)
    assert make("torchvision:vit_b_16", image_size=16).image_size == 16
    with pytest.raises(ValueError, match=r"cannot be built for images of 1 x 12 x 12 .*divisible"):
        make("torchvision:vit_b_16", image_size=12)


def test_torchvisions_own_network_where_the_images_are_rgb():
    torch.manual_seed(0)
    found = make("torchvision:squeezenet1_1", in_channels=3, image_size=32).state_dict()
    torch.manual_seed(0)
    expected = torchvision_models().squeezenet1_1(num_classes=3).state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("in_channels", [1, 4])
def test_the_first_convolution_for_other_images(in_channels):
    conv = make("torchvision:resnet18", in_channels=in_channels).conv1
    assert conv.weight.shape == (64, in_channels, 7, 7)
    assert (conv.stride, conv.padding, conv.bias) == ((2, 2), (3, 3), None)
    published = (2 / (64 * 49)) ** 0.5  # of torchvision's own initialisation
    assert float(conv.weight.detach().std()) == pytest.approx(published * (3 / in_channels) ** 0.5, rel=0.05)
    squeeze = make("torchvision:squeezenet1_1", in_channels=in_channels, image_size=32).features[0]
    assert squeeze.bias is not None
    assert torch.equal(squeeze.bias, torch.zeros(64))  # as torchvision starts it


@pytest.mark.parametrize("name", ["TinyNet", "tiny_net"])
def test_a_users_own_by_import_path(name):
    network = make(f"{HERE}:{name}", {"width": 5})
    assert type(network).__name__ == "TinyNet"
    assert network.features[0].out_channels == 5
    assert network.training


WRONG = {
    ("vgg17", ()): "known: deit_small, lenet5, .*; or torchvision:<name> .* or package.module:Name",
    ("nets.TinyNet", ()): "'nets.TinyNet' is not known",
    ("torchvision:", ()): "'torchvision:' is not known",
    ("torchvision:resnet19", ()): "is not known; among torchvision's classifiers: .*resnet18",
    ("torchvision:zzz", ()): "classifiers: 'alexnet', 'convnext_base', .* in all",
    ("torchvision:fcn_resnet50", ()): "does not classify images; among .*: resnet50",
    ("torchvision:fasterrcnn_resnet50_fpn", ()): "does not classify images",
    ("torchvision:r3d_18", ()): "does not classify images",
    ("torchvision:quantized_resnet18", ()): "does not classify images; among .*: resnet18",
    ("torchvision:resnet18", ("weights",)): "model.weights is set for you .*leave it out",
    ("torchvision:resnet18", ("in_channels",)): "model.in_channels is set for you",
    ("torchvision:googlenet", ("aux_logits",)): "model.aux_logits is set for you",
    ("torchvision:resnet18", ("depth",)): "'torchvision:resnet18' cannot be built for .*'depth'",
    ("torchvision:alexnet", ()): "'torchvision:alexnet' cannot take images of 1 x 8 x 8 .*too small; use larger images",
    ("torchvision.models:resnet18", ()): "write torchvision:resnet18",
    ("no_such_package.nets:TinyNet", ()): "cannot be imported here .*No module named.*PYTHONPATH",
    ("__main__:TinyNet", ()): "workers cannot import __main__",
    (f"{HERE}:TinyNets", ()): "has no TinyNets; it has .*TinyNet",
    (f"{HERE}:HERE", ()): "is neither a subclass of torch.nn.Module nor a function",
    (f"{HERE}:AsItStands", ()): (
        r"gives shape \(2, 10\) .* logits of \(2, 3\); its constructor does not take in_channels, image_size,"
        r" num_classes: write a function beside it, def make\(in_channels, image_size, num_classes\): return"
        rf" AsItStands\(\.\.\.\), and name that: model\.name={HERE}:make$"
    ),
    (
        f"{HERE}:NeedsMore",
        (),
    ): r"missing a required argument: 'width'; state it, model\.<key>=\.\.\., or write a function",
    (f"{HERE}:no_network", ()): "gives a dict; it must give a torch.nn.Module",
    (f"{HERE}:TinyNet", ("depth",)): "does not take these options: .*'depth'",
    (f"{HERE}:TinyNet", ("num_classes",)): "model.num_classes comes from the data",
    (f"{HERE}:Broken", ()): "cannot be built for images of 1 x 8 x 8 .*KeyError: .*of its own",
    (f"{HERE}:TwoOutputs", ()): r"gives a tuple .* it must give logits of \(2, 3\)",
    (f"{HERE}:OneLogitTooMany", ()): r"gives shape \(2, 4\) .* logits of \(2, 3\)",
    # A recorded configuration may be a stranger's: what is not a builder is not called.
    ("subprocess:Popen", ("args",)): "is neither a subclass of torch.nn.Module",
    ("subprocess:run", ("args",)): "must take in_channels",
}


@pytest.mark.parametrize(("name", "keys"), WRONG)
def test_mistakes_say_what_would_be_right(name, keys):
    with pytest.raises(ValueError, match=WRONG[name, keys]) as error:
        make(name, dict.fromkeys(keys, 1))
    assert "\n" not in str(error.value).replace("\\n", "")


def test_a_module_that_fails_to_import(tmp_path, monkeypatch):
    (tmp_path / "nets_that_fail.py").write_text("import torch\n\n1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"nets_that_fail cannot be imported here .*ZeroDivisionError"):
        make("nets_that_fail:TinyNet")


@pytest.mark.parametrize(
    "name", [None, 3, ["vgg"], "", "a:b:c", "../nets:Net", "nets:", ":Net", "a..b:Net", "nets:Net\n"]
)
def test_what_cannot_be_a_name(name):
    with pytest.raises(ValueError, match=re.escape(f"model.name={name!r} is not known")):
        check_model_name(name)


def test_only_moda_cores_options_are_known_before_building():
    assert model_options("resnet50") == ["width", "init"]
    assert model_options("torchvision:resnet18") is None
    assert model_options("no_such_package:Net") is None


def test_from_configuration_to_network(tmp_path):
    def configured(*overrides):
        return load_config([f"storage={tmp_path}", "tracking=none", *overrides])

    config = configured("model=own", f"model.name={HERE}:TinyNet", "model.width=3", "data.limit=200")
    data = load_data(config.data)
    check_trainable(config, data)
    first, second = (make_network(config, data).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)  # from the training seed
    check_trainable(configured("model=torchvision", "model.name=torchvision:shufflenet_v2_x0_5"), data)
    with pytest.raises(ConfigError, match="Branching cannot be traced"):
        check_trainable(configured("model=own", f"model.name={HERE}:Branching"), data)
    with pytest.raises(ConfigError, match="1 x 8 x 8"):
        check_trainable(configured("model=torchvision", "model.name=torchvision:alexnet"), data)
