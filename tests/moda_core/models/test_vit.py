"""Vision Transformers by name."""

import pytest
import torch
from torch import nn

from moda_core import build_model, unit_layers

SMALL = {"in_channels": 3, "image_size": 8, "num_classes": 5, "width": 12, "depth": 2, "heads": 3, "patch": 2}


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "heads", "expected"),
    [
        ("vit_small", 12, 21_342_346),  # of which 21,278,986 are in linear layers
        ("deit_small", 6, 21_346_964),  # a token, its position and a head more
    ],
)
def test_the_published_sizes(name, heads, expected):
    with torch.device("meta"):
        network = build_model(name, in_channels=3, image_size=32, num_classes=10)
    assert parameters(network) == expected
    assert network.blocks[0].attention.heads == heads
    linear = sum(parameters(part) for part in network.modules() if isinstance(part, nn.Linear))
    assert linear == 21_278_986 + (3_850 if name == "deit_small" else 0)


@pytest.mark.parametrize("name", ["vit_small", "deit_small"])
def test_unit_layers_are_heads_and_hidden_units(name):
    layers = unit_layers(build_model(name, **SMALL), torch.zeros(1, 3, 8, 8))
    found = [(layer.name, layer.kind, layer.units, layer.may_be_empty) for layer in layers]
    assert found == [
        ("blocks.0.attention.heads", "heads", 3, True),
        ("blocks.0.mlp.1", "gelu", 48, True),
        ("blocks.1.attention.heads", "heads", 3, True),
        ("blocks.1.mlp.1", "gelu", 48, True),
    ]


def test_deit_s_logits_are_the_mean_of_its_two_heads():
    network, images = build_model("deit_small", **SMALL).eval(), torch.randn(2, 3, 8, 8)
    patches = network.patches(images).flatten(2).transpose(1, 2)
    tokens = torch.cat([network.class_tokens.expand(2, -1, -1), patches], 1) + network.positions
    tokens = network.norm(network.blocks(tokens))
    expected = (network.heads[0](tokens[:, 0]) + network.heads[1](tokens[:, 1])) / 2
    torch.testing.assert_close(network(images), expected)


def test_the_published_initialisation():
    torch.manual_seed(0)
    network = build_model("vit_small", **{**SMALL, "width": 96}, init="published")
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.15)
            assert not layer.bias.any()
    assert network.positions.std().item() == pytest.approx(0.02, rel=0.15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 5}, r"model\.width=12 must be a multiple of model\.heads=5"),
        ({"patch": 3}, r"images of 8 x 8 do not split into patches of model\.patch=3"),
        ({"depth": 0}, r"model\.depth=0 must be a whole number of at least 1"),
        ({"heads": True}, r"model\.heads=True must be a whole number"),
        ({"width": -4}, r"model\.width=-4 must be a whole number of at least 1"),
    ],
)
def test_sizes_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        build_model("vit_small", **{**SMALL, **options})
