"""The rule of L1 magnitude: a baseline that knows no class.

This file loads no torch: what there is to choose is known before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from moda_core.choosing import DEFAULT_FLOOR, Parameter, check_parameters
from moda_core.rules.at_activations import AtActivations

if TYPE_CHECKING:
    import torch.distributed as dist
    from torch import Tensor, nn

    from moda_core.choosing import Contributions, Decomposition
    from moda_core.units import UnitLayers

    Batches = Iterable[tuple[Tensor, Tensor]]


class MagnitudeRule(AtActivations):
    """The rule by which every class keeps the units of the largest filters, so that modules have a target size.

    It is class-agnostic: all classes keep the same units, so that composing them saves nothing. Filters are compared
    across layers by their L1 norm over their layer's mean (:func:`moda_core.rules.filter_norms.filter_norms`).
    """

    name: ClassVar[str] = "magnitude"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "magnitude_target",
            "target size",
            0.0,
            1.0,
            excludes_low=True,
            larger_is_smaller=False,
            is_logarithmic=True,
            grid=(0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5),
        ),
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
        """Read the norms from the weights, and find the level of every target of the grid; no batch is looked at.

        Raises:
            NetworkError: a network that cannot be cut.
        """
        import torch

        from moda_core.graph import channel_graph
        from moda_core.modes import device_of
        from moda_core.rules.filter_norms import filter_norms
        from moda_core.rules.target_sizes import levels_of_targets

        example = next(node for node in sites.graph.nodes if node.op == "placeholder").meta["value"]
        graph, state = channel_graph(network, sites, torch.zeros_like(example, device=device_of(network)))
        norms = torch.cat(filter_norms(graph, state))
        targets = torch.tensor(sorted(set(grid["magnitude_target"])), dtype=torch.float64)
        counts = {
            "norms": norms,
            "classes": torch.tensor(num_classes),
            "widths": torch.tensor(graph.widths, dtype=torch.int64),
            "targets": targets,
        }
        return {**counts, "levels": levels_of_targets(graph, self.unpack(counts), targets)}

    def choose(
        self, counts: Mapping[str, Tensor], parameters: Mapping[str, float], *, floor: float = DEFAULT_FLOOR
    ) -> Decomposition:
        """Keep the units whose norm reaches the target's level, and the largest one of each layer, whatever ``floor``
        is."""
        from moda_core.choosing import Decomposition, contribution_masks

        check_parameters(self, parameters)
        target, targets = parameters["magnitude_target"], counts["targets"].tolist()
        if target not in targets:
            raise ValueError(
                f"magnitude_target={target} was not counted; counted: {', '.join(f'{one:g}' for one in targets)}"
            )
        level = float(counts["levels"][targets.index(target)])
        return Decomposition(contribution_masks(self.unpack(counts), level))

    @staticmethod
    def unpack(counts: Mapping[str, Tensor]) -> Contributions:
        """Return the norms as contributions that are the same to every class."""
        from moda_core.choosing import Contributions

        means_CN = counts["norms"].expand(int(counts["classes"]), -1)
        return Contributions(means_CN, tuple(counts["widths"].tolist()))
