"""Heads and hidden units under the rules: their values, losses and choices."""

import pytest
import torch
from torch.nn import functional as F

from moda_core import (
    ACTIVITY,
    CONTRIBUTION,
    MAGNITUDE,
    SIZE,
    build_model,
    modular_losses,
    module_metrics,
    reuse_accuracy,
    unit_layers,
    watch_units,
)
from moda_core.units.attention import head_values
from tests.moda_core.conftest import randomise

IMAGES = torch.randn(24, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(24) % 3
BATCHES = [(IMAGES[:10], LABELS[:10]), (IMAGES[10:], LABELS[10:])]


@pytest.fixture(scope="module")
def network():
    sizes = {"in_channels": 3, "image_size": 6, "num_classes": 3, "width": 12, "heads": 3, "depth": 2, "patch": 2}
    return randomise(build_model("vit_small", **sizes), seed=2)


def first_block(network):
    """What the heads of the first block give, (B, H, T, d), and its hidden units, (B, T, N)."""
    patches = network.patches(IMAGES).flatten(2).transpose(1, 2)
    tokens = torch.cat([network.class_tokens.expand(len(IMAGES), -1, -1), patches], 1) + network.positions
    block = network.blocks[0]
    attention, read = block.attention, block.norm1(tokens)
    query, key, value = (
        layer(read).view(len(IMAGES), -1, 3, 4).transpose(1, 2)
        for layer in (attention.query, attention.key, attention.value)
    )
    heads = torch.softmax(query @ key.transpose(2, 3) / 2, -1) @ value
    tokens = tokens + attention.out(heads.transpose(1, 2).flatten(2))
    return heads, F.gelu(block.mlp[0](block.norm2(tokens)))


def test_a_head_s_value_is_the_mean_norm_of_what_it_gives_tokens(network):
    units = watch_units(network, unit_layers(network, IMAGES))(IMAGES)[1]
    heads, hidden = first_block(network)
    torch.testing.assert_close(units[0], heads.square().sum(-1).sqrt().mean(-1))
    torch.testing.assert_close(units[1], hidden.abs().mean(1))
    assert [unit.shape[1] for unit in units] == [3, 48, 3, 48]


def test_the_gradient_of_a_head_s_value():
    attended = torch.randn(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(head_values, attended)
    silent = torch.zeros(1, 1, 2, 2, requires_grad=True)
    head_values(silent).sum().backward()
    assert not silent.grad.any()
    assert head_values(torch.randn(2, 3, 4, 2, dtype=torch.bfloat16)).dtype == torch.float32


def test_every_loss_reaches_queries_and_hidden_units(network):
    watched = watch_units(network, unit_layers(network, IMAGES))
    for loss in modular_losses(watched(IMAGES)[1], LABELS, num_classes=3):
        network.zero_grad()
        loss.backward(retain_graph=True)
        for layer in (network.blocks[0].attention.query, network.blocks[1].mlp[0]):
            assert layer.weight.grad.abs().sum() > 0
    network.zero_grad()


def test_a_head_s_contribution_is_what_the_logit_would_lose_to_first_order(network):
    layers = unit_layers(network, IMAGES)
    found = CONTRIBUTION.unpack(CONTRIBUTION.count(network, layers, BATCHES, num_classes=3, grid={}))
    heads, _ = first_block(network)
    captured = []
    inner = network.blocks[0].attention.out.register_forward_pre_hook(
        lambda layer, inputs: captured.append(inputs[0]) or inputs[0].retain_grad()
    )
    network(IMAGES).gather(1, LABELS[:, None]).sum().backward()
    inner.remove()
    terms = (captured[0] * captured[0].grad).unflatten(-1, (3, 4)).sum((1, 3)).abs()
    torch.testing.assert_close(captured[0].unflatten(-1, (3, 4)).transpose(1, 2), heads)
    expected = torch.stack([terms[label == LABELS].mean(0) for label in range(3)])
    torch.testing.assert_close(found.means_CN[:, :3], expected)
    network.zero_grad()


def test_rates_need_a_threshold_above_0(network):
    layers = unit_layers(network, IMAGES)
    with pytest.raises(ValueError, match=r"heads at 'blocks\.0\.attention\.heads' is never exactly zero; choose"):
        ACTIVITY.check(layers, {"tau": [0.5], "threshold": [0.0]})
    counts = ACTIVITY.count(network, layers, BATCHES, num_classes=3, grid={"threshold": [1.0]})
    heads, _ = first_block(network)
    values = heads.norm(dim=-1).mean(-1)
    rates = torch.stack([(values > values.mean(0))[label == LABELS].double().mean(0) for label in range(3)])
    torch.testing.assert_close(ACTIVITY.unpack(counts).rates(1.0)[0], rates)
    assert all(mask.any(1).all() for mask in ACTIVITY.choose(counts, {"tau": 1.0, "threshold": 1.0}).keep)


def test_small_modules_keep_blocks_without_units(network):
    """Contributions, sizes and magnitudes may leave a block nothing, since tokens pass beside it."""
    layers = unit_layers(network, IMAGES)
    counts = CONTRIBUTION.count(network, layers, BATCHES, num_classes=3, grid={})
    level = float(counts["means"].max())
    keep = CONTRIBUTION.choose(counts, {"level": level}).keep
    assert sum(int(mask.sum()) for mask in keep) == 1
    found = SIZE.count(network, layers, BATCHES, num_classes=3, grid={"target": [0.01, 0.3]})
    sizes = [
        module_metrics(network, layers, SIZE.choose(found, {"target": target}), IMAGES).cut_size
        for target in (0.01, 0.3)
    ]
    assert sizes[0] < 0.15
    assert sizes[1] == pytest.approx(0.3, rel=0.1)
    assert 0 <= reuse_accuracy(network, layers, keep, BATCHES, subsets=[[0, 1], [1, 2]]).mean <= 1


def test_the_filter_of_a_head_are_its_rows_of_queries_keys_and_values(network):
    layers = unit_layers(network, IMAGES)
    counts = MAGNITUDE.count(network, layers, BATCHES, num_classes=3, grid={"magnitude_target": [0.3]})
    attention = network.blocks[0].attention
    rows = sum(layer.weight.abs().sum(1) for layer in (attention.query, attention.key, attention.value))
    norms = rows.view(3, 4).sum(1)
    torch.testing.assert_close(counts["norms"][:3], (norms / norms.mean()).detach())
    keep = MAGNITUDE.choose(counts, {"magnitude_target": 0.3}).keep
    assert module_metrics(network, layers, keep, IMAGES).cut_size == pytest.approx(0.3, rel=0.1)
