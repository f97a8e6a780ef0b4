"""The rule of MwT and NeMo: a class keeps the units whose gate is above 0 on a share of its images.

This file loads no torch: what there is to choose is known before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from moda_core.choosing import DEFAULT_FLOOR, GATE_OPENS, GATE_SIZES, GATE_SUMS, Parameter, check_parameters

if TYPE_CHECKING:
    import torch.distributed as dist
    from torch import Tensor, nn

    from moda_core.choosing import Decomposition
    from moda_core.units import UnitLayers

    Batches = Iterable[tuple[Tensor, Tensor]]

STEP = 0.05  # by which the share is lowered where a class would keep nothing of a layer


class GateRule:
    """The rule by which a class keeps the units whose gate is above 0 on a share of its images.

    Where a class would keep no unit of a site, the share is lowered by 0.05 as often as it stays above 0. Where that
    finds none either, the class keeps the unit with the largest mean gate.
    """

    name: ClassVar[str] = "gate"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("gate_share", "share of images with an open gate", 0.0, 1.0, excludes_low=True, grid=(0.5, 0.7, 0.9)),
    )

    def sites(self, network: nn.Module, example_input: Tensor) -> UnitLayers:
        """Return the outputs that mask generators multiply, by :func:`moda_core.units.gate_sites`."""
        from moda_core.units import gate_sites

        return gate_sites(network, example_input)

    def check(self, sites: UnitLayers, grid: Mapping[str, Sequence[float]]) -> None:
        """Accept any network that has such sites."""

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
        """Count for each class and unit the images on which its gate is above 0, and sum the gates; in one pass.

        Args:
            network: with gates, as :meth:`moda_core.choosing.Gated.counted` gives it.
            sites: that came with it.
            batches: (images, labels) on the network's device.
            num_classes: C.
            grid: not used; the counts serve every share.
            group: the workers that the batches are shared out to; None for one worker.

        Raises:
            ValueError: a network without gates or in training mode, or a class without images.
        """
        from moda_core.rules.gate_counts import count_gates

        return count_gates(network, sites, batches, num_classes=num_classes, group=group)

    def choose(
        self, counts: Mapping[str, Tensor], parameters: Mapping[str, float], *, floor: float = DEFAULT_FLOOR
    ) -> Decomposition:
        """Choose the units whose gates are above 0 often enough. The rule has a floor of its own, whatever ``floor``
        is; ``floored`` says in how many (class, site) pairs the share had to be lowered.
        """
        import torch

        from moda_core.choosing import Decomposition, keep_some_unit

        check_parameters(self, parameters)
        widths = counts["widths"].tolist()
        sizes_C1 = counts[GATE_SIZES][:, None]
        opens, sums = (counts[name].split(widths, dim=1) for name in (GATE_OPENS, GATE_SUMS))
        keep, floored = [], 0
        for opens_CN, sums_CN in zip(opens, sums, strict=True):
            rate_CN = opens_CN.double() / sizes_C1
            mask_CN = torch.zeros_like(rate_CN, dtype=torch.bool)
            for step, share in enumerate(lowered_shares(parameters["gate_share"])):
                is_empty_C1 = ~mask_CN.any(1, keepdim=True)
                mask_CN |= is_empty_C1 & (rate_CN >= share)
                floored += int((~mask_CN.any(1)).sum()) if step == 0 else 0
            keep.append(keep_some_unit(mask_CN, sums_CN))
        return Decomposition(keep, floored=floored)


def lowered_shares(share: float) -> list[float]:
    """Return the shares that are tried in turn: the share itself, then 0.05 less each time while above 0."""
    shares = [share]
    while shares[-1] - STEP > 0:
        shares.append(shares[-1] - STEP)
    return shares


GATE = GateRule()
