"""GradSplitter: masks and a head for each class, trained on a frozen network (Qi et al., TOSEM 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from moda_core.methods.method import Images, Prepared, Separate, StepCheckpoint, Workers
from moda_core.methods.standard import Standard

if TYPE_CHECKING:
    from torch import Tensor, nn


class SplitEpoch(NamedTuple):
    """An epoch of the schedule.

    Attributes:
        phase: its number; the optimiser is new in every phase.
        trains_masks: whether scores are trained beside the heads.
        head_rate: the learning rate of the heads.
    """

    phase: int
    trains_masks: bool
    head_rate: float


@dataclass(frozen=True)
class GradSplitter(Standard):
    """GradSplitter on a trained network, which stays as it is: for each class scores of units, of which those above 0
    are kept (learned by a straight-through estimator), and a head.

    Class c's own network is the masked network with all N logits, then ReLU, Linear(N, 10), ReLU, Linear(10, 1) and a
    sigmoid. The loss is the cross-entropy of the N sigmoids plus ``weight`` times the mean of all masks. The defaults
    are a shorter schedule of 14 epochs than the published 145, with faster masks; published are ``first_epochs=5``,
    ``rounds=20``, ``mask_epochs=5``, ``head_epochs=2`` and ``mask_rate=0.001``.

    Attributes:
        weight: of the mean of the masks.
        first_epochs: of the heads alone, before all, with a learning rate of 0.01.
        rounds: how often masks with heads, and then heads alone, are trained.
        mask_epochs: of masks and heads in a round.
        head_epochs: of heads alone in a round.
        mask_rate: the learning rate of scores, which begin at 1.
        batch_size: images of a batch.
    """

    needs_training: ClassVar[bool] = False
    standard_at_zero: ClassVar[tuple[str, ...] | None] = None

    weight: float = 0.1
    first_epochs: int = 2
    rounds: int = 4
    mask_epochs: int = 2
    head_epochs: int = 1
    mask_rate: float = 0.01
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"method.weight={self.weight} must be a finite number of at least 0")
        if not (math.isfinite(self.mask_rate) and self.mask_rate > 0):
            raise ValueError(f"method.mask_rate={self.mask_rate} must be a finite number above 0")
        for name, least in (
            ("first_epochs", 0),
            ("rounds", 1),
            ("mask_epochs", 1),
            ("head_epochs", 0),
            ("batch_size", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"method.{name}={getattr(self, name)} must be a whole number of at least {least}")

    def schedule(self) -> Iterator[SplitEpoch]:
        """Yield every epoch in order."""
        yield from [SplitEpoch(0, False, 0.01)] * self.first_epochs
        for number in range(self.rounds):
            yield from [SplitEpoch(2 * number + 1, True, 0.001)] * self.mask_epochs
            yield from [SplitEpoch(2 * number + 2, False, 0.001)] * self.head_epochs

    def prepare(self, network: nn.Module, example: Tensor) -> Prepared:
        """Return the network beside scores and heads of every class."""
        from moda_core.methods.frozen import WithParts
        from moda_core.methods.split_modules import SplitModules
        from moda_core.units import unit_layers

        parts = SplitModules.of_network(network, unit_layers(network, example), example)
        return Prepared(WithParts(network, parts), parts)

    def unit_scores(self, parts: nn.Module | None) -> list[Tensor]:
        """Return the trained scores."""
        from moda_core.methods.split_modules import SplitModules

        assert isinstance(parts, SplitModules)
        return [scores_CN.detach() for scores_CN in parts.scores]

    def separate(self, network: nn.Module, parts: nn.Module | None, example: Tensor) -> Separate:
        """Return the networks of the classes as they are published, with their heads."""
        from moda_core.methods.split_modules import SeparateNetworks, SplitModules
        from moda_core.units import unit_layers

        assert isinstance(parts, SplitModules)
        return SeparateNetworks.of_parts(network, unit_layers(network, example), parts, example)

    def after(
        self,
        network: nn.Module,
        parts: nn.Module | None,
        images: Images,
        *,
        num_classes: int,
        workers: Workers,
        checkpoint: StepCheckpoint,
    ) -> None:
        """Train scores and heads, on images as they are; resumed after any epoch."""
        from moda_core.methods.split_modules import SplitModules
        from moda_core.methods.split_training import train_modules

        assert isinstance(parts, SplitModules)
        train_modules(self, network, parts, images, workers, checkpoint)
