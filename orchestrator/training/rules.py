"""Rules in a trial, built in or a user's own: checked before training, counted after it, and chosen by.

Only what trains, measures or publishes imports a user's own.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moda_core import NetworkError, UnitLayers, mask_network, unit_layers
from moda_core.choosing import GATE_COUNTS, GATE_SUMS, Decomposition, FoldedGates, Gated, Rule
from moda_core.graph import ChannelGraph, channel_graph
from moda_core.rules import CONTRIBUTION, GATE, MAGNITUDE, RULES, SCORE, SIZE, dead_sites
from orchestrator.config import Choice, EvaluationConfig
from orchestrator.errors import ConfigError
from orchestrator.training.batch_losses import computing
from orchestrator.training.batches import Workers
from orchestrator.training.count_files import dump_counts, read_counts
from orchestrator.training.data import Data
from orchestrator.training.importing import error_text
from orchestrator.training.own_rules import make_own_rule

LOG = logging.getLogger("moda")
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
    """A rule on a trained network, with what it counted over the training images.

    Attributes:
        counts: by name.
        gates: of a network with gates, what they are folded into; the sites are then those of the gates too.
    """

    counts: Mapping[str, Tensor]
    gates: FoldedGates | None = None

    def choose(self, choice: Choice, config: EvaluationConfig) -> Decomposition:
        """What each class keeps at a choice."""
        chosen = self.rule.choose(self.counts, choice.values, floor=config.floor)
        return chosen if self.gates is None else self.gates.extend(chosen)


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
        except ValueError as error:
            raise ConfigError(f"{_where(name, error)}{error}") from error


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
    gated: Gated | None = None,
) -> dict[str, CountedRule]:
    """Every rule of the configuration by its name or path, counted over the training images. ``scores`` gives the
    scores of units that the method has trained.

    Of several workers each counts a share of the batches, and all have the counts of all. Of a network with gates
    ``gated`` is the network with them, which is what is counted.
    """
    batches = data.train.batches(rank=workers.rank, world=workers.world)
    passes: dict[str, Mapping[str, Tensor]] = {}  # by name: some serve several rules

    def count(placed: PlacedRule, grid: Mapping[str, Sequence[float]], name: str) -> Mapping[str, Tensor]:
        if placed.rule is SCORE:
            return _packed(scores(), placed.sites)
        if name not in passes:
            model, sites = _seen_by(placed, network, gated)
            with computing(example.device, precision):
                passes[name] = placed.rule.count(
                    model, sites, batches, num_classes=data.num_classes, grid=grid, group=workers.group
                )
        return passes[name]

    of_gates: Mapping[str, Tensor] = {}
    if gated is not None:
        of_gates = count(PlacedRule(GATE, gated.sites, units[1]), {}, GATE.name)
        _tell_dead(of_gates, gated.sites)
    counted: dict[str, CountedRule] = {}
    for name, grid in config.grids.items():
        placed = _place(name, network, example, units)
        if placed.rule is SIZE:  # one pass for both
            contributions = count(PlacedRule(CONTRIBUTION, *units), grid, CONTRIBUTION.name)
            counts = SIZE.extend(contributions, placed.graph, grid, ranking=config.ranking)
        else:
            counts = dict(count(placed, grid, name))
        counts = {**counts, **{key: of_gates[key] for key in GATE_COUNTS if key in of_gates}}
        counted[name] = _counted(placed, network, example, counts, gated)
    return counted


def _seen_by(placed: PlacedRule, network: nn.Module, gated: Gated | None) -> tuple[nn.Module, UnitLayers]:
    """What a rule counts: the network with its gates, or without where it looks at weights alone."""
    if gated is None or placed.rule is MAGNITUDE:
        return network, placed.sites
    return gated.counted(placed.sites)


def restore_rules(
    network: nn.Module, example: Tensor, units: Units, counts: Counts, gated: Callable[[], Gated | None]
) -> dict[str, CountedRule]:
    """What :func:`count_rules` gave, from the counts that were kept. ``gated`` gives the network with its gates; it is
    called only where gates were counted."""
    has_gates = any(GATE_SUMS in kept for kept in counts.values())
    with_gates = gated() if has_gates else None
    return {
        name: _counted(_place(name, network, example, units), network, example, kept, with_gates)
        for name, kept in counts.items()
    }


def _counted(
    placed: PlacedRule, network: nn.Module, example: Tensor, counts: Mapping[str, Tensor], gated: Gated | None
) -> CountedRule:
    """A rule with its counts; on a network whose gates are folded it has their sites too."""
    if gated is None or not gated.folds:
        return CountedRule(placed.rule, placed.sites, placed.graph, counts)
    folded = FoldedGates.join(placed.sites, gated.sites, counts)
    return CountedRule(placed.rule, folded.sites, channel_graph(network, folded.sites, example)[0], counts, folded)


def _tell_dead(of_gates: Mapping[str, Tensor], sites: UnitLayers) -> None:
    """Warn of layers that no image passes."""
    if dead := dead_sites(of_gates, sites):
        LOG.warning(
            "%s: the masks are 0 on every training image, so the network gives what follows from its biases; its"
            " modules keep one unit there; lower the weights of the loss's terms or the learning rate",
            ", ".join(dead),
        )


def _packed(scores: Scores, sites: UnitLayers) -> Mapping[str, Tensor]:
    if scores is None:
        raise ConfigError(
            "evaluation.scores: the method trains no scores of units; set evaluation.scores=[], or take"
            " method=gradsplitter or method=nuwa"
        )
    return SCORE.pack(scores, sites.may_be_empty)


def try_rules(
    network: nn.Module,
    batches: Batches,
    config: EvaluationConfig,
    *,
    num_classes: int,
    scores: Callable[[], Scores] = lambda: None,
    gated: Gated | None = None,
) -> None:
    """Count by every rule on a few images, write and read the counts, and mask by what it chooses.

    Raises:
        ConfigError: whatever fails in a user's own rule, which would fail after a training.
    """
    units = _unit_layers(network, batches[0][0])
    for name in config.grids:
        if name in RULES:
            _try(name, network, batches, config, units, num_classes, scores, gated)
            continue
        try:
            _try(name, network, batches, config, units, num_classes, scores, gated)
        except Exception as error:  # of somebody else's code
            raise ConfigError(f"{_key(name)}, tried on a few images: {error_text(error)}") from error


def _try(
    name: str,
    network: nn.Module,
    batches: Batches,
    config: EvaluationConfig,
    units: Units,
    num_classes: int,
    scores: Callable[[], Scores],
    gated: Gated | None,
) -> None:
    images_B, grid = batches[0][0], config.grids[name]
    placed = _place(name, network, images_B, units)
    model, sites = _seen_by(placed, network, gated)
    counting = CONTRIBUTION if placed.rule is SIZE else placed.rule
    if counting is SCORE:
        counts = dict(_packed(scores(), sites))
    else:
        counts = dict(counting.count(model, sites, batches, num_classes=num_classes, grid=grid))
    if placed.rule is SIZE:
        counts = SIZE.extend(counts, placed.graph, grid, ranking=config.ranking)
    if gated is not None:
        of_gates = GATE.count(*gated.counted(gated.sites), batches, num_classes=num_classes, grid={})
        counts |= {key: of_gates[key] for key in GATE_COUNTS}
    counted = _counted(placed, network, images_B, read_counts(name, dump_counts(name, counts)), gated)
    first = Choice(name, tuple((parameter, values[0]) for parameter, values in grid.items()))
    mask_network(network, counted.sites, counted.choose(first, config), [0])(images_B)


def _place(name: str, network: nn.Module, example: Tensor, units: Units) -> PlacedRule:
    """A rule on a network; the built-in ones at activations all have the network's unit layers as their sites."""
    if name in RULES and RULES[name] is not GATE:
        return PlacedRule(RULES[name], *units)
    rule = RULES[name] if name in RULES else make_own_rule(name)
    sites = rule.sites(network, example)
    return PlacedRule(rule, sites, channel_graph(network, sites, example)[0])


def _unit_layers(network: nn.Module, example: Tensor) -> Units:
    layers = unit_layers(network, example)
    return layers, channel_graph(network, layers, example)[0]


def _where(name: str, error: ValueError) -> str:
    """What stands before an error of a rule: a built-in one names its parameter, or the network."""
    if name not in RULES:
        return f"{_key(name)}: "
    return "" if isinstance(error, NetworkError) else "evaluation."


def _key(path: str) -> str:
    return f"evaluation.rules: {path}"
