"""Rules in a trial, built in or a user's own: checked before training, counted after it, and chosen by.

Only what trains, measures or publishes imports a user's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moda_core import NetworkError, UnitLayers, mask_network, unit_layers
from moda_core.choosing import Decomposition, Rule
from moda_core.graph import ChannelGraph, channel_graph
from moda_core.rules import CONTRIBUTION, RULES, SCORE, SIZE
from orchestrator.config import Choice, EvaluationConfig
from orchestrator.errors import ConfigError
from orchestrator.training.batches import Workers
from orchestrator.training.count_files import dump_counts, read_counts
from orchestrator.training.data import Data
from orchestrator.training.importing import error_text
from orchestrator.training.loop import computing
from orchestrator.training.own_rules import make_own_rule

Batches = Sequence[tuple[Tensor, Tensor]]
Units = tuple[UnitLayers, ChannelGraph]  # a network's unit layers, and its graph with them
Scores = Sequence[Tensor] | None  # of units, that a method has trained, L (C, N_l); None for none
Counts = Mapping[str, Mapping[str, Tensor]]  # what rules counted, by their names or import paths


@dataclass(frozen=True)
class PlacedRule:
    """A rule on a network.

    Attributes:
        rule: the rule.
        sites: where its units are.
        graph: the channel graph with these sites.
    """

    rule: Rule
    sites: UnitLayers
    graph: ChannelGraph


@dataclass(frozen=True)
class CountedRule(PlacedRule):
    """A rule on a trained network, with what it counted over the training images."""

    counts: Mapping[str, Tensor]

    def choose(self, choice: Choice, config: EvaluationConfig) -> Decomposition:
        """What each class keeps at a choice."""
        return self.rule.choose(self.counts, choice.values, floor=config.floor)


def check_rules(network: nn.Module, example: Tensor, config: EvaluationConfig) -> None:
    """Refuse what a rule would refuse only after a training.

    Raises:
        ConfigError: sites that cannot be found or cut, or values that do not fit them; it names the rule.
    """
    units = _unit_layers(network, example)
    for name, grid in config.grids.items():
        try:
            placed = _place(name, network, example, units)
            placed.rule.check(placed.sites, grid)
        except (NetworkError, ValueError) as error:
            raise ConfigError(f"evaluation.{error}" if name in RULES else f"{_key(name)}: {error}") from error


def count_rules(
    network: nn.Module,
    data: Data,
    config: EvaluationConfig,
    example: Tensor,
    units: Units,
    *,
    precision: torch.dtype,
    workers: Workers,
    scores: Callable[[], Scores] = lambda: None,
) -> dict[str, CountedRule]:
    """Every rule of the configuration by its name or path, counted over the training images. ``scores`` gives the
    scores of units that the method has trained.

    Of several workers each counts a share of the batches, and all have the counts of all.
    """
    batches = data.train.batches(rank=workers.rank, world=workers.world)
    counted: dict[str, CountedRule] = {}
    for name, grid in config.grids.items():
        placed = _place(name, network, example, units)
        counting = CONTRIBUTION if placed.rule is SIZE else placed.rule  # one pass for both
        if counting is SCORE:
            counts = _packed(scores())
        elif counting.name in counted:
            counts = counted[counting.name].counts
        else:
            with computing(example.device, precision):
                counts = counting.count(
                    network, placed.sites, batches, num_classes=data.num_classes, grid=grid, group=workers.group
                )
        if placed.rule is SIZE:
            counts = SIZE.extend(counts, placed.graph, grid)
        counted[name] = CountedRule(placed.rule, placed.sites, placed.graph, counts)
    return counted


def restore_rules(network: nn.Module, example: Tensor, units: Units, counts: Counts) -> dict[str, CountedRule]:
    """What :func:`count_rules` gave, from the counts that were kept."""
    restored = {}
    for name, kept in counts.items():
        placed = _place(name, network, example, units)
        restored[name] = CountedRule(placed.rule, placed.sites, placed.graph, kept)
    return restored


def _packed(scores: Scores) -> Mapping[str, Tensor]:
    if scores is None:
        raise ConfigError(
            "evaluation.scores: the method trains no scores of units; set evaluation.scores=[], or take"
            " method=gradsplitter"
        )
    return SCORE.pack(scores)


def try_rules(
    network: nn.Module,
    batches: Batches,
    config: EvaluationConfig,
    *,
    num_classes: int,
    scores: Callable[[], Scores] = lambda: None,
) -> None:
    """Count by every rule on a few images, write and read the counts, and mask by what it chooses.

    Raises:
        ConfigError: whatever fails in a user's own rule, which would fail after a training.
    """
    units = _unit_layers(network, batches[0][0])
    for name, grid in config.grids.items():
        if name in RULES:
            _try(name, grid, network, batches, config.floor, units, num_classes, scores)
            continue
        try:
            _try(name, grid, network, batches, config.floor, units, num_classes, scores)
        except Exception as error:  # of somebody else's code
            raise ConfigError(f"{_key(name)}, tried on a few images: {error_text(error)}") from error


def _try(
    name: str,
    grid: Mapping[str, Sequence[float]],
    network: nn.Module,
    batches: Batches,
    floor: float,
    units: Units,
    num_classes: int,
    scores: Callable[[], Scores],
) -> None:
    images_B = batches[0][0]
    placed = _place(name, network, images_B, units)
    if placed.rule is SCORE:
        counts = _packed(scores())
    else:
        counts = placed.rule.count(network, placed.sites, batches, num_classes=num_classes, grid=grid)
    first = {parameter: values[0] for parameter, values in grid.items()}
    chosen = placed.rule.choose(read_counts(name, dump_counts(name, counts)), first, floor=floor)
    mask_network(network, placed.sites, chosen, [0])(images_B)


def _place(name: str, network: nn.Module, example: Tensor, units: Units) -> PlacedRule:
    """A rule on a network; the built-in ones all have the network's unit layers as their sites."""
    if name in RULES:
        return PlacedRule(RULES[name], *units)
    rule = make_own_rule(name)
    sites = rule.sites(network, example)
    return PlacedRule(rule, sites, channel_graph(network, sites, example)[0])


def _unit_layers(network: nn.Module, example: Tensor) -> Units:
    layers = unit_layers(network, example)
    return layers, channel_graph(network, layers, example)[0]


def _key(path: str) -> str:
    return f"evaluation.rules: {path}"
