"""Torch-Pruning as a second oracle, where what it removes is what a mask drops: coupled channels masked alike."""

import pytest
import torch
import torch_pruning
from torch import nn

from moda_core import build_model, cut_network, unit_layers
from tests.moda_core.conftest import randomise
from tests.moda_core.cutting.test_cutter import parameters

NETWORKS = {
    "lenet5": {"image_size": 12, "in_channels": 1},
    "vgg": {"image_size": 8, "in_channels": 3, "widths": [6, "M", 8, 8, "M"], "hidden": [10]},
    "mobilenet_v1": {"image_size": 16, "in_channels": 3, "width": 4},
}


def layer_before(network, layers, name):
    """The layer with weights whose outputs are a unit layer's: the last one before it that is not a norm."""
    modules = dict(network.named_modules())
    node = next(node for node in layers.graph.nodes if node.name == name)
    while not isinstance(modules.get(str(node.target)), nn.Conv2d | nn.Linear):
        node = node.all_input_nodes[0]
    return modules[str(node.target)]


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_removing_the_dropped_units_gives_the_same_network(name):
    network = randomise(build_model(name, num_classes=5, **NETWORKS[name]), seed=4)
    size, channels = NETWORKS[name]["image_size"], NETWORKS[name]["in_channels"]
    images = torch.randn(4, channels, size, size, dtype=torch.float64)
    layers = unit_layers(network, images)
    generator = torch.Generator().manual_seed(9)
    keep: list[torch.Tensor] = []
    for layer in layers:
        producer = layer_before(network, layers, layer.node)
        if isinstance(producer, nn.Conv2d) and producer.groups > 1:
            keep.append(keep[-1])  # a depthwise channel goes with the channel it reads
        else:
            keep.append(torch.rand(layer.units, generator=generator) < 0.5)
            keep[-1][0] = True
    cut = cut_network(network, layers, keep, range(5), images)

    graph = torch_pruning.DependencyGraph().build_dependency(network, example_inputs=images)
    for layer, keep_N in zip(layers, keep, strict=True):
        producer = layer_before(network, layers, layer.node)
        if isinstance(producer, nn.Conv2d) and producer.groups > 1:
            continue
        remove = (
            torch_pruning.prune_conv_out_channels
            if isinstance(producer, nn.Conv2d)
            else torch_pruning.prune_linear_out_channels
        )
        graph.get_pruning_group(producer, remove, idxs=(~keep_N).nonzero().flatten().tolist()).prune()
    torch.testing.assert_close(cut(images), network(images), rtol=1e-9, atol=1e-9)
    assert parameters(cut) == parameters(network)
