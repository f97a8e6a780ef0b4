"""The built-in rules against the functions that they call, and what parameters refuse."""

import subprocess
import sys

import pytest
import safetensors.torch
import torch

from moda_core import (
    ACTIVITY,
    CONTRIBUTION,
    RULES,
    SIZE,
    Parameter,
    build_model,
    contribution_masks,
    count_contributions,
    count_frequencies,
    floored,
    keep_masks,
    module_metrics,
    unit_layers,
)
from moda_core.choosing import check_rule
from moda_core.graph import channel_graph
from moda_core.rules import BY_CONTRIBUTION, reaches
from tests.moda_core.conftest import randomise

IMAGES = torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LABELS = torch.arange(24) % 3
BATCHES = [(IMAGES[:10], LABELS[:10]), (IMAGES[10:], LABELS[10:])]
GRID = {"tau": [0.5, 0.95], "threshold": [0.2, 0.0], "level": [0.1], "target": [0.3, 0.1, 0.9]}


@pytest.fixture(scope="module")
def network():
    return randomise(
        build_model("vgg", in_channels=1, image_size=8, num_classes=3, widths=[6, "M", 9], hidden=[12]), seed=5
    )


def counted(rule, network):
    """A rule's counts, as they are after they were kept in a file."""
    counts = rule.count(network, rule.sites(network, IMAGES), BATCHES, num_classes=3, grid=GRID)
    return safetensors.torch.load(safetensors.torch.save(counts))


@pytest.mark.parametrize("tau", [0.5, 0.95])
@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_activity_chooses_the_masks_of_the_frequencies(network, tau, threshold):
    layers = unit_layers(network, IMAGES)
    frequencies = count_frequencies(network, layers, BATCHES, num_classes=3, thresholds=[0.0, 0.2])
    chosen = ACTIVITY.choose(counted(ACTIVITY, network), {"tau": tau, "threshold": threshold}, floor=0.4)
    expected = keep_masks(frequencies, tau, threshold=threshold, floor=0.4)
    assert all(torch.equal(mask, other) for mask, other in zip(chosen.keep, expected, strict=True))
    acted = floored(frequencies, tau, threshold=threshold, floor=0.4)
    assert chosen.floored == sum(int(acted_C.sum()) for acted_C in acted)
    assert chosen.is_plain
    found = ACTIVITY.unpack(counted(ACTIVITY, network))
    assert (found.thresholds, found.widths) == (frequencies.thresholds, frequencies.widths)
    assert torch.equal(found.counts_TCN, frequencies.counts_TCN)


def test_contribution_chooses_the_masks_of_the_contributions(network):
    layers = unit_layers(network, IMAGES)
    contributions = count_contributions(network, layers, BATCHES, num_classes=3)
    level = float(contributions.means_CN.median())
    chosen = CONTRIBUTION.choose(counted(CONTRIBUTION, network), {"level": level})
    expected = contribution_masks(contributions, level)
    assert all(torch.equal(mask, other) for mask, other in zip(chosen.keep, expected, strict=True))
    assert 0 < sum(int(mask.sum()) for mask in chosen.keep) < sum(mask.numel() for mask in chosen.keep)
    assert chosen.is_plain
    assert chosen.floored == 0


@pytest.mark.parametrize(("target", "is_reached"), [(0.1, True), (0.3, True), (0.9, False)])  # a third never acts
def test_size_chooses_the_masks_of_a_level_that_gives_it(network, target, is_reached):
    graph, _ = channel_graph(network, SIZE.sites(network, IMAGES), IMAGES)
    contributions = counted(CONTRIBUTION, network)
    counts = SIZE.extend(contributions, graph, GRID, ranking=BY_CONTRIBUTION)
    chosen = SIZE.choose(counts, {"target": target})
    level = float(counts["levels"][counts["targets"].tolist().index(target)])
    expected = CONTRIBUTION.choose(contributions, {"level": level})
    assert all(torch.equal(mask, other) for mask, other in zip(chosen.keep, expected.keep, strict=True))
    assert chosen.is_plain
    metrics = module_metrics(network, SIZE.sites(network, IMAGES), chosen, IMAGES)
    assert reaches(target, metrics.cut_size) == is_reached


def test_size_and_contribution_can_share_one_pass(network):
    graph, _ = channel_graph(network, SIZE.sites(network, IMAGES), IMAGES)
    extended = SIZE.extend(counted(CONTRIBUTION, network), graph, GRID)
    counts = counted(SIZE, network)
    assert extended.keys() == counts.keys()
    assert all(torch.equal(extended[name], tensor) for name, tensor in counts.items())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"target": 0.2}, "target=0.2 was not counted; counted: 0.1, 0.3, 0.9"),
        ({"target": 0.0}, r"target=0.0 must lie in \(0, 1\]"),
        ({"level": 0.1}, "the rule 'size' takes target, not level"),
    ],
)
def test_wrong_target_sizes_are_refused(network, parameters, message):
    with pytest.raises(ValueError, match=message):
        SIZE.choose(counted(SIZE, network), parameters)


@pytest.mark.parametrize(("size", "is_reached"), [(0.0182, True), (0.0219, True), (0.0179, False), (0.0221, False)])
def test_a_target_is_reached_within_a_tenth_of_it(size, is_reached):
    assert reaches(0.02, size) == is_reached


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tau": 0.0, "threshold": 0.0}, r"tau=0.0 must lie in \(0, 1\]"),
        ({"tau": 1.5, "threshold": 0.0}, r"tau=1.5 must lie in \(0, 1\]"),
        ({"tau": float("nan"), "threshold": 0.0}, "tau=nan must lie"),
        ({"tau": 0.5, "threshold": float("inf")}, "threshold=inf must be a finite number of at least 0"),
        ({"tau": 0.5, "threshold": 0.1}, "threshold=0.1 was not counted; counted"),
        ({"tau": 0.5}, "the rule 'activity' takes tau, threshold, not tau"),
        ({"tau": 0.5, "threshold": 0.0, "level": 1.0}, "takes tau, threshold, not tau, threshold, level"),
    ],
)
def test_wrong_parameters_are_refused(network, parameters, message):
    with pytest.raises(ValueError, match=message):
        ACTIVITY.choose(counted(ACTIVITY, network), parameters)


def test_a_threshold_of_zero_is_refused_before_training_where_nothing_is_exactly_zero():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5), torch.nn.SiLU(), torch.nn.Linear(5, 3))
    sites = ACTIVITY.sites(network.double(), IMAGES)
    with pytest.raises(ValueError, match=r"silu at '2' is never exactly zero; choose thresholds above 0"):
        ACTIVITY.check(sites, GRID)
    ACTIVITY.check(sites, {"tau": [0.5], "threshold": [0.1]})
    CONTRIBUTION.check(sites, GRID)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a b"}, "'a b' must be an ASCII identifier"),
        ({"low": 2.0, "high": 2.0}, "low=2.0 must lie below high=2.0"),
        ({"grid": (0.5, 3.0)}, r"share=3.0 must lie in \[0, 2\]"),
        ({"excludes_low": True, "high": float("inf"), "grid": (0.0,)}, "share=0.0 must be a finite number above 0"),
    ],
)
def test_a_wrong_declaration_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Parameter(**({"name": "share", "title": "share", "low": 0.0, "high": 2.0} | options))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "two words"}, "Changed: name='two words' must be an ASCII identifier"),
        ({"parameters": ()}, "the rule 'activity': parameters must be a tuple of one moda_core.Parameter or more"),
        ({"parameters": ("tau",)}, "parameters must be a tuple of one moda_core.Parameter"),
        (
            {"parameters": ACTIVITY.parameters * 2},
            r"parameters=\['tau', 'threshold', 'tau', 'threshold'\] names one twice",
        ),
        ({"choose": None, "count": 3}, "the rule 'activity' lacks the method count, choose; a rule has sites, check,"),
    ],
)
def test_what_is_no_rule_is_refused(changes, message):
    for rule in RULES.values():
        check_rule(rule)
    with pytest.raises(ValueError, match=message):
        check_rule(type("Changed", (type(ACTIVITY),), changes)())


def test_what_there_is_to_choose_is_known_without_torch():
    code = "import sys; from moda_core.rules import RULES; assert 'torch' not in sys.modules; print(*RULES)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == list(RULES)
    assert list(RULES) == ["activity", "contribution", "size", "magnitude", "score", "gate"]
