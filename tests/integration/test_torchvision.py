"""torchvision's architectures: cut networks against masked ones, and what only the masked network can do."""

import pytest
import torch
from torch import nn

from moda_core import cut_network, largest_difference, mask_network, merge_masks, module_metrics, unit_layers
from moda_core.cutting import compose
from orchestrator.training.networks import make_model
from tests.moda_core.conftest import random_masks
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


@pytest.mark.slow
def test_a_transformer_s_masked_network_works_and_cutting_it_is_refused():
    network, images = warmed_up("vit_b_32", 224)
    layers = unit_layers(network, images)
    assert {(layer.kind, layer.units, layer.dimension) for layer in layers} == {("gelu", 3072, -1)}
    keep = [torch.arange(n) % 2 == 0 for n in layers.widths]
    assert mask_network(network, layers, keep, [0, 2])(images[:1]).shape == (1, 2)
    with pytest.raises(ValueError, match="lie in the last one"):
        cut_network(network, layers, keep, [0, 2], images)
