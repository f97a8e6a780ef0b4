"""Images with their labels, and the three parts of a data set."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from orchestrator.training.data.stored_images import StoredImages

EVALUATION_BATCH = 512
Pixels = Tensor | StoredImages  # (I, ch, H, W) uint8


def part_of(images: Pixels, index: Tensor) -> Pixels:
    """Some images, in the order of their index; those that are stored stay there."""
    return images.part(index) if isinstance(images, StoredImages) else images[index]


def read_in_order(images: Pixels, indices: Iterable[Tensor]) -> Iterator[Tensor]:
    """A uint8 tensor of images for each index; stored ones are read ahead."""
    return images.ahead(indices) if isinstance(images, StoredImages) else (images[index] for index in indices)


@dataclass(frozen=True)
class ImageSet:
    """Images of one size with their labels; indexing returns a normalised float32 batch.

    Attributes:
        images: (I, ch, H, W) uint8: a tensor, or images that are stored elsewhere and read when they are needed.
        labels: (I,) int64 class ids.
        mean: of each channel, of images scaled to [0, 1].
        std: likewise.
        seen: the side of the square in the middle of an image that the network sees; None: the whole image. Training
            sees another part of that size each time.
        is_scaled: whether those parts are of any scale and brought to that side.
    """

    images: Pixels
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seen: int | None = None
    is_scaled: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.normalise(self.images[index])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what the network sees."""
        channels, height, width = self.images.shape[1:]
        return (channels, height, width) if self.seen is None else (channels, self.seen, self.seen)

    def middle(self, images: Tensor) -> Tensor:
        """uint8 (B, ch, H, W): the part that the network sees outside training."""
        if self.seen is None:
            return images
        top, left = (round((side - self.seen) / 2) for side in images.shape[2:])
        return images[:, :, top : top + self.seen, left : left + self.seen]

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, ch, H, W), whole or as training cuts it, as the network sees it."""
        mean, std = self._scaling
        return (self.middle(images).float() / 255 - mean) / std

    @cached_property
    def _scaling(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation on the device, each (1, ch, 1, 1), made once: a GPU waits for what is brought to it."""
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=self.labels.device).view(1, -1, 1, 1)
            for values in (self.mean, self.std)
        )
        return mean, std

    def to(self, device: torch.device) -> "ImageSet":
        """The same set with its tensors on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def part(self, index: Tensor) -> "ImageSet":
        """Return some of the images, in the order of their index."""
        return replace(self, images=part_of(self.images, index), labels=self.labels[index])

    def pixel_batches(self, *, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """(uint8 images as they are stored, labels) in order; of ``world`` workers each gets every ``world``-th
        batch."""
        indices = torch.arange(len(self), device=self.labels.device).split(EVALUATION_BATCH)[rank::world]
        for index, pixels in zip(indices, read_in_order(self.images, indices), strict=True):
            yield pixels, self.labels[index]

    def batches(self, *, rank: int = 0, world: int = 1) -> "Batches":
        """(images, labels) in order, as often as wanted; of ``world`` workers each gets every ``world``-th batch."""
        return Batches(self, rank, world)


@dataclass(frozen=True)
class Batches:
    """An image set's normalised batches in order; can be iterated again."""

    images: ImageSet
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for pixels, labels in self.images.pixel_batches(rank=self.rank, world=self.world):
            yield self.images.normalise(pixels), labels


@dataclass(frozen=True)
class Data:
    """The three splits, the class names and the size of an image. ``contents`` are hashes of everything that was read
    (:mod:`orchestrator.training.data.content`): ``content``, and ``test_content`` if there is a separate test set.
    If images were left out because they cannot be read, ``skipped`` is their number. ``validation`` has no images where
    ``data.validation_fraction`` is 0. ``summary`` describes all of it, in lines for a person.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    contents: Mapping[str, str] = field(default_factory=dict)
    summary: tuple[str, ...] = ()

    @property
    def judged(self) -> tuple[str, ImageSet]:
        """The split on which every choice is measured, by name: validation, or test where nothing is held out."""
        return ("validation", self.validation) if len(self.validation) else ("test", self.test)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        return self.train.shape[0]

    @property
    def image_size(self) -> int:
        """Height and width of an image."""
        return self.train.shape[1]

    def preprocessing(self) -> dict[str, Any]:
        """What a module set records, so that its user can prepare images."""
        return {"shape": list(self.train.shape), "mean": list(self.train.mean), "std": list(self.train.std)}

    def to(self, device: torch.device) -> "Data":
        """The same data on a device."""
        return replace(
            self, train=self.train.to(device), validation=self.validation.to(device), test=self.test.to(device)
        )
