"""Scores of units that are trained on a frozen network, in the manner of NuWa (CVPR 2026), for all subsets at once.

NuWa derives one network for each class subset: a score of each head and hidden unit is trained by a straight-through
estimator on the subset's images, the units of the largest scores are kept, and layers behind them are refitted by
least squares. Here every class has scores of its own, and each image is shown to the module of a random subset with its
class, so that one step after training serves all subsets. The refit is the stage ``refit`` (docs/method.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from moda_core.methods.method import Images, Prepared, StepCheckpoint, Workers
from moda_core.methods.standard import Standard

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Nuwa(Standard):
    """Standard training, or a network that is trained already, and then scores of units on the frozen network.

    A class keeps the units of the largest scores, as many as hold a share of the parameters that go with units. While
    scores are trained this share falls from 1 to ``share``, so that the first steps see the whole network. For each
    image a subset with its class is drawn, of 2 to all classes, each size alike; the image passes the network masked by
    the union of the subset's units, and the loss is the cross-entropy of the subset's logits.

    Attributes:
        share: of the parameters that go with units, which a class keeps at the end; above 0, at most 1.
        score_epochs: over the training images.
        score_rate: Adam's learning rate of scores, which begin at 1.
        batch_size: images of a batch.
    """

    standard_at_zero: ClassVar[tuple[str, ...] | None] = None

    share: float = 0.05
    score_epochs: int = 4
    score_rate: float = 0.01
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"method.share={self.share} must be a number above 0 and at most 1")
        if not (math.isfinite(self.score_rate) and self.score_rate > 0):
            raise ValueError(f"method.score_rate={self.score_rate} must be a finite number above 0")
        for name in ("score_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"method.{name}={getattr(self, name)} must be a whole number of at least 1")

    def prepare(self, network: nn.Module, example: Tensor) -> Prepared:
        """Return the network beside the scores of its units."""
        from moda_core.methods.class_scores import ClassScores
        from moda_core.methods.frozen import WithParts
        from moda_core.units import unit_layers

        parts = ClassScores.of_network(network, unit_layers(network, example), example)
        return Prepared(WithParts(network, parts), parts)

    def unit_scores(self, parts: nn.Module | None) -> list[Tensor]:
        """Return of each unit 1 - the share of parameters at which its class comes to keep it: above 0.9 are the units
        that hold a tenth of the parameters that go with units.
        """
        from moda_core.methods.class_scores import ClassScores

        assert isinstance(parts, ClassScores)
        return [1 - share_CN for share_CN in parts.shares()]

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
        """Train the scores, on images as they are; resumed after any epoch."""
        from moda_core.methods.class_scores import ClassScores
        from moda_core.methods.score_training import train_scores

        assert isinstance(parts, ClassScores)
        train_scores(self, network, parts, images, workers, checkpoint)
