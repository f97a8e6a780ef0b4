"""What answers which class an image is of: a composed module, or a network with a class replaced.

Shapes: B images, ch channels, H x W pixels.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from moda_core.modes import device_of
from moda_core.sets.preprocessing import Pictures, Preprocessing, batches, is_single


class Classifier(nn.Module):
    """Classes of images of any kind and size.

    Attributes:
        class_names: the classes, in the order of the logits.
    """

    def __init__(self, class_names: list[str]) -> None:
        super().__init__()
        self.class_names = class_names

    @property
    def recipe(self) -> Preprocessing:
        """How images become what the network takes."""
        raise NotImplementedError

    def logits_of(self, pixels: Tensor) -> Tensor:
        """Return the logits (B, classes) of uint8 images (B, ch, H, W) of the network's size, on its device."""
        raise NotImplementedError

    def least_logits(self) -> Tensor:
        """Return the least logit of each class that is not rejected: (classes,)."""
        raise NotImplementedError

    def classify(self, images: Pictures, *, may_reject: bool = False) -> Any:
        """Return the class name of an image, or a list of those of several.

        Args:
            images: one image or several: names of files, encoded bytes, images of Pillow, uint8 arrays (H, W) or
                (H, W, ch), uint8 tensors (ch, H, W); several also as an array or tensor of four dimensions. They may
                be of any size and in colour or grey; a few hundred of several are in memory at once. What is not a
                tensor of the right size needs Pillow.
            may_reject: whether an image may be none of the classes: its name is None where its largest logit is below
                what 95 % of the images of that class reach.

        Raises:
            ValueError: something that is not an image, named, and where may_reject is true a network for which no such
                logits are known.
        """
        names = [name for name, _ in self.judge(images, may_reject=may_reject)]
        return names[0] if is_single(images) else names

    def judge(self, images: Pictures, *, may_reject: bool = False) -> list[tuple[str | None, float]]:
        """Return the class name of each image and the probability of that class; arguments and errors are those of
        :meth:`classify`."""
        least_C = self.least_logits() if may_reject else torch.full((len(self.class_names),), -torch.inf)
        judged: list[tuple[str | None, float]] = []
        for logits_BC in self._logits(images):
            largest_B, class_B = logits_BC.max(1)
            chance_B, is_known_B = logits_BC.softmax(1).max(1).values, largest_B >= least_C[class_B]
            judged += [
                (self.class_names[index] if is_known else None, chance)
                for index, is_known, chance in zip(
                    class_B.tolist(), is_known_B.tolist(), chance_B.tolist(), strict=True
                )
            ]
        return judged

    def probabilities(self, images: Pictures) -> Tensor:
        """Return the probability of each class for each image: (B, classes), or (classes,) for one image; on the CPU.

        The softmax of the logits: what it says of an image of none of the classes means nothing.

        Args:
            images: as for :meth:`classify`.
        """
        parts = [logits_BC.softmax(1) for logits_BC in self._logits(images)]
        chances = torch.cat(parts) if parts else torch.empty(0, len(self.class_names))
        return chances[0] if is_single(images) else chances

    @torch.no_grad()
    def _logits(self, images: Pictures) -> Iterator[Tensor]:
        """The logits of a batch of images after another, on the CPU."""
        device = device_of(self)
        for batch in [images] if is_single(images) else batches(images):
            yield self.logits_of(self.recipe.pixels(batch).to(device)).float().cpu()
