"""The rule of L1 magnitude: a baseline that knows no class.

This file loads no torch: what there is to choose is known before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from moda_core.choosing import DEFAULT_FLOOR, Parameter, check_parameters
from moda_core.rules.at_activations import pack_empty, unpack_empty
from moda_core.rules.at_targets import AtTargets, target_parameter

if TYPE_CHECKING:
    import torch.distributed as dist
    from torch import Tensor, nn

    from moda_core.choosing import Contributions, Decomposition
    from moda_core.units import UnitLayers

    Batches = Iterable[tuple[Tensor, Tensor]]


class MagnitudeRule(AtTargets):
    """The rule by which every class keeps the units of the largest filters, so that modules have a target size.

    It is class-agnostic: all classes keep the same units, so that composing them saves nothing. Filters are compared
    across layers by their L1 norm over their layer's mean (:func:`moda_core.rules.filter_norms.filter_norms`).
    """

    name: ClassVar[str] = "magnitude"
    parameters: ClassVar[tuple[Parameter, ...]] = (target_parameter("magnitude_target"),)

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
        """Read the norms from the weights, and find the level of every target of the grid; no batch is looked at.

        Raises:
            NetworkError: a network that cannot be cut.
        """
        import torch

        from moda_core.rules.filter_norms import filter_norms
        from moda_core.rules.target_sizes import graph_of, levels_of_targets

        graph, state = graph_of(network, sites)
        norms = torch.cat(filter_norms(graph, state))
        targets = torch.tensor(sorted(set(grid["magnitude_target"])), dtype=torch.float64)
        counts = {
            "norms": norms,
            "classes": torch.tensor(num_classes),
            "widths": torch.tensor(graph.widths, dtype=torch.int64),
            "targets": targets,
            **pack_empty(sites.may_be_empty),
        }
        return {**counts, "levels": levels_of_targets(graph, self.unpack(counts), targets)}

    def choose(
        self, counts: Mapping[str, Tensor], parameters: Mapping[str, float], *, floor: float = DEFAULT_FLOOR
    ) -> Decomposition:
        """Keep the units whose norm reaches the target's level, and the largest one of each layer that may not be
        empty, whatever ``floor`` is."""
        from moda_core.choosing import Decomposition, contribution_masks

        check_parameters(self, parameters)
        return Decomposition(contribution_masks(self.unpack(counts), self.level(counts, parameters)))

    @staticmethod
    def unpack(counts: Mapping[str, Tensor]) -> Contributions:
        """Return the norms as contributions that are the same to every class."""
        from moda_core.choosing import Contributions

        means_CN = counts["norms"].expand(int(counts["classes"]), -1)
        return Contributions(means_CN, tuple(counts["widths"].tolist()), unpack_empty(counts))
