"""The digits recipe: what it must reach, with the default recipe of MODA and everything else as shipped."""

import itertools

import torch

from moda_core import draw_pairs, estimate_reuse
from moda_core.measuring.metrics import sizes_and_overlaps
from orchestrator.config.choice import Choice
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import accuracy, choose, prepare
from orchestrator.training.loop import train
from orchestrator.training.methods import make_method
from orchestrator.training.trial import make_network


def test_default_moda_on_digits(configured):
    config = configured()
    data = load_data(config.data)
    network = make_network(config, data)
    for _ in train(network, data.train, config.training, make_method(config.method), num_classes=10):
        pass
    trained = prepare(network, data, config)
    assert accuracy(network, data.test) >= 0.98
    pairs = draw_pairs(data.test.labels, list(itertools.combinations(range(10), 2)), num_classes=10)
    whole = estimate_reuse(network, trained.layers, None, data.test, pairs).mean
    masks = choose(trained, Choice.activity(0.9, 0.0), config.evaluation).units.keep
    modules = estimate_reuse(network, trained.layers, masks, data.test, pairs).mean
    assert modules >= whole - 0.01
    sizes = sizes_and_overlaps(trained.graph, masks)
    assert sizes.cut_size < 0.12  # published coefficients: about 0.15; standard training: about 0.7
    assert torch.all(sizes.sizes_C < 0.5)
