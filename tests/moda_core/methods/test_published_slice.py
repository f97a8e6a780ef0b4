"""NeMo's slice of a Vision Transformer: against a plain computation of it with the weights of the whole network."""

import pytest
import torch
from torch.nn import functional as F

from moda_core import build_model
from moda_core.methods import Nemo
from moda_core.units import gate_sites
from tests.moda_core.conftest import randomise

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SIZES = {"in_channels": 3, "image_size": 8, "num_classes": 5, "width": 12, "depth": 3, "heads": 3, "patch": 4}


@pytest.fixture(params=["vit_small", "deit_small"])
def network(request):
    return randomise(build_model(request.param, **SIZES), seed=1)


def random_keep(sites, density=0.5):
    generator = torch.Generator().manual_seed(2)
    masks = [torch.rand(site.units, generator=generator) < density for site in sites]
    for mask in masks:
        mask[0] = True
    return masks


def sliced(network, keep, classes=2):
    return Nemo(published=True).tuning_module(network, gate_sites(network, IMAGES), keep, classes)


def norm_of(stream, mask):
    """A new layer norm over some channels, which leaves the others at 0."""
    return torch.zeros_like(stream).masked_scatter(mask, F.layer_norm(stream[..., mask], [int(mask.sum())], eps=1e-12))


def test_it_computes_what_zeros_in_the_whole_weights_and_new_norms_do(network):
    keep = random_keep(gate_sites(network, IMAGES))
    module = sliced(network, keep).double().eval()
    patches = network.patches(IMAGES).flatten(2).transpose(1, 2)
    tokens = torch.cat([network.class_tokens.expand(4, -1, -1), patches], 1) + network.positions
    tokens, stream = network.blocks[0](tokens), torch.ones(12, dtype=torch.bool)
    for block, masks in zip(network.blocks[1:], (keep[:6], keep[6:]), strict=True):
        query, key, value, out, hidden, last = masks
        read, attention = norm_of(tokens * stream, stream), block.attention
        parts = [
            (layer(read) * mask).unflatten(-1, (3, 4)).transpose(1, 2)
            for layer, mask in (
                (attention.query, query & key),
                (attention.key, query & key),
                (attention.value, value),
            )
        ]
        weights = (parts[0] @ parts[1].mT / 2).softmax(-1)
        tokens = tokens * stream + attention.out((weights @ parts[2]).transpose(1, 2).flatten(2)) * out
        inner = block.mlp[1](block.mlp[0](norm_of(tokens, out)) * hidden) * hidden
        tokens, stream = (tokens + block.mlp[2](inner)) * last, last
    features = F.layer_norm(tokens[:, 0][:, stream], [int(stream.sum())], eps=1e-12)
    torch.testing.assert_close(module(IMAGES), module.head(features))
    assert features.shape[1] == module.head[1].in_features
    assert module.head[1].out_features == 2


def test_its_linear_layers_are_cut_on_both_sides_by_the_masks(network):
    sites = gate_sites(network, IMAGES)
    keep = random_keep(sites)
    second = sliced(network, keep).later[1]
    query, key, value, out, hidden, last = (int(mask.sum()) for mask in keep[6:])
    both, stream = int((keep[6] & keep[7]).sum()), int(keep[5].sum())
    layers = (second.query, second.key, second.value, second.out, second.mlp[0], second.mlp[2])
    assert [tuple(layer.weight.shape) for layer in layers] == [
        *((both, stream), (both, stream), (value, stream)),
        *((out, value), (hidden, out), (last, hidden)),
    ]
    assert max(query, key) > both


def test_the_network_stays_as_it_is_and_the_slice_trains(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    module = sliced(network, random_keep(gate_sites(network, IMAGES))).double()
    F.cross_entropy(module(IMAGES), torch.tensor([0, 1, 1, 0])).backward()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            assert parameter.requires_grad, name
            parameter.sub_(parameter.grad if parameter.grad is not None else 1)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_other_networks_other_sites_and_the_mended_method_have_none(network):
    sites = gate_sites(network, IMAGES)
    keep = random_keep(sites)
    assert Nemo().tuning_module(network, sites, keep, 2) is None
    few = type(sites)(sites.graph, sites.layers[:-1])
    assert Nemo(published=True).tuning_module(network, few, keep[:-1], 2) is None
    vgg = build_model("vgg", in_channels=3, image_size=8, num_classes=5, widths=[4, 5, "M"], hidden=[6])
    sites = gate_sites(vgg, IMAGES.float())
    assert Nemo(published=True).tuning_module(vgg, sites, random_keep(sites), 2) is None
