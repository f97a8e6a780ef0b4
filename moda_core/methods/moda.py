"""MODA: alpha L_aff + beta L_dis + gamma L_com on top of the cross-entropy (arXiv 2411.01074, ICSE 2026)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from moda_core.methods.coefficients import check_coefficient
from moda_core.methods.method import Method, Objective, Prepared, Workers

if TYPE_CHECKING:
    from torch import Tensor, nn

COMPACTNESS = ("uniform", "size", "sqrt_size")
SHALLOW, DEEP_WARMUP = 8, 0.5  # unit layers, and the share of the training over which gamma grows if there are more


@dataclass(frozen=True)
class Moda(Method):
    """The MODA method. The defaults are the published ones; with its three coefficients at 0 it is standard training.

    Attributes:
        alpha: of the affinity.
        beta: of the dispersion.
        gamma: of the compactness.
        compactness: how layers weigh in it: ``uniform``, by the parameters that go with their units (``size``), or by
            the square root of these (``sqrt_size``).
        gamma_warmup: over what share of the training gamma grows evenly from 0; None for half of it where the network
            has more than :data:`SHALLOW` unit layers, and none of it elsewhere. Strong compactness from the first step
            on kills the units of a deep network before they carry anything, and makes a shallow one smaller
            (docs/findings.md).
    """

    terms: ClassVar[tuple[str, ...]] = ("affinity", "dispersion", "compactness")
    standard_at_zero: ClassVar[tuple[str, ...] | None] = ("alpha", "beta", "gamma")

    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 0.3
    compactness: str = "uniform"
    gamma_warmup: float | None = 0.0

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            check_coefficient(name, getattr(self, name))
        if self.compactness not in COMPACTNESS:
            raise ValueError(f"method.compactness={self.compactness!r} must be one of {', '.join(COMPACTNESS)}")
        if self.gamma_warmup is not None:
            check_coefficient("gamma_warmup", self.gamma_warmup)
            if self.gamma_warmup > 1:
                raise ValueError(f"method.gamma_warmup={self.gamma_warmup} is a share of the training, so 1 at most")

    @property
    def watches_units(self) -> bool:
        """Whether the training needs the units at all."""
        return self.alpha > 0 or self.beta > 0 or self.gamma > 0

    def prepare(self, network: nn.Module, example: Tensor) -> Prepared:
        """Return the network that also returns its units, or the network itself if no coefficient needs them."""
        from moda_core.methods.layer_weights import Weighted, layer_weights
        from moda_core.units import unit_layers, watch_units

        if not self.watches_units:
            return Prepared(network)
        layers = unit_layers(network, example)
        watched = watch_units(network, layers)
        uniform, warmup = self.compactness == "uniform", self.gamma_warmup
        if warmup is None:
            warmup = DEEP_WARMUP if len(layers) > SHALLOW else 0.0
        if uniform and not warmup:
            return Prepared(watched)
        weights = None if uniform else layer_weights(network, layers, example, self.compactness)
        return Prepared(Weighted(watched, weights, warmup).to(example.device))

    def before_step(self, model: nn.Module, progress: float) -> None:
        """Set how much of gamma counts in the step."""
        from moda_core.methods.layer_weights import Weighted

        if isinstance(model, Weighted):
            model.warm(progress)

    def objective(self, output: Any, labels: Tensor, *, num_classes: int, size: int, workers: Workers) -> Objective:
        """Compute cross-entropy and the weighted terms; the terms are 0 if no coefficient needs them."""
        from moda_core.methods.losses import modular_losses
        from moda_core.methods.sharing import added_up, cross_entropy

        logits, units, *rest = output if self.watches_units else (output, None)
        loss = entropy = cross_entropy(logits, labels, size=size, workers=workers)
        if units is None:
            return Objective(loss, entropy, dict.fromkeys(self.terms, entropy.new_zeros(())), logits)
        weights, warmth = rest or (None, 1.0)
        losses = modular_losses(units, labels, num_classes=num_classes, group=workers.group, layer_weights=weights)
        gamma = self.gamma * warmth
        weighted = self.alpha * losses.affinity + self.beta * losses.dispersion + gamma * losses.compactness
        return Objective(entropy + added_up(weighted, workers), entropy, losses._asdict(), logits)
