"""Transforms of torchvision for training images, image by image, each drawn from a seed of its own.

So an image becomes the same whichever worker transforms it, in whichever batch, and after a resume too.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from orchestrator.errors import ConfigError, reason_of
from orchestrator.training.data.vision import torchvision_transforms

_DRAWING = threading.Lock()  # torchvision draws from the generator that all threads of a process share


@dataclass(frozen=True)
class Augmentation:
    """Transforms, one after the other.

    Attributes:
        stated: each as its ``name`` in torchvision and its parameters.
    """

    stated: tuple[Mapping[str, Any], ...]

    @classmethod
    def checked(cls, stated: tuple[Mapping[str, Any], ...]) -> Self:
        """The same, made once to see that it can be.

        Raises:
            ConfigError: parameters that torchvision does not take together.
        """
        made = cls(stated)
        _ = made.transforms
        return made

    @cached_property
    def transforms(self) -> Any:
        """Of torchvision; raises what :meth:`checked` does."""
        kinds, made = torchvision_transforms(), []
        for each in self.stated:
            parameters = {name: value for name, value in each.items() if name != "name"}
            try:
                made.append(getattr(kinds, each["name"])(**parameters))
            except (TypeError, ValueError) as error:
                raise ConfigError(f"data.augmentations: {each['name']}: {reason_of(error)}; change it") from error
        return kinds.Compose(made)

    def __call__(self, pixels: Tensor, seeds_B: Tensor) -> Tensor:
        """Transform images.

        Args:
            pixels: (B, ch, H, W) uint8.
            seeds_B: (B,) int64 on the CPU, of each image.
        """
        if len(pixels) == 0:
            return pixels
        generator = torch.default_generator
        with _DRAWING:
            before = generator.get_state()
            try:
                return torch.stack([self._transformed(*each) for each in zip(pixels, seeds_B.tolist(), strict=True)])
            finally:
                generator.set_state(before)

    def _transformed(self, image: Tensor, seed: int) -> Tensor:
        torch.default_generator.manual_seed(seed)
        transformed: Tensor = self.transforms(image)
        return transformed

    def __getstate__(self) -> dict[str, Any]:
        return {"stated": self.stated}
