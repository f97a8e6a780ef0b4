"""The recipes of the paper: what they train, and which numbers they state."""

import pytest

from orchestrator.config import compose_config, parse_config, to_plain
from orchestrator.config.published import read_published, recipes
from orchestrator.errors import ConfigError

PAPER = "paper/vgg16_svhn"
ABLATIONS = ("alpha", "beta", "gamma", "tau")
DATA = {"svhn": "imagenet", "cifar10": "cifar10", "cifar100": "cifar100_published"}
MODELS = {"vgg16": ("vgg16", 64), "resnet18": ("resnet18", 64), "mobilenet": ("mobilenet_v1", 32)}


def read(recipe, *overrides):
    plain = compose_config([f"experiment={recipe}", *overrides])
    config = parse_config(plain)
    return config, read_published(plain, config)


def test_nine_recipes_and_four_ablations():
    nine = {f"paper/{model}_{data}" for model in MODELS for data in DATA}
    assert set(recipes()) == nine | {f"paper/ablation_{name}" for name in ABLATIONS}


@pytest.mark.parametrize("recipe", recipes())
def test_a_recipe_is_the_published_one(recipe):
    config, published = read(recipe)
    model, _, data = recipe.removeprefix("paper/").partition("_")
    model, data = ("vgg16", "cifar10") if model == "ablation" else (model, data)
    name, width = MODELS[model]
    assert (config.model.name, config.model.options) == (name, {"width": width, "init": "published"})
    assert (config.data.name, config.data.normalisation) == (data, DATA[data])
    assert (config.data.crop, config.data.flip, config.data.validation_fraction) == (4, True, 0)
    assert [config.method.coefficients[name] for name in ("alpha", "beta", "gamma")] == [1.0, 1.0, 0.3]
    training = config.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (200, 128, 0.05)
    assert training.schedule == "epoch"
    assert (training.optimizer, training.momentum, training.weight_decay) == ("sgd", 0.9, 0.0)
    assert training.precision == "float32"
    assert config.evaluation.augmented
    assert config.evaluation.thresholds == (0.0,)
    assert published.source.startswith("MODA")
    assert "published" not in to_plain(config)


def test_the_numbers_of_a_row():
    row = read("paper/resnet18_svhn")[1].rows[0]
    assert (row.coefficients, str(row.choice)) == ({}, "tau 0.9, threshold 0")
    assert row.values == {
        "accuracy": 0.9575, "reuse_accuracy": 0.9543, "module_size": 0.091, "module_overlap": 0.064, "hours": 2.48,
    }  # fmt: skip
    standard = read("paper/resnet18_svhn", "method=standard")[1].rows
    assert [(one.choice, one.values) for one in standard] == [(None, {"accuracy": 0.9612, "hours": 1.9})]


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_has_the_published_value_among_others(name):
    config, published = read(f"paper/ablation_{name}")
    if name == "tau":
        assert [row.choice.values["tau"] for row in published.rows] == list(config.evaluation.taus)
        assert 0.9 in config.evaluation.taus
        assert all(set(row.values) == {"reuse_accuracy", "module_size"} for row in published.rows)
        return
    values = [row.coefficients[name] for row in published.rows]
    assert len(set(values)) == 6
    assert config.method.coefficients[name] in values
    for row in published.rows:
        assert row.values.keys() <= {"accuracy", "affinity", "dispersion", "compactness"}


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ("digits", [], r"^nothing is published of this configuration; take one of \['paper/ablation_alpha', "),
        (PAPER, ["method=own", "method.name=my.methods:Mine"], r"^method\.name=my\.methods:Mine: nothing is"),
        ("paper/ablation_tau", ["method=standard"], r"published of it by this recipe; .* numbers: \['moda'\]$"),
        (PAPER, ["evaluation.taus=[0.5]"], r"^evaluation\.taus=\[0\.5\]: .* are of tau 0\.9 and threshold 0"),
        (PAPER, ["published.moda=[{speed: 2}]"], r"^published\.moda\[0\]: neither a metric nor a coeff.*speed"),
        (PAPER, ["published.moda=[{accuracy: high}]"], r"^published\.moda\[0\]\.accuracy='high' must be"),
        ("paper/nowhere", [], "experiment=paper/nowhere is not known"),
    ],
)
def test_what_is_not_published_is_refused(recipe, overrides, message):
    with pytest.raises(ConfigError, match=message):
        read(recipe, *overrides)
