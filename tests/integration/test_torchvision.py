"""torchvision's architectures: cut networks against masked ones, and what only the masked network can do."""

import pytest
import torch
from torch import nn

from moda_core import cut_network, largest_difference, mask_network, merge_masks, module_metrics, unit_layers
from moda_core.cutting import compose
from orchestrator.training.data import torchvision_models
from orchestrator.training.networks import make_model
from tests.moda_core.conftest import random_masks, randomise
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


def test_swin_is_masked_and_cutting_it_is_refused_by_name():
    torch.manual_seed(0)
    sizes = {"patch_size": [2, 2], "embed_dim": 6, "depths": [2], "num_heads": [2], "window_size": [2, 2]}
    network = torchvision_models().SwinTransformer(**sizes, num_classes=4).eval()
    images = torch.randn(3, 3, 8, 8)
    layers = unit_layers(network, images)
    assert {(layer.kind, layer.units, layer.dimension) for layer in layers} == {("gelu", 24, -1)}
    keep = [torch.arange(n) % 2 == 0 for n in layers.widths]
    assert mask_network(network, layers, keep, [0, 2])(images).shape == (3, 2)
    with pytest.raises(ValueError, match="does not know the operation _get_relative_position_bias"):
        cut_network(network, layers, keep, [0, 2], images)
