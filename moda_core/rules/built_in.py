"""The built-in rules: by how often a unit is active, by what it contributes to the class's logit, by the size that
modules should have, and by the magnitude of filters alone (:mod:`moda_core.rules.magnitude`).

This file loads no torch: what there is to choose is known before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from moda_core.choosing import DEFAULT_FLOOR, Parameter, check_parameters
from moda_core.rules.at_activations import AtActivations, pack_empty, unpack_empty
from moda_core.rules.at_targets import AtTargets, target_parameter
from moda_core.rules.magnitude import MagnitudeRule
from moda_core.rules.score_rule import ScoreRule

if TYPE_CHECKING:
    import torch.distributed as dist
    from torch import Tensor, nn

    from moda_core.choosing import Contributions, Decomposition, Frequencies
    from moda_core.graph import ChannelGraph
    from moda_core.units import UnitLayers

    Batches = Iterable[tuple[Tensor, Tensor]]

WORTH, BY_CONTRIBUTION = RANKINGS = ("worth", "contribution")  # by what units are kept for modules of a target size
TOLERANCE = 0.1  # of a target size, within which it is reached


class ActivityRule(AtActivations):
    """The published rule: a class keeps the units that are active on at least tau of its images."""

    name: ClassVar[str] = "activity"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("tau", "tau", 0.0, 1.0, excludes_low=True, grid=(0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)),
        Parameter("threshold", "threshold", 0.0, grid=(0.0, 0.1, 0.2, 0.3)),
    )

    def check(self, sites: UnitLayers, grid: Mapping[str, Sequence[float]]) -> None:
        """Refuse threshold 0 where an activation has no exact zeros."""
        from moda_core.choosing import check_thresholds

        check_thresholds(sites, grid["threshold"])

    def count(
        self,
        network: nn.Module,
        sites: UnitLayers,
        batches: Batches,
        *,
        num_classes: int,
        grid: Mapping[str, Sequence[float]],
        group: dist.ProcessGroup | None = None,
    ) -> dict[str, Tensor]:
        """Count by :func:`moda_core.count_frequencies` at every threshold of the grid."""
        from moda_core.choosing import count_frequencies

        thresholds = grid["threshold"]
        return self.pack(
            count_frequencies(network, sites, batches, num_classes=num_classes, thresholds=thresholds, group=group)
        )

    def choose(
        self, counts: Mapping[str, Tensor], parameters: Mapping[str, float], *, floor: float = DEFAULT_FLOOR
    ) -> Decomposition:
        """Choose by :func:`moda_core.keep_masks`."""
        from moda_core.choosing import Decomposition, floored, keep_masks

        check_parameters(self, parameters)
        frequencies = self.unpack(counts)
        tau, threshold = parameters["tau"], parameters["threshold"]
        acted = floored(frequencies, tau, threshold=threshold, floor=floor)
        masks = keep_masks(frequencies, tau, threshold=threshold, floor=floor)
        return Decomposition(masks, floored=sum(int(acted_C.sum()) for acted_C in acted))

    @staticmethod
    def pack(frequencies: Frequencies) -> dict[str, Tensor]:
        """Return the frequencies as tensors by name."""
        import torch

        return {
            "counts": frequencies.counts_TCN,
            "sizes": frequencies.class_sizes_C,
            "means": frequencies.means_N,
            "thresholds": torch.tensor(frequencies.thresholds, dtype=torch.float64),
            "widths": torch.tensor(frequencies.widths, dtype=torch.int64),
        }

    @staticmethod
    def unpack(counts: Mapping[str, Tensor]) -> Frequencies:
        """Return the frequencies that :meth:`pack` was given."""
        from moda_core.choosing import Frequencies

        thresholds, widths = tuple(counts["thresholds"].tolist()), tuple(counts["widths"].tolist())
        return Frequencies(thresholds, counts["counts"], counts["sizes"], counts["means"], widths)


class ContributionRule(AtActivations):
    """The rule by which a class keeps the units whose mean contribution to its logit reaches a level."""

    name: ClassVar[str] = "contribution"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("level", "level", 0.0, grid=(0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)),
    )

    def count(
        self,
        network: nn.Module,
        sites: UnitLayers,
        batches: Batches,
        *,
        num_classes: int,
        grid: Mapping[str, Sequence[float]],
        group: dist.ProcessGroup | None = None,
    ) -> dict[str, Tensor]:
        """Count by :func:`moda_core.count_contributions`; the counts serve every level."""
        from moda_core.choosing import count_contributions

        return self.pack(count_contributions(network, sites, batches, num_classes=num_classes, group=group))

    def choose(
        self, counts: Mapping[str, Tensor], parameters: Mapping[str, float], *, floor: float = DEFAULT_FLOOR
    ) -> Decomposition:
        """Choose by :func:`moda_core.contribution_masks`. The floor is one unit of each site, whatever ``floor`` is."""
        from moda_core.choosing import Decomposition, contribution_masks

        check_parameters(self, parameters)
        return Decomposition(contribution_masks(self.unpack(counts), parameters["level"]))

    @staticmethod
    def pack(contributions: Contributions) -> dict[str, Tensor]:
        """Return the contributions as tensors by name."""
        import torch

        return {
            "means": contributions.means_CN,
            "widths": torch.tensor(contributions.widths, dtype=torch.int64),
            **pack_empty(contributions.may_be_empty),
        }

    @staticmethod
    def unpack(counts: Mapping[str, Tensor]) -> Contributions:
        """Return the contributions that :meth:`pack` was given."""
        from moda_core.choosing import Contributions

        return Contributions(counts["means"], tuple(counts["widths"].tolist()), unpack_empty(counts))


class SizeRule(AtTargets):
    """The rule by which modules have a target size: the units of the largest worth, or of the largest contribution.

    The mean over classes of the parameters that a class's module keeps, of all, comes as near to the target as a level
    can bring it (:func:`moda_core.rules.target_sizes.levels_of_targets`). What a unit is worth follows from its
    contributions and its cost (:mod:`moda_core.rules.worth`). Counts with ``costs`` rank by worth, others by
    contribution.
    """

    name: ClassVar[str] = "size"
    parameters: ClassVar[tuple[Parameter, ...]] = (target_parameter("target"),)

    def count(
        self,
        network: nn.Module,
        sites: UnitLayers,
        batches: Batches,
        *,
        num_classes: int,
        grid: Mapping[str, Sequence[float]],
        group: dist.ProcessGroup | None = None,
    ) -> dict[str, Tensor]:
        """Count by :func:`moda_core.count_contributions`, and find the level of every target of the grid.

        Raises:
            NetworkError: a network that cannot be cut.
        """
        from moda_core.rules.target_sizes import graph_of

        contributions = CONTRIBUTION.count(network, sites, batches, num_classes=num_classes, grid=grid, group=group)
        graph, _ = graph_of(network, sites)
        return self.extend(contributions, graph, grid)

    def extend(
        self,
        contributions: Mapping[str, Tensor],
        graph: ChannelGraph,
        grid: Mapping[str, Sequence[float]],
        *,
        ranking: str = WORTH,
    ) -> dict[str, Tensor]:
        """Return what :meth:`count` does, from what the contribution rule counted on the network of a graph.

        Args:
            contributions: of the contribution rule.
            graph: the channel graph.
            grid: the targets.
            ranking: one of :data:`RANKINGS`, by which units are kept.
        """
        import torch

        from moda_core.rules.target_sizes import levels_of_targets
        from moda_core.rules.worth import levels_and_costs

        targets, counted = (
            torch.tensor(sorted(set(grid["target"])), dtype=torch.float64),
            CONTRIBUTION.unpack(contributions),
        )
        if ranking == BY_CONTRIBUTION:
            return {**contributions, "targets": targets, "levels": levels_of_targets(graph, counted, targets)}
        levels, costs = levels_and_costs(graph, counted, targets)
        return {**contributions, "targets": targets, "levels": levels, "costs": costs}

    def choose(
        self, counts: Mapping[str, Tensor], parameters: Mapping[str, float], *, floor: float = DEFAULT_FLOOR
    ) -> Decomposition:
        """Choose by :func:`moda_core.contribution_masks`, at the target's level."""
        from moda_core.choosing import Decomposition, contribution_masks
        from moda_core.rules.worth import by_worth

        check_parameters(self, parameters)
        ranked, place = CONTRIBUTION.unpack(counts), self.place(counts, parameters)
        if "costs" in counts:
            ranked = by_worth(ranked, counts["costs"][place])
        return Decomposition(contribution_masks(ranked, float(counts["levels"][place])))


def reaches(target: float, size: float) -> bool:
    """Return whether modules have the size that they should have: within 10 % of it."""
    return abs(size / target - 1) <= TOLERANCE


ACTIVITY, CONTRIBUTION, SIZE, MAGNITUDE = ActivityRule(), ContributionRule(), SizeRule(), MagnitudeRule()
SCORE = ScoreRule()
