"""Rules of a user's own: named by import path, counted and chosen beside this package's.

Only what trains, measures or publishes imports them. Their parameters' values are recorded with the sweep.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moda_core import NetworkError, UnitLayers, mask_network
from moda_core.choosing import Decomposition, Rule
from moda_core.graph import ChannelGraph, channel_graph
from orchestrator.config import Choice, Config, EvaluationConfig, parse_config, short_name, to_plain
from orchestrator.errors import ConfigError, listed
from orchestrator.training.batches import Workers
from orchestrator.training.count_files import dump_counts, read_counts
from orchestrator.training.data import Data
from orchestrator.training.importing import error_text, import_named
from orchestrator.training.loop import computing

NEEDED = ("name", "parameters", "sites", "check", "count", "choose")

Batches = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class CountedRule:
    """A rule of a user's own on a trained network.

    Attributes:
        rule: the rule.
        sites: where its units are.
        graph: the channel graph with these sites.
        counts: what it counted over the training images.
    """

    rule: Rule
    sites: UnitLayers
    graph: ChannelGraph
    counts: Mapping[str, Tensor]

    def choose(self, choice: Choice, config: EvaluationConfig) -> Decomposition:
        """What each class keeps at a choice."""
        return self.rule.choose(self.counts, choice.values, floor=config.floor)


def with_own_rules(config: Config) -> Config:
    """Fill in the values of the parameters of a user's own rules, where none are set. A configuration without own
    rules, or a complete one, is returned unchanged.

    Raises:
        ConfigError: a path that cannot be imported, what is not a rule, or values that it does not take.
    """
    grids = config.evaluation.rules
    if not grids:
        return config
    if len({short_name(path) for path in grids}) < len(grids):
        raise ConfigError(f"evaluation.rules: {listed(grids)} do not differ behind the colon; rename one")
    complete = to_plain(config)
    complete["evaluation"]["rules"] = {path: _whole_grid(path, grid) for path, grid in grids.items()}
    return parse_config(complete)


def check_own_rules(network: nn.Module, example: Tensor, config: EvaluationConfig) -> None:
    """Refuse what a rule of a user's own would refuse only after a training.

    Raises:
        ConfigError: sites that cannot be found or cut, or values that do not fit them; it names the rule.
    """
    for path, grid in config.rules.items():
        rule = _make_rule(path)
        try:
            sites = rule.sites(network, example)
            channel_graph(network, sites, example)
            rule.check(sites, grid)
        except (NetworkError, ValueError) as error:
            raise ConfigError(f"evaluation.rules: {path}: {error}") from error


def count_own_rules(
    network: nn.Module,
    data: Data,
    config: EvaluationConfig,
    example: Tensor,
    *,
    precision: torch.dtype,
    workers: Workers,
) -> dict[str, CountedRule]:
    """Every rule of a user's own by its path, counted over the training images.

    Of several workers each counts a share of the batches, and all have the counts of all.
    """
    counted = {}
    for path, grid in config.rules.items():
        rule = _make_rule(path)
        sites = rule.sites(network, example)
        graph, _ = channel_graph(network, sites, example)
        batches = list(data.train.batches(rank=workers.rank, world=workers.world))
        with computing(example.device, precision):
            counts = rule.count(network, sites, batches, num_classes=data.num_classes, grid=grid, group=workers.group)
        counted[path] = CountedRule(rule, sites, graph, counts)
    return counted


def restore_own_rules(
    network: nn.Module, example: Tensor, counts: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, CountedRule]:
    """What :func:`count_own_rules` gave, from the counts that were kept."""
    restored = {}
    for path, kept in counts.items():
        rule = _make_rule(path)
        sites = rule.sites(network, example)
        restored[path] = CountedRule(rule, sites, channel_graph(network, sites, example)[0], kept)
    return restored


def try_own_rules(network: nn.Module, batches: Batches, config: EvaluationConfig, *, num_classes: int) -> None:
    """Count by every rule of a user's own on a few images, write and read the counts, and mask by what it chooses.

    Raises:
        ConfigError: whatever fails in a rule, which would fail after a training.
    """
    images_B = batches[0][0]
    for path, grid in config.rules.items():
        rule = _make_rule(path)
        try:
            sites = rule.sites(network, images_B)
            counts = rule.count(network, sites, batches, num_classes=num_classes, grid=grid)
            first = {name: values[0] for name, values in grid.items()}
            units = rule.choose(read_counts(dump_counts(counts)), first, floor=config.floor)
            mask_network(network, sites, units, [0])(images_B)
        except Exception as error:  # of somebody else's code
            raise ConfigError(f"evaluation.rules: {path}, tried on a few images: {error_text(error)}") from error


def _make_rule(path: str) -> Rule:
    """The rule of an import path: an object, or a class that is made without arguments."""
    found, here = import_named("evaluation.rules", path), f"evaluation.rules: {path!r}"
    if missing := [name for name in NEEDED if not hasattr(found, name)]:
        raise ConfigError(f"{here} has no {missing[0]}; a rule has {', '.join(NEEDED)} (moda_core.Rule)")
    rule: Rule = found() if isinstance(found, type) else found
    if not rule.parameters:
        raise ConfigError(f"{here} has no parameters; a rule has at least one")
    return rule


def _whole_grid(path: str, stated: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The values of each parameter of a rule, in its order."""
    rule = _make_rule(path)
    names = [parameter.name for parameter in rule.parameters]
    if unknown := sorted(set(stated) - set(names)):
        raise ConfigError(f"evaluation.rules: {path} has no parameter {unknown[0]}; known: {', '.join(names)}")
    grid = {parameter.name: list(stated.get(parameter.name) or parameter.grid) for parameter in rule.parameters}
    for parameter in rule.parameters:
        if not grid[parameter.name]:
            raise ConfigError(
                f"evaluation.rules: {path} has no values of {parameter.name} by itself; state them,"
                f" evaluation.rules=[{{name: {path}, {parameter.name}: [0.1, 0.2]}}]"
            )
        for value in grid[parameter.name]:
            try:
                parameter.check(value)
            except ValueError as error:
                raise ConfigError(f"evaluation.rules: {path}: {error}") from error
    return grid
