"""A trained network's whole surface: every choice of the free grid as one point."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moda_core import (
    Contributions,
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
from orchestrator.config import ACTIVITY, Choice, Config, EvaluationConfig
from orchestrator.errors import ConfigError
from orchestrator.storage import CUT
from orchestrator.training.batches import Workers
from orchestrator.training.data import Data, ImageSet
from orchestrator.training.loop import computing
from orchestrator.training.own_metrics import Measured, make_metrics, measure_own


@dataclass(frozen=True)
class Trained:
    """A trained network and what decomposing it needs.

    Attributes:
        network: on its device, float32.
        layers: its unit layers.
        graph: its channel graph.
        frequencies: counted over the training images.
        contributions: counted over the training images; None where no level was asked for.
        precision: of the forward passes that count and measure; means, counts and sums are wider in any case.
        parts: gives what the method has of its own, such as trained mask generators; None for nothing. Of a trial that
            is read again they are made and loaded when they are asked for.
    """

    network: nn.Module
    layers: UnitLayers
    graph: ChannelGraph
    frequencies: Frequencies
    contributions: Contributions | None
    precision: torch.dtype
    parts: Callable[[], nn.Module | None] = lambda: None


def prepare(
    network: nn.Module,
    data: Data,
    config: Config,
    counted: tuple[Frequencies, Contributions | None] | None = None,
    *,
    precision: torch.dtype = torch.float32,
    workers: Workers | None = None,
    parts: Callable[[], nn.Module | None] = lambda: None,
) -> Trained:
    """Trace the network, and count over the training images unless that was done before. Leaves it in eval mode.

    Contributions are counted where the configuration has levels. Of several workers each counts a share of the batches,
    and all have the counts of all.
    """
    workers = workers or Workers()
    network.eval()
    example = data.train[torch.zeros(1, dtype=torch.long, device=data.train.labels.device)]
    layers = unit_layers(network, example)
    graph, _ = channel_graph(network, layers, example)
    if counted is None:
        with computing(example.device, precision):
            counted = _count(network, layers, data, config.evaluation, workers)
    return Trained(network, layers, graph, *counted, precision, parts)


def accuracy(network: nn.Module, images: ImageSet) -> float:
    """Share of images whose largest logit is their class's."""
    correct = 0
    with evaluating(network):
        for batch, labels in images.batches():
            correct += int((network(batch).argmax(1) == labels).sum())
    return correct / len(images)


def grid(config: EvaluationConfig) -> list[Choice]:
    """Every tau and threshold, then every level."""
    rates = [Choice.activity(tau, one) for tau, one in itertools.product(config.taus, config.thresholds)]
    return rates + [Choice.contribution(level) for level in config.levels]


def choice_masks(trained: Trained, choice: Choice, config: EvaluationConfig) -> list[Tensor]:
    """The units that each class keeps: L boolean tensors of (C, N_l).

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
        masks = choice_masks(trained, choice, config)
        sizes = sizes_and_overlaps(trained.graph, masks)
        reuse = estimate_reuse(network, layers, masks, images, draw)
        rows.append(
            {
                **choice.columns,
                "stage": CUT,
                **whole,
                "reuse_accuracy": reuse.mean,
                "reuse_accuracy_error": reuse.standard_error,
                "module_size": sizes.module_size,
                "module_overlap": sizes.module_overlap,
                "overlap_jaccard": sizes.overlap_jaccard,
                "kernel_retention": sizes.kernel_retention,
                "flops": sizes.flops,
                "coupling": sizes.coupling,
                "floored": _floored(trained, choice, config),
                "own": measure_own(metrics, Measured(network, layers, masks, images)),
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
