"""A trained network's whole surface: every choice of the free grid as one point."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from moda_core import Decomposition, UnitLayers, estimate_reuse, unit_layers
from moda_core.choosing import Gated
from moda_core.graph import ChannelGraph, channel_graph
from moda_core.measuring import sizes_and_overlaps
from orchestrator.config import Choice, Config, EvaluationConfig
from orchestrator.declarations import CUT
from orchestrator.errors import ConfigError
from orchestrator.training.batch_losses import computing
from orchestrator.training.batches import Workers, augmented_once
from orchestrator.training.calibration import Calibration
from orchestrator.training.class_means import accuracy_by_class
from orchestrator.training.data import Data, ImageSet
from orchestrator.training.evaluating import draw_pairs_of, evaluate_reuse
from orchestrator.training.methods import make_method
from orchestrator.training.own_metrics import Measured, make_metrics, measure_own
from orchestrator.training.rules import CountedRule, Counts, count_rules, restore_rules

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
        rules: counted over the training images, by their names or import paths.
        precision: of the forward passes that count and measure; means, counts and sums are wider in any case.
        parts: gives what the method has of its own, such as trained mask generators; None for nothing. Of a trial that
            is read again they are made and loaded when they are asked for.
        gated: gives the network with the gates of its method; None for a method without such. Likewise.
    """

    network: nn.Module
    layers: UnitLayers
    graph: ChannelGraph
    rules: Mapping[str, CountedRule]
    precision: torch.dtype
    parts: Callable[[], nn.Module | None] = lambda: None
    gated: Callable[[], Gated | None] = lambda: None

    def whole(self) -> nn.Module:
        """The whole network as it was trained, from images to logits: with its gates, where the method has such."""
        gated = self.gated()
        return self.network if gated is None else gated.model()


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

    Of several workers each counts a share of the batches, and all have the counts of all. With ``evaluation.augmented``
    the images that are counted are cropped and flipped.
    """
    network.eval()
    example = data.train[torch.zeros(1, dtype=torch.long, device=data.train.labels.device)]
    layers = unit_layers(network, example)
    graph, _ = channel_graph(network, layers, example)
    gated = functools.cache(lambda: make_method(config.method).gates(network, parts(), example))
    if counted is None:
        if config.evaluation.augmented:
            crop, flip, seed = config.data.crop, config.data.flip, config.evaluation.seed
            data = replace(data, train=augmented_once(data.train, crop=crop, flip=flip, seed=seed))
        rules = count_rules(
            network,
            data,
            config.evaluation,
            example,
            (layers, graph),
            precision=precision,
            workers=workers or Workers(),
            gated=gated(),
            scores=lambda: make_method(config.method).unit_scores(parts()),
        )
    else:
        rules = restore_rules(network, example, (layers, graph), counted, gated)
    return Trained(network, layers, graph, rules, precision, parts, gated)


def accuracy(network: nn.Module, images: ImageSet) -> float:
    """Share of images whose largest logit is their class's."""
    _, right_C = accuracy_by_class(network, images)
    return int(right_C.sum()) / len(images)


def grid(config: EvaluationConfig) -> list[Choice]:
    """Every tau and threshold, then every level, target size and share of open gates, then the choices of a user's own
    rules."""
    return [
        Choice(rule, tuple(zip(values, chosen, strict=True)))
        for rule, values in config.grids.items()
        for chosen in itertools.product(*values.values())
    ]


def choose(trained: Trained, choice: Choice, config: EvaluationConfig) -> Chosen:
    """Apply a choice to a trained network.

    Raises:
        ConfigError: a rule for which nothing was counted.
        ValueError: values of its parameters that were not counted.
    """
    counted = trained.rules.get(choice.rule)
    if counted is None:
        raise ConfigError(
            f"{choice}: the trial has no counts of the rule {choice.rule}; choose by another one, or train it again"
            " with this rule in its evaluation"
        )
    return Chosen(counted.sites, counted.graph, counted.choose(choice, config))


def measure(
    trained: Trained,
    images: ImageSet,
    config: EvaluationConfig,
    *,
    split: str,
    choices: Sequence[Choice],
    calibration: Calibration,
) -> list[dict[str, Any]]:
    """One row of the points table for each choice.

    Reuse accuracy is a seeded estimate from (image, subset) pairs; choices far from the front have fewer of them.
    """
    with computing(images.labels.device, trained.precision):
        network, draws = trained.network, draw_pairs_of(images.labels, trained.graph.output.channels, config, split)
        as_trained = trained.whole()
        images_C, right_C = accuracy_by_class(as_trained, images)
        accuracy_C = (right_C.double() / images_C)[images_C > 0]
        whole = {
            "split": split,
            "accuracy": int(right_C.sum()) / len(images),
            "balanced_accuracy": float(accuracy_C.mean()),
            "worst_class_accuracy": float(accuracy_C.min()),
            "reuse_baseline": estimate_reuse(as_trained, trained.layers, None, images, draws[-1]).mean,
        }
        metrics = make_metrics(list(config.metrics))
        chosen = [choose(trained, choice, config) for choice in choices]
        sizes = [sizes_and_overlaps(decomposed.graph, decomposed.units) for decomposed in chosen]
        cut_sizes = [of_choice.cut_size for of_choice in sizes]
        evaluated = evaluate_reuse(network, choices, chosen, cut_sizes, images, draws, calibration)
        return [
            {
                **choice.columns,
                "stage": CUT,
                **whole,
                **reuse,
                **{name: getattr(of_choice, name) for name in SIZES},
                "floored": decomposed.units.floored,
                "own": measure_own(metrics, Measured(network, decomposed.sites, decomposed.units.keep, images)),
            }
            for choice, decomposed, of_choice, reuse in zip(choices, chosen, sizes, evaluated, strict=True)
        ]
