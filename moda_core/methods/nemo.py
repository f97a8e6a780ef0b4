"""NeMo: MwT's masks with a contrastive loss, on convolutional networks and Transformers."""

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
class Nemo(Method):
    """The NeMo method: alpha times the contrast of the masks on top of the cross-entropy.

    Attributes:
        alpha: of the contrast (:mod:`moda_core.methods.contrast`). Published values lie between 1.0 and 1.8.
        temperature: of the contrast, above 0.
        published: whether all is as the published code has it: the contrast counts the masks of the first masked
            convolution as 1, so that they follow from the cross-entropy alone, and modules are those of
            :class:`Mwt` as published; else the contrast is of all masks, and modules are as of :class:`Mwt` by default.
    """

    terms: ClassVar[tuple[str, ...]] = ("contrast",)
    rules: ClassVar[tuple[str, ...]] = GATE_RULES
    standard_at_zero: ClassVar[tuple[str, ...] | None] = ("alpha",)

    alpha: float = 1.3
    temperature: float = 0.2
    published: bool = False

    def __post_init__(self) -> None:
        check_coefficient("alpha", self.alpha)
        check_coefficient("temperature", self.temperature, above_zero=True)

    def prepare(self, network: nn.Module, example: Tensor) -> Prepared:
        """Return the network with mask generators, which also returns the masks."""
        from moda_core.methods.mask_generators import prepare_gated

        return prepare_gated(network, example, first_as_ones=self.published)

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
        """Compute cross-entropy and contrast."""
        from moda_core.methods.contrast import contrastive_loss
        from moda_core.methods.sharing import added_up, cross_entropy

        logits, masks = output
        entropy = cross_entropy(logits, labels, size=size, workers=workers)
        contrast = contrastive_loss(masks, labels, temperature=self.temperature, size=size, group=workers.group)
        loss = entropy + added_up(self.alpha * contrast, workers)
        return Objective(loss, entropy, {"contrast": contrast}, logits)
