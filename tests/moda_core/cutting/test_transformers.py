"""Transformers: whole heads and hidden units are cut, exactly, and the residual stream is left alone."""

import random

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from moda_core import (
    Decomposition,
    build_model,
    cut_network,
    largest_difference,
    mask_network,
    refit_network,
    unit_layers,
)
from moda_core.cutting import compose
from moda_core.errors import NetworkError
from moda_core.graph import channel_graph
from moda_core.measuring.metrics import sizes_and_overlaps
from moda_core.sets.module_file import held_union
from moda_core.units import gate_sites
from tests.moda_core.conftest import random_decomposition, randomise
from tests.moda_core.cutting.random_transformers import ATTENTIONS, Block, random_transformer
from tests.moda_core.cutting.test_cutter import parameters
from tests.moda_core.cutting.test_random_networks import CLASSES, IMAGES, check_laws

CASES = {
    "seed": st.integers(0, 10**6),
    "density": st.sampled_from([0.1, 0.4, 0.8]),
    "classes": st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=CLASSES, unique=True),
}


@settings(deadline=None, max_examples=5)
@given(**CASES)
def test_cut_equals_masked_and_the_sizes_are_those_of_what_was_cut(seed, density, classes):
    check_transformer(seed, density, classes, unit_layers)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(**CASES)
def test_cut_equals_masked_on_many_transformers(seed, density, classes):
    check_transformer(seed, density, classes, unit_layers)


@settings(deadline=None, max_examples=3)
@given(**CASES)
def test_cut_equals_masked_at_the_linear_layers_of_mask_generators(seed, density, classes):
    check_transformer(seed, density, classes, gate_sites)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(**CASES)
def test_cut_equals_masked_at_the_linear_layers_of_many_transformers(seed, density, classes):
    check_transformer(seed, density, classes, gate_sites)


def check_transformer(seed, density, classes, sites):
    network = random_transformer(seed, classes=CLASSES)
    assume(sites is unit_layers or len(network.blocks) > 1)
    layers = sites(network, IMAGES)
    generator = torch.Generator().manual_seed(seed)
    drawn = random_decomposition(layers.widths, CLASSES, seed, density)
    masks = [torch.rand(CLASSES, width, generator=generator) < density for width in layers.widths]  # some are empty
    with sdpa_kernel(SDPBackend.MATH):  # whose operations are counted
        check_laws(network, layers, Decomposition(masks, drawn.scales, drawn.bias_C), classes)


def vit(**options):
    sizes = {"in_channels": 3, "image_size": 6, "num_classes": CLASSES, "width": 12, "heads": 3, "depth": 2, "patch": 3}
    return randomise(build_model("vit_small", **{**sizes, **options}), seed=3)


def layers_of(network):
    return {name: tuple(part.weight.shape) for name, part in network.named_modules() if isinstance(part, nn.Linear)}


def test_whole_heads_go_with_their_rows_and_columns_and_hidden_units_with_theirs():
    network = vit(depth=1)
    layers = unit_layers(network, IMAGES)
    assert [(layer.name, layer.units) for layer in layers] == [("blocks.0.attention.heads", 3), ("blocks.0.mlp.1", 48)]
    hidden = torch.arange(48) < 7
    cut = cut_network(network, layers, [torch.tensor([False, True, True]), hidden], [2, 0], IMAGES)
    shapes = list(layers_of(cut).values())
    assert shapes == [(8, 12), (8, 12), (8, 12), (12, 8), (7, 12), (12, 7), (2, 12)]
    own = dict(cut.named_modules())
    query = next(part for name, part in own.items() if name.endswith("attention_query"))
    torch.testing.assert_close(query.weight, network.blocks[0].attention.query.weight[4:])
    out = next(part for name, part in own.items() if name.endswith("attention_out"))
    torch.testing.assert_close(out.weight, network.blocks[0].attention.out.weight[:, 4:])
    torch.testing.assert_close(out.bias, network.blocks[0].attention.out.bias)


def test_queries_and_keys_keep_what_both_keep_and_the_residual_stream_is_left_alone():
    network = vit()
    sites = gate_sites(network, IMAGES)
    assert [site.name.removeprefix("blocks.1.") for site in sites] == [
        *("attention.query", "attention.key", "attention.value", "attention.out", "mlp.0", "mlp.2")
    ]
    keep = [torch.zeros(site.units, dtype=torch.bool) for site in sites]
    for mask, kept in zip(keep, ([0, 1, 4], [1, 4, 5, 9], [0, 7], [3, 11], [5, 6, 7, 40], [2]), strict=True):
        mask[kept] = True
    cut = cut_network(network, sites, keep, range(CLASSES), IMAGES)
    assert largest_difference(mask_network(network, sites, keep, range(CLASSES)), cut, IMAGES) < 1e-12
    of_block = list(layers_of(cut).values())[6:12]
    assert of_block == [(2, 12), (2, 12), (2, 12), (2, 2), (4, 12), (1, 4)]
    own = dict(cut.named_modules())
    query = next(part for name, part in own.items() if name.endswith("blocks_1_attention_query"))
    torch.testing.assert_close(query.weight, network.blocks[1].attention.query.weight[[1, 4]])


def test_a_block_without_heads_or_hidden_units_becomes_its_bias():
    network = vit(depth=1)
    layers = unit_layers(network, IMAGES)
    nothing = [torch.zeros(width, dtype=torch.bool) for width in layers.widths]
    cut = cut_network(network, layers, nothing, range(CLASSES), IMAGES)
    block = network.blocks[0]
    patches = network.patches(IMAGES).flatten(2).transpose(1, 2)
    tokens = torch.cat([network.class_tokens.expand(len(IMAGES), -1, -1), patches], 1) + network.positions
    expected = network.heads[0](network.norm(tokens + block.attention.out.bias + block.mlp[2].bias)[:, 0])
    torch.testing.assert_close(cut(IMAGES), expected)
    left = (network.patches, network.norm, network.heads[0])
    kept = sum(parameters(part) for part in left) + network.class_tokens.numel() + network.positions.numel()
    assert parameters(cut) == kept
    assert largest_difference(mask_network(network, layers, nothing, range(CLASSES)), cut, IMAGES) < 1e-12


def test_a_layer_that_no_token_passes_beside_keeps_a_unit():
    network = nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.Flatten(2), Swapped(), nn.Linear(4, 5), nn.GELU(), Mean())
    network = randomise(nn.Sequential(*network, nn.Linear(5, 2)), seed=0)
    layers = unit_layers(network, IMAGES)
    assert [layer.may_be_empty for layer in layers] == [False]
    with pytest.raises(ValueError, match="mask of '4' keeps no unit; keep at least one"):
        cut_network(network, layers, [torch.zeros(5, dtype=torch.bool)], [0], IMAGES)


class Swapped(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


class OneBlock(nn.Module):
    """A block with attention of a form, after patches and before a head."""

    def __init__(self, attention):
        super().__init__()
        self.patches, self.attention, self.head = nn.Conv2d(3, 6, 2, 2), attention, nn.Linear(6, CLASSES)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head((x + self.attention(x)).mean(1))


@pytest.mark.parametrize("form", ATTENTIONS)
def test_heads_of_every_form_are_units(form):
    network = randomise(OneBlock(form(6, 3, True)), seed=5)
    layers = unit_layers(network, IMAGES)
    assert [(layer.name, layer.kind, layer.units) for layer in layers][:1] == [
        ("attention.attention.heads" if form.__name__ == "Module" else "attention.heads", "heads", 3)
    ]
    # What a mask drops is what zeros in the columns of the projection drop.
    keep = torch.tensor([True, False, True])
    masked = mask_network(network, layers, [keep], range(CLASSES))(IMAGES)
    projection = next(
        getattr(part, name)
        for part in network.attention.modules()
        for name in ("out", "proj", "out_proj")
        if hasattr(part, name)
    )
    with torch.no_grad():
        projection.weight[:, 2:4] = 0
    torch.testing.assert_close(masked, network(IMAGES))


class Asked(nn.Module):
    """Attention by PyTorch's module or function, asked for something special."""

    def __init__(self, options, call):
        super().__init__()
        self.module = nn.MultiheadAttention(6, 3, **{"batch_first": True, **options})
        self.qkv, self.out, self.call = nn.Linear(6, 18), nn.Linear(6, 6), call

    def heads(self, x):
        return self.qkv(x).unflatten(-1, (3, 3, 2)).permute(2, 0, 3, 1, 4)

    def forward(self, x):
        return self.call(self, x)


def attended(**options):
    def call(n, x):
        return n.out(F.scaled_dot_product_attention(*n.heads(x), **options).transpose(1, 2).flatten(2))

    return call


def with_softmax(function):
    def call(n, x):
        q, k, v = n.heads(x)
        return n.out((function(q @ k.mT) @ v).transpose(1, 2).flatten(2))

    return call


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({}, lambda n, x: n.module(x, x, x)[0], "MultiheadAttention.*need_weights=False"),
        ({}, lambda n, x: n.module(x, x * 2, x, need_weights=False)[0], "MultiheadAttention.*it knows self-attention"),
        ({"dropout": 0.1}, lambda n, x: n.module(x, x, x, need_weights=False)[0], "MultiheadAttention.*dropout"),
        ({}, attended(is_causal=True), "scaled_dot_product_attention.*without mask or dropout"),
        ({}, with_softmax(lambda s: nn.functional.softmax(s, 1)), r"matmul.*F\.scaled_dot_product_attention"),
        ({}, with_softmax(lambda s: s.sigmoid()), r"matmul.*F\.scaled_dot_product_attention"),
        ({}, lambda n, x: n.out(x.flip(1)), "does not know.*flip"),
    ],
)
def test_what_is_not_known_is_refused_by_name(options, call, message):
    network = randomise(nn.Sequential(OneBlock(Asked(options, call)), nn.ReLU(), nn.Linear(CLASSES, 2)), seed=0)
    layers = unit_layers(network, IMAGES)
    keep = [torch.ones(width, dtype=torch.bool) for width in layers.widths]
    with pytest.raises(NetworkError, match=message):
        cut_network(network, layers, keep, [0], IMAGES)


def test_dropout_of_weights_in_plain_form_leaves_no_head():
    network = OneBlock(with_weights_dropped(0.5))
    with pytest.raises(ValueError, match="has no unit layers"):
        unit_layers(network, IMAGES.float())
    network = OneBlock(with_weights_dropped(0.0))
    assert [layer.kind for layer in unit_layers(network, IMAGES.float())] == ["heads"]


def with_weights_dropped(share):
    attention = Asked({}, None)
    attention.drop = nn.Dropout(share)
    attention.call = with_softmax(lambda s: attention.drop(s.softmax(-1)))
    return attention


def test_refitting_over_tokens_is_least_squares():
    network = vit(depth=1)
    layers = unit_layers(network, IMAGES)
    images = torch.randn(40, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    keep = [torch.ones(3, dtype=torch.bool), torch.arange(48) < 6]
    fitted = refit_network(network, layers, keep, range(CLASSES), [images[:25], images[25:]])
    block = network.blocks[0]
    patches = network.patches(images).flatten(2).transpose(1, 2)
    tokens = torch.cat([network.class_tokens.expand(len(images), -1, -1), patches], 1) + network.positions
    tokens = tokens + block.attention(block.norm1(tokens))
    hidden = block.mlp[:2](block.norm2(tokens)).flatten(0, 1)
    ones = torch.ones(len(hidden), 1, dtype=torch.float64)
    solution = torch.linalg.lstsq(torch.cat([hidden[:, :6], ones], 1), block.mlp[2](hidden)).solution
    layer = next(part for name, part in fitted.named_modules() if name.endswith("mlp_2"))
    torch.testing.assert_close(layer.weight, solution[:6].T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(layer.bias, solution[6], rtol=1e-6, atol=1e-6)


def test_the_published_count_of_a_transformer_is_its_cut_size():
    """No channel is a constant beside the residual stream, so that both ways to count agree."""
    network = vit()
    layers = unit_layers(network, IMAGES)
    graph, _ = channel_graph(network, layers, IMAGES)
    found = sizes_and_overlaps(graph, random_decomposition(layers.widths, CLASSES, 4))
    assert found.module_size == pytest.approx(found.cut_size)
    assert found.module_overlap == pytest.approx(found.cut_overlap)


def test_a_set_in_which_no_class_keeps_a_head_holds_none():
    network = vit(depth=1)
    layers = unit_layers(network, IMAGES)
    masks = [torch.zeros(CLASSES, 3, dtype=torch.bool), torch.ones(CLASSES, 48, dtype=torch.bool)]
    graph, _ = channel_graph(network, layers, IMAGES)
    union = held_union(graph, masks)
    assert not union.channels["scaled_dot_product_attention"].any()
    assert not union.channels["blocks_0_attention_query"].any()
    cut = compose(network, layers, masks, [1], IMAGES)
    assert largest_difference(mask_network(network, layers, [m[1] for m in masks], [1]), cut, IMAGES) < 1e-12


def test_a_block_in_which_everything_is_kept_computes_the_same():
    for seed, form in enumerate(ATTENTIONS):
        block = Block(random.Random(seed), 6, 3, form)
        network = randomise(OneBlock(block), seed)
        layers = unit_layers(network, IMAGES)
        keep = [torch.ones(width, dtype=torch.bool) for width in layers.widths]
        assert largest_difference(network, cut_network(network, layers, keep, range(CLASSES), IMAGES), IMAGES) < 1e-12
