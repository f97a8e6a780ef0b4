"""The command line that composes a recorded configuration again."""

import dataclasses

import pytest

from orchestrator.config.composing import load_config
from orchestrator.config.config import to_plain
from orchestrator.config.recipe import recipe_words


def comparable(config):
    plain = to_plain(config)
    return {**plain, "storage": "", "tracking": {}, "sweep": {**plain["sweep"], "name": None}}


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["experiment=digits", "sweep.name=mine", "training.epochs=3", "storage=/elsewhere", "tracking=none"],
        ["experiment=fashion_mnist", "data.limit=1000"],
        ["model=resnet18", "method=mwt", "data=cifar10", "search=sobol"],
        ["method=standard", "search.space={weight_decay: {low: 0.001, high: 0.1, log: true}}"],
        ["search.objectives={reuse_accuracy: max, flops: min}", "search.reference={flops: 0.5}"],
        ["data.path='it is a (odd) name.csv'", "data=table"],
        ["model=torchvision", "model.name=torchvision:vit_b_16"],
    ],
)
def test_its_words_compose_it_again(overrides):
    config = load_config(overrides)
    words = recipe_words(config)
    assert words is not None
    assert comparable(load_config(words)) == comparable(config)


def test_the_default_sweep_needs_few_words():
    assert recipe_words(load_config([])) == ["model=vgg_small", "data=digits", "method=moda", "search=curve"]


def test_what_no_words_compose_has_none():
    config = load_config([])
    recorded = dataclasses.replace(config, model=dataclasses.replace(config.model, options={"widths": [None, {1: 2}]}))
    assert recipe_words(recorded) is None
