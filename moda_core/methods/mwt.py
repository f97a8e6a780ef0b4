"""MwT: modularizing while training by mask generators (ICSE 2024), on convolutional networks; and on Transformers with
NeMo's generators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from moda_core.methods.coefficients import check_coefficient
from moda_core.methods.method import GATE_RULES, Method, Objective, Prepared, Workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from moda_core.choosing import Gated
    from moda_core.units import UnitLayers


@dataclass(frozen=True)
class Mwt(Method):
    """The MwT method: alpha L_aff + beta L_dis of the masks on top of the cross-entropy, with the published defaults.

    Its terms are MODA's affinity and dispersion, of the masks in place of the units.

    Attributes:
        alpha: of the affinity, 1 - the mean cosine of masks of the same class.
        beta: of the dispersion, the mean cosine of masks of different classes.
        published: whether modules are as published: they take kept units as they are, and are tuned with a new head on
            all logits; else they scale kept units by their open masks, and have the network's own logits.
    """

    terms: ClassVar[tuple[str, ...]] = ("affinity", "dispersion")
    rules: ClassVar[tuple[str, ...]] = GATE_RULES
    standard_at_zero: ClassVar[tuple[str, ...] | None] = ("alpha", "beta")

    alpha: float = 0.5
    beta: float = 1.5
    published: bool = False

    def __post_init__(self) -> None:
        check_coefficient("alpha", self.alpha)
        check_coefficient("beta", self.beta)

    def prepare(self, network: nn.Module, example: Tensor) -> Prepared:
        """Return the network with mask generators, which also returns the masks."""
        from moda_core.methods.mask_generators import prepare_gated

        return prepare_gated(network, example)

    def gates(self, network: nn.Module, parts: nn.Module | None, example: Tensor) -> Gated:
        """Return the network with its masks as gates."""
        from moda_core.methods.mask_generators import read_gated

        return read_gated(network, parts, example, folds=not self.published)

    def tuning_head(self, logits: int, classes: int) -> nn.Module | None:
        """Return the published head, which reads all logits; None where modules have the network's own."""
        from moda_core.methods.mask_generators import make_head

        return make_head(logits, classes) if self.published else None

    def tuning_module(
        self, network: nn.Module, sites: UnitLayers, keep: Sequence[Tensor], classes: int
    ) -> nn.Module | None:
        """Return the published slice of a Vision Transformer at its generators' sites; None for another module."""
        from moda_core.methods.published_slice import slice_transformer

        return slice_transformer(network, sites, keep, classes) if self.published else None

    def objective(self, output: Any, labels: Tensor, *, num_classes: int, size: int, workers: Workers) -> Objective:
        """Compute cross-entropy and both terms; a batch without pairs of a kind has 0 for their term."""
        from moda_core.methods.losses import modular_losses
        from moda_core.methods.sharing import added_up, cross_entropy

        logits, masks = output
        entropy = cross_entropy(logits, labels, size=size, workers=workers)
        losses = modular_losses(masks, labels, num_classes=num_classes, group=workers.group)
        weighted = self.alpha * losses.affinity + self.beta * losses.dispersion
        terms = {"affinity": losses.affinity, "dispersion": losses.dispersion}
        return Objective(entropy + added_up(weighted, workers), entropy, terms, logits)
