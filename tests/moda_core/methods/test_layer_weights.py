"""Layers that weigh by their units' parameters: weights from networks that are really cut, the loss in plain loops."""

import pytest
import torch
from torch.nn import functional as F

from moda_core import build_model, cut_network, unit_layers
from moda_core.graph import channel_graph
from moda_core.methods.layer_weights import Weighted, layer_weights, unit_parameters
from moda_core.methods.moda import Moda
from orchestrator.training.batches import Workers

EVERY = range(5)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def lost_with_the_first_unit(network, layers, images, layer):
    keep = [torch.ones(width, dtype=torch.bool) for width in layers.widths]
    whole = count(cut_network(network, layers, keep, EVERY, images))
    keep[layer][0] = False
    return whole - count(cut_network(network, layers, keep, EVERY, images))


def test_a_unit_s_parameters_are_what_cutting_it_out_saves(network_and_images):
    network, images = network_and_images
    layers = unit_layers(network, images)
    graph, _ = channel_graph(network, layers, images)
    lost = [lost_with_the_first_unit(network, layers, images, layer) for layer in range(len(layers))]
    found = unit_parameters(graph)
    folded = [parameters - one for parameters, one in zip(found, lost, strict=True)]
    assert {difference for difference in folded if difference} <= {5}  # a fold adds a bias of the logits: not counted
    sizes = torch.tensor([width * one for width, one in zip(layers.widths, found, strict=True)]).double()
    weights = layer_weights(network, layers, images, "size")
    torch.testing.assert_close(torch.tensor(weights).double(), sizes / sizes.mean())
    weights = layer_weights(network, layers, images, "sqrt_size")
    torch.testing.assert_close(torch.tensor(weights).double(), sizes.sqrt() / sizes.sqrt().mean())


@pytest.mark.parametrize("kind", ["size", "sqrt_size"])
def test_the_weighted_compactness_and_its_gradient_are_those_of_plain_loops(network_and_images, kind):
    network, images = network_and_images
    labels = torch.arange(len(images)) % 5
    layers = unit_layers(network, images)
    weights = layer_weights(network, layers, images, kind)
    losses = {}
    for name, method in {"weighted": Moda(1.0, 0.3, 3.0, kind), "uniform": Moda(1.0, 0.3, 3.0)}.items():
        prepared = method.prepare(network, images)
        objective = method.objective(prepared.model(images), labels, num_classes=5, size=16, workers=Workers())
        losses[name] = objective
    _, units = Moda().prepare(network, images).model(images)
    means = [sum(abs(value) for value in unit.flatten()) / unit.numel() for unit in units]
    plain = sum(weight * mean for weight, mean in zip(weights, means, strict=True)) / len(means)
    found = losses["weighted"].terms
    torch.testing.assert_close(found["compactness"], plain, rtol=1e-12, atol=0)
    for term in ("affinity", "dispersion"):
        assert torch.equal(found[term], losses["uniform"].terms[term])
    assert not torch.isclose(found["compactness"], losses["uniform"].terms["compactness"])
    whole = F.cross_entropy(network(images), labels) + found["affinity"] + 0.3 * found["dispersion"] + 3 * plain
    ours = torch.autograd.grad(losses["weighted"].loss, [*network.parameters()], retain_graph=True, allow_unused=True)
    theirs = torch.autograd.grad(whole, [*network.parameters()], allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", ["uniform", "size"])
def test_gamma_grows_evenly_over_its_warm_up_and_the_terms_stay_what_they_are(network_and_images, kind):
    network, images = network_and_images
    labels = torch.arange(len(images)) % 5
    method = Moda(1.0, 0.3, 3.0, kind, gamma_warmup=0.4)
    model = method.prepare(network, images).model
    for progress, share in ((0.01, 0.025), (0.1, 0.25), (0.4, 1.0), (1.0, 1.0)):
        method.before_step(model, progress)
        found = method.objective(model(images), labels, num_classes=5, size=16, workers=Workers())
        terms = found.terms
        modular = terms["affinity"] + 0.3 * terms["dispersion"] + 3.0 * share * terms["compactness"]
        torch.testing.assert_close(found.loss, F.cross_entropy(network(images), labels) + modular)
    constant = Moda(1.0, 0.3, 3.0, kind)
    model = constant.prepare(network, images).model
    constant.before_step(model, 0.01)
    again = constant.objective(model(images), labels, num_classes=5, size=16, workers=Workers())
    assert torch.equal(again.loss, found.loss)
    assert {name: term.item() for name, term in again.terms.items()} == {
        name: term.item() for name, term in terms.items()
    }


def test_only_deep_networks_are_warmed_up_unless_it_is_stated():
    images = torch.zeros(2, 1, 8, 8)
    for layers, warmth in ((8, None), (9, 0.5)):
        network = build_model("vgg", in_channels=1, image_size=8, num_classes=3, widths=[4] * layers, hidden=[])
        method = Moda(gamma_warmup=None)
        model = method.prepare(network, images).model
        method.before_step(model, 0.25)
        assert (model.warmth.item() if isinstance(model, Weighted) else None) == warmth


def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(ValueError, match=r"method\.gamma_warmup=1\.5 is a share of the training, so 1 at most"):
        Moda(gamma_warmup=1.5)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"method\.compactness='large' must be one of uniform, size, sqrt_size"):
        Moda(compactness="large")
