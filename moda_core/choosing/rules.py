"""The built-in rules: by how often a unit is active, and by what it contributes to the class's logit.

This file loads no torch: what there is to choose is known before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from moda_core.choosing.rule_protocol import DEFAULT_FLOOR, Parameter, Rule, check_parameters

if TYPE_CHECKING:
    import torch.distributed as dist
    from torch import Tensor, nn

    from moda_core.choosing.contributions import Contributions
    from moda_core.choosing.decomposition import Decomposition
    from moda_core.choosing.frequency import Frequencies
    from moda_core.units import UnitLayers

    Batches = Iterable[tuple[Tensor, Tensor]]


class _AtActivations:
    """The units of the rules of this package."""

    def sites(self, network: nn.Module, example_input: Tensor) -> UnitLayers:
        """Return every call of an activation, by :func:`moda_core.unit_layers`."""
        from moda_core.units import unit_layers

        return unit_layers(network, example_input)


class ActivityRule(_AtActivations):
    """The published rule: a class keeps the units that are active on at least tau of its images."""

    name: ClassVar[str] = "activity"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("tau", "tau", 0.0, 1.0, excludes_low=True, grid=(0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)),
        Parameter("threshold", "threshold", 0.0, grid=(0.0, 0.1, 0.2, 0.3)),
    )

    def check(self, sites: UnitLayers, grid: Mapping[str, Sequence[float]]) -> None:
        """Refuse threshold 0 where an activation has no exact zeros."""
        from moda_core.choosing.frequency import check_thresholds

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
        from moda_core.choosing.frequency import count_frequencies

        thresholds = grid["threshold"]
        return self.pack(
            count_frequencies(network, sites, batches, num_classes=num_classes, thresholds=thresholds, group=group)
        )

    def choose(
        self, counts: Mapping[str, Tensor], parameters: Mapping[str, float], *, floor: float = DEFAULT_FLOOR
    ) -> Decomposition:
        """Choose by :func:`moda_core.keep_masks`."""
        from moda_core.choosing.decomposition import Decomposition
        from moda_core.choosing.masks import floored, keep_masks

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
        from moda_core.choosing.frequency import Frequencies

        thresholds, widths = tuple(counts["thresholds"].tolist()), tuple(counts["widths"].tolist())
        return Frequencies(thresholds, counts["counts"], counts["sizes"], counts["means"], widths)


class ContributionRule(_AtActivations):
    """The rule by which a class keeps the units whose mean contribution to its logit reaches a level."""

    name: ClassVar[str] = "contribution"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("level", "level", 0.0, grid=(0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)),
    )

    def check(self, sites: UnitLayers, grid: Mapping[str, Sequence[float]]) -> None:
        """Accept any network, since any activation will do."""

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
        from moda_core.choosing.contributions import count_contributions

        return self.pack(count_contributions(network, sites, batches, num_classes=num_classes, group=group))

    def choose(
        self, counts: Mapping[str, Tensor], parameters: Mapping[str, float], *, floor: float = DEFAULT_FLOOR
    ) -> Decomposition:
        """Choose by :func:`moda_core.contribution_masks`. The floor is one unit of each site, whatever ``floor`` is."""
        from moda_core.choosing.contributions import contribution_masks
        from moda_core.choosing.decomposition import Decomposition

        check_parameters(self, parameters)
        return Decomposition(contribution_masks(self.unpack(counts), parameters["level"]))

    @staticmethod
    def pack(contributions: Contributions) -> dict[str, Tensor]:
        """Return the contributions as tensors by name."""
        import torch

        return {"means": contributions.means_CN, "widths": torch.tensor(contributions.widths, dtype=torch.int64)}

    @staticmethod
    def unpack(counts: Mapping[str, Tensor]) -> Contributions:
        """Return the contributions that :meth:`pack` was given."""
        from moda_core.choosing.contributions import Contributions

        return Contributions(counts["means"], tuple(counts["widths"].tolist()))


ACTIVITY, CONTRIBUTION = ActivityRule(), ContributionRule()
RULES: dict[str, Rule] = {rule.name: rule for rule in (ACTIVITY, CONTRIBUTION)}
