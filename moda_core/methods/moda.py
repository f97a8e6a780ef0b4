"""MODA: alpha L_aff + beta L_dis + gamma L_com on top of the cross-entropy (arXiv 2411.01074, ICSE 2026)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a configuration names methods, and loads no PyTorch
    import torch.distributed as dist
    from torch import Tensor

    from moda_core.methods.losses import ModularLosses


@dataclass(frozen=True)
class Moda:
    """The three coefficients; the defaults are the published ones. With all three at 0 it is standard training."""

    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 0.3

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"method.{name}={value} must be a finite number of at least 0")

    @property
    def watches_units(self) -> bool:
        """Whether training needs the units at all."""
        return self.alpha > 0 or self.beta > 0 or self.gamma > 0

    def extra_loss(
        self,
        units: Sequence[Tensor],
        labels: Tensor,
        *,
        num_classes: int,
        group: dist.ProcessGroup | None = None,
    ) -> tuple[Tensor, ModularLosses]:
        """The weighted sum, and the three terms it is made of."""
        from moda_core.methods.losses import modular_losses

        terms = modular_losses(units, labels, num_classes=num_classes, group=group)
        weighted = self.alpha * terms.affinity + self.beta * terms.dispersion + self.gamma * terms.compactness
        return weighted, terms
