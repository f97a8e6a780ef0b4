"""MODA: alpha L_aff + beta L_dis + gamma L_com on top of the cross-entropy (arXiv 2411.01074, ICSE 2026)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from moda_core.methods.method import Method, Objective, Prepared, Workers

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Moda(Method):
    """The MODA method. The defaults of its three coefficients are the published ones; with all three at 0 it is
    standard training.
    """

    terms: ClassVar[tuple[str, ...]] = ("affinity", "dispersion", "compactness")

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
        """Whether the training needs the units at all."""
        return self.alpha > 0 or self.beta > 0 or self.gamma > 0

    def prepare(self, network: nn.Module, example: Tensor) -> Prepared:
        """Return the network that also returns its units, or the network itself if no coefficient needs them."""
        from moda_core.units import unit_layers, watch_units

        if not self.watches_units:
            return Prepared(network)
        return Prepared(watch_units(network, unit_layers(network, example)))

    def objective(self, output: Any, labels: Tensor, *, num_classes: int, size: int, workers: Workers) -> Objective:
        """Compute cross-entropy and the weighted terms; the terms are 0 if no coefficient needs them."""
        from moda_core.methods.losses import modular_losses
        from moda_core.methods.sharing import added_up, cross_entropy

        logits, units = output if self.watches_units else (output, None)
        loss = entropy = cross_entropy(logits, labels, size=size, workers=workers)
        if units is None:
            return Objective(loss, entropy, dict.fromkeys(self.terms, entropy.new_zeros(())), logits)
        losses = modular_losses(units, labels, num_classes=num_classes, group=workers.group)
        weighted = self.alpha * losses.affinity + self.beta * losses.dispersion + self.gamma * losses.compactness
        return Objective(entropy + added_up(weighted, workers), entropy, losses._asdict(), logits)
