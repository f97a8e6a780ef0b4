"""A trained network's whole surface: every choice of the free grid as one point."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from moda_core import (
    Contributions,
    Decomposition,
    Frequencies,
    UnitLayers,
    contribution_masks,
    count_contributions,
    count_frequencies,
    draw_pairs,
    draw_subsets,
    estimate_reuse,
    floored,
    keep_masks,
    unit_layers,
)
from moda_core.graph import ChannelGraph, channel_graph
from moda_core.measuring import sizes_and_overlaps
from moda_core.modes import evaluating
from orchestrator.config import ACTIVITY, CONTRIBUTION, Choice, Config, EvaluationConfig
from orchestrator.errors import ConfigError
from orchestrator.storage import CUT
from orchestrator.training.batches import Workers, augmented_once
from orchestrator.training.data import Data, ImageSet
from orchestrator.training.loop import computing
from orchestrator.training.own_metrics import Measured, make_metrics, measure_own
from orchestrator.training.own_rules import CountedRule, count_own_rules, restore_own_rules

SIZES = (  # columns of points, and attributes of ModuleMetrics
    "cut_size",
    "cut_overlap",
    "module_size",
    "module_overlap",
    "overlap_jaccard",
    "kernel_retention",
    "linear_retention",
    "flops",
    "coupling",
)


@dataclass(frozen=True)
class Trained:
    """A trained network and what decomposing it needs.

    Attributes:
        network: on its device, float32.
        layers: its unit layers.
        graph: its channel graph.
        frequencies: counted over the training images.
        contributions: counted over the training images; None where no level was asked for.
        own: rules of a user's own, by their import paths.
        precision: of the forward passes that count and measure; means, counts and sums are wider in any case.
        parts: gives what the method has of its own, such as trained mask generators; None for nothing. Of a trial that
            is read again they are made and loaded when they are asked for.
    """

    network: nn.Module
    layers: UnitLayers
    graph: ChannelGraph
    frequencies: Frequencies
    contributions: Contributions | None
    own: Mapping[str, CountedRule]
    precision: torch.dtype
    parts: Callable[[], nn.Module | None] = lambda: None


@dataclass(frozen=True)
class Counts:
    """What was counted over the training images: by this package's rules, and by a user's own, by their paths."""

    frequencies: Frequencies
    contributions: Contributions | None
    own: Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Chosen:
    """What a choice keeps of a network.

    Attributes:
        sites: where its units are.
        graph: the channel graph with these sites.
        units: what each class keeps.
    """

    sites: UnitLayers
    graph: ChannelGraph
    units: Decomposition


def prepare(
    network: nn.Module,
    data: Data,
    config: Config,
    counted: Counts | None = None,
    *,
    precision: torch.dtype = torch.float32,
    workers: Workers | None = None,
    parts: Callable[[], nn.Module | None] = lambda: None,
) -> Trained:
    """Trace the network, and count over the training images unless that was done before. Leaves it in eval mode.

    Contributions are counted where the configuration has levels. Of several workers each counts a share of the batches,
    and all have the counts of all. With ``evaluation.augmented`` the images that are counted are cropped and flipped.
    """
    workers = workers or Workers()
    network.eval()
    example = data.train[torch.zeros(1, dtype=torch.long, device=data.train.labels.device)]
    layers = unit_layers(network, example)
    graph, _ = channel_graph(network, layers, example)
    if counted is None:
        if config.evaluation.augmented:
            crop, flip, seed = config.data.crop, config.data.flip, config.evaluation.seed
            data = replace(data, train=augmented_once(data.train, crop=crop, flip=flip, seed=seed))
        with computing(example.device, precision):
            frequencies, contributions = _count(network, layers, data, config.evaluation, workers)
        own = count_own_rules(network, data, config.evaluation, example, precision=precision, workers=workers)
    else:
        frequencies, contributions = counted.frequencies, counted.contributions
        own = restore_own_rules(network, example, counted.own)
    return Trained(network, layers, graph, frequencies, contributions, own, precision, parts)


def accuracy(network: nn.Module, images: ImageSet) -> float:
    """Share of images whose largest logit is their class's."""
    correct = 0
    with evaluating(network):
        for batch, labels in images.batches():
            correct += int((network(batch).argmax(1) == labels).sum())
    return correct / len(images)


def grid(config: EvaluationConfig) -> list[Choice]:
    """Every tau and threshold, then every level, then the choices of a user's own rules."""
    return [
        Choice(rule, tuple(zip(values, chosen, strict=True)))
        for rule, values in config.grids.items()
        for chosen in itertools.product(*values.values())
    ]


def choose(trained: Trained, choice: Choice, config: EvaluationConfig) -> Chosen:
    """Apply a choice to a trained network.

    Raises:
        ConfigError: a level or a rule of a user's own for which nothing was counted.
        ValueError: a threshold that was not counted.
    """
    if choice.rule in (ACTIVITY, CONTRIBUTION):
        masks = choice_masks(trained, choice, config)
        return Chosen(trained.layers, trained.graph, Decomposition(masks, floored=_floored(trained, choice, config)))
    counted = trained.own.get(choice.rule)
    if counted is None:
        raise ConfigError(f"{choice}: {choice.rule} is not one of the sweep's evaluation.rules")
    return Chosen(counted.sites, counted.graph, counted.choose(choice, config))


def choice_masks(trained: Trained, choice: Choice, config: EvaluationConfig) -> list[Tensor]:
    """The units that each class keeps by this package's rules: L boolean tensors of (C, N_l).

    Raises:
        ConfigError: a level, and no contributions were counted.
        ValueError: a threshold that was not counted.
    """
    if choice.rule == ACTIVITY:
        return keep_masks(trained.frequencies, **choice.values, floor=config.floor)
    if trained.contributions is None:
        raise ConfigError(
            f"{choice}: the trial's contributions were not counted; choose tau and threshold, or train it again with"
            " evaluation.levels"
        )
    return contribution_masks(trained.contributions, **choice.values)


def measure(
    trained: Trained, images: ImageSet, config: EvaluationConfig, *, split: str, choices: Sequence[Choice]
) -> list[dict[str, Any]]:
    """One row of the points table for each choice.

    Reuse accuracy is the seeded estimate: some subsets of each size, some images; more of both on test.
    """
    with computing(images.labels.device, trained.precision):
        return _measure(trained, images, config, split, choices)


def _measure(
    trained: Trained, images: ImageSet, config: EvaluationConfig, split: str, choices: Sequence[Choice]
) -> list[dict[str, Any]]:
    classes = trained.graph.output.channels
    on_test = split == "test"
    per_size = config.test_subsets_per_size if on_test else config.subsets_per_size
    draw = draw_pairs(
        images.labels,
        draw_subsets(classes, per_size, seed=config.seed),
        num_classes=classes,
        images_per_size=config.test_images_per_size if on_test else config.images_per_size,
        seed=config.seed,
    )
    network, layers = trained.network, trained.layers
    whole = {
        "split": split,
        "accuracy": accuracy(network, images),
        "reuse_baseline": estimate_reuse(network, layers, None, images, draw).mean,
        "reuse_subsets": len(draw.subsets_SC),
        "reuse_images": draw.images,
    }
    metrics = make_metrics(list(config.metrics))
    rows = []
    for choice in choices:
        chosen = choose(trained, choice, config)
        sizes = sizes_and_overlaps(chosen.graph, chosen.units)
        reuse = estimate_reuse(network, chosen.sites, chosen.units, images, draw)
        rows.append(
            {
                **choice.columns,
                "stage": CUT,
                **whole,
                "reuse_accuracy": reuse.mean,
                "reuse_accuracy_error": reuse.standard_error,
                **{name: getattr(sizes, name) for name in SIZES},
                "floored": chosen.units.floored,
                "own": measure_own(metrics, Measured(network, chosen.sites, chosen.units.keep, images)),
            }
        )
    return rows


def _floored(trained: Trained, choice: Choice, config: EvaluationConfig) -> int:
    """In how many (class, layer) pairs the floor acted; only activity has one."""
    if choice.rule != ACTIVITY:
        return 0
    acted = floored(trained.frequencies, **choice.values, floor=config.floor)
    return sum(int(layer_C.sum()) for layer_C in acted)


def _count(
    network: nn.Module, layers: UnitLayers, data: Data, config: EvaluationConfig, workers: Workers
) -> tuple[Frequencies, Contributions | None]:
    batches = data.train.batches(rank=workers.rank, world=workers.world)
    classes, group = data.num_classes, workers.group
    frequencies = count_frequencies(
        network, layers, batches, num_classes=classes, thresholds=config.thresholds, group=group
    )
    if not config.levels:
        return frequencies, None
    return frequencies, count_contributions(network, layers, batches, num_classes=classes, group=group)
