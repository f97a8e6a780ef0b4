"""torchvision's architectures: cut networks against masked ones, and what only the masked network can do."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from moda_core import (
    cut_network,
    largest_difference,
    load_modules,
    mask_network,
    merge_masks,
    module_metrics,
    save_modules,
    slice_modules,
    unit_layers,
)
from moda_core.cutting import compose
from moda_core.graph import ChannelGraph, channel_graph
from moda_core.sets import export_modules
from orchestrator.training.data import torchvision_models
from orchestrator.training.networks import make_model
from tests.moda_core.conftest import random_decomposition, random_masks, randomise
from tests.moda_core.cutting.test_cutter import parameters


def warmed_up(name, size):
    """A network whose batch norm has statistics of its inputs, so that activations neither vanish nor saturate."""
    torch.manual_seed(0)
    network = make_model(f"torchvision:{name}", {}, in_channels=3, image_size=size, num_classes=4)
    images = torch.randn(8, 3, size, size)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    return network.eval(), images[:4]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("shufflenet_v2_x0_5", 32),  # chunk, concat, channel shuffle
        ("squeezenet1_1", 32),  # concat, logits that are pooled
        ("mobilenet_v3_small", 32),  # depthwise, squeeze-and-excitation, Hardswish
        ("mnasnet0_5", 32),  # depthwise, a mean over pixels
        ("efficientnet_b0", 32),  # SiLU, stochastic depth, in-place dropout
        pytest.param("regnet_y_400mf", 32, marks=pytest.mark.slow),  # grouped convolutions
        pytest.param("densenet121", 32, marks=pytest.mark.slow),  # concats of many
    ],
)
def test_cut_equals_masked(name, size):
    network, images = warmed_up(name, size)
    layers = unit_layers(network, images)
    masks = random_masks(layers.widths, 4, seed=1, density=0.9)
    masked = mask_network(network, layers, merge_masks(masks, [3, 1]), [3, 1])
    cut = compose(network, layers, masks, [3, 1], images)
    assert largest_difference(masked, cut, images) < 1e-4
    with torch.no_grad():
        logits = masked(images)
    assert float(logits.std(0).max()) > 1e-5 * float(logits.abs().max())  # they depend on the image
    found = module_metrics(network, layers, masks, images)
    assert found.parameters == sum(p.numel() for p in network.parameters())
    alone = compose(network, layers, masks, [2], images)
    assert parameters(alone) == round(float(found.sizes_C[2]) * found.parameters)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("VisionTransformer", {"patch_size": 8, "num_layers": 2, "num_heads": 3, "hidden_dim": 24, "mlp_dim": 40}),
        pytest.param("vit_b_32", {}, marks=pytest.mark.slow),
    ],
)
def test_a_vision_transformer_is_cut(name, options):
    size = options.get("patch_size", 56) * 4
    torch.manual_seed(0)
    network = getattr(torchvision_models(), name)(image_size=size, num_classes=4, **options)
    torch.nn.init.normal_(network.heads.head.weight)  # torchvision starts at zeros
    network, images = network.eval(), torch.randn(3, 3, size, size)
    layers = unit_layers(network, images)
    assert [layer.kind for layer in layers] == ["heads", "gelu"] * (len(layers) // 2)
    assert layers[0].name == "encoder.layers.encoder_layer_0.self_attention.heads"
    check_cut(network, layers, images, within=1e-4)


def check_cut(network, layers, images, *, within):
    masks = random_masks(layers.widths, 4, seed=1, density=0.4)
    masked = mask_network(network, layers, merge_masks(masks, [2, 0]), [2, 0])
    assert largest_difference(masked, compose(network, layers, masks, [2, 0], images), images) < within
    found = module_metrics(network, layers, masks, images)
    assert found.parameters == sum(p.numel() for p in network.parameters())


def test_convnext_is_cut():
    torch.manual_seed(0)
    block = torchvision_models().convnext.CNBlockConfig
    network = randomise(torchvision_models().ConvNeXt([block(6, 8, 2), block(8, None, 1)], num_classes=4), seed=1)
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    layers = unit_layers(network, images)
    assert [(layer.kind, layer.units, layer.dimension) for layer in layers] == [("gelu", n, -1) for n in (24, 24, 32)]
    check_cut(network, layers, images, within=1e-9)


SWINS = {  # by what the windows are: options, and the side of the images
    "as large as the image": ({"window_size": [4, 4], "depths": [2], "num_heads": [2]}, 8),
    "shifted": ({"window_size": [2, 2], "depths": [2], "num_heads": [2]}, 8),
    "filled up and merged": ({"window_size": [3, 3], "depths": [2, 2], "num_heads": [2, 3]}, 16),
    "not square": ({"window_size": [4, 3], "depths": [2], "num_heads": [3]}, 20),
    "larger than the image": ({"window_size": [7, 7], "depths": [2, 2], "num_heads": [3, 2]}, 8),
}


def swin(windows, seed=1):
    options, side = SWINS[windows]
    torch.manual_seed(0)
    network = torchvision_models().SwinTransformer(**options, patch_size=[2, 2], embed_dim=6, num_classes=4)
    generator = torch.Generator().manual_seed(2)
    return randomise(network, seed), torch.randn(3, 3, side, side, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("windows", SWINS)
def test_heads_and_hidden_units_of_swin_are_cut(windows):
    network, images = swin(windows)
    layers = unit_layers(network, images)
    options = SWINS[windows][0]
    heads = [count for count, depth in zip(options["num_heads"], options["depths"], strict=True) for _ in range(depth)]
    assert [layer.units for layer in layers if layer.kind == "heads"] == heads
    assert [layer.kind for layer in layers] == ["heads", "gelu"] * len(heads)
    every = [torch.ones(width, dtype=torch.bool) for width in layers.widths]
    assert largest_difference(network, cut_network(network, layers, every, range(4), images), images) < 1e-12
    check_cut(network, layers, images, within=1e-9)
    # What a mask of heads drops is what zeros in the columns of the projection drop.
    keep = [*every]
    keep[2] = torch.arange(layers[2].units) != 1
    masked = mask_network(network, layers, keep, range(4))(images)
    numbers = 6 // layers[2].units
    with torch.no_grad():
        network.features[1][1].attn.proj.weight[:, numbers : 2 * numbers] = 0
    torch.testing.assert_close(masked, network(images))


def test_a_head_of_swin_goes_with_its_biases_by_position():
    network, images = swin("not square")
    layers = unit_layers(network, images)
    keep = [torch.ones(width, dtype=torch.bool) for width in layers.widths]
    keep[0] = torch.tensor([True, False, False])
    cut = cut_network(network, layers, keep, range(4), images)
    biases = [tensor for name, tensor in cut.named_parameters() if name.endswith("biases.weight")]
    table = network.features[1][0].attn.relative_position_bias_table
    torch.testing.assert_close(biases[0], table.T[:1])
    assert biases[1].shape == (3, 35)
    lost = parameters(network) - parameters(cut)
    assert lost == 2 * (35 + 3 * (6 * 2 + 2) + 2 * 6)  # biases, rows of queries, keys and values, columns


@pytest.mark.slow
@pytest.mark.parametrize("windows", ["filled up and merged"])
def test_module_sets_of_swin_are_sliced_and_exported(windows, tmp_path):
    network, images = swin(windows)
    network, images = network.float(), images.float()
    layers = unit_layers(network, images)
    units = random_decomposition(layers.widths, 4, seed=3)
    recipe = {"shape": [3, 16, 16], "mean": [0.5] * 3, "std": [0.25] * 3}
    names = ["ant", "bee", "cat", "dog"]
    save_modules(tmp_path / "set", network, layers, units, images, class_names=names, preprocessing=recipe)
    slice_modules(tmp_path / "set", tmp_path / "part", ["dog", "bee"])
    masked = mask_network(network, layers, units, [3, 1])
    for folder in ("set", "part"):
        module = load_modules(tmp_path / folder, ["dog", "bee"])
        assert largest_difference(masked, module, images) < 1e-5
    for name in ("module.onnx", "module.pt2"):  # which are compared with the module before they are kept
        assert export_modules(module, tmp_path / name) < 1e-5


HOSTILE = {
    "windows of no token": ({"window": [0, 3]}, "must be two whole numbers of at least 1"),
    "other windows than tokens": ({"window": [3, 4]}, "window_attention of sizes"),
    "another grid": ({"grid": [1, 3]}, "window_attention of sizes"),
    "shifted by a window": ({"shift": [3, 0]}, "window_attention of sizes"),
    "other heads than biases": ({"heads": 3}, "biases of 2 channels are not those of its heads"),
    "a number as windows": ({"window": 9}, "must be two whole numbers"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_windows_are_refused(case):
    attributes, message = HOSTILE[case]
    network, images = swin("filled up and merged")
    graph, _ = channel_graph(network, unit_layers(network, images), images)
    with pytest.raises(ValueError, match=message):
        with_other_windows(graph, attributes)


def with_other_windows(graph, attributes):
    place, node = next((place, node) for place, node in enumerate(graph.nodes) if node.op == "window_attention")
    changed = replace(node, attributes={**node.attributes, **attributes})
    return ChannelGraph((*graph.nodes[:place], changed, *graph.nodes[place + 1 :]), graph.widths)


def test_what_cutting_does_not_know_of_swin_is_refused_by_name():
    options = {"patch_size": [2, 2], "embed_dim": 6, "depths": [2], "num_heads": [2], "window_size": [2, 2]}
    images, models = torch.randn(3, 3, 8, 8), torchvision_models()
    second = models.swin_transformer.SwinTransformerBlockV2
    network = models.SwinTransformer(**options, num_classes=4, block=second).eval()
    layers = unit_layers(network, images)
    assert {layer.kind for layer in layers} == {"gelu", "relu"}  # no heads; the ReLU makes biases by position
    keep = [torch.arange(n) % 2 == 0 for n in layers.widths]
    assert mask_network(network, layers, keep, [0, 2])(images).shape == (3, 2)
    with pytest.raises(ValueError, match="the masked network still works"):
        cut_network(network, layers, keep, [0, 2], images)
    with pytest.raises(ValueError, match="tracing freezes shifted_window_attention, which differs in training"):
        unit_layers(models.SwinTransformer(**options, attention_dropout=0.1, num_classes=4), images)


@pytest.mark.slow
def test_swin_t_is_cut():
    torch.manual_seed(0)
    network = torchvision_models().swin_t(num_classes=4).eval()
    images = torch.randn(2, 3, 64, 64)
    check_cut(network, unit_layers(network, images), images, within=1e-4)
