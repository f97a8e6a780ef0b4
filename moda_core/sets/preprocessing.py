"""What a module set records of how images become what its network takes, and doing that to images of any kind.

Shapes: B images, ch channels, H x W pixels of what the network takes.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

Picture: TypeAlias = Union[str, os.PathLike[str], bytes, "Image", npt.NDArray[np.uint8], Tensor]
Pictures: TypeAlias = Picture | Iterable[Picture]

STRETCH, CENTRE = FITS = ("stretch", "centre")
BACKGROUNDS = ("black", "white")
BATCH = 256  # images that are decoded and classified at once
COLOURS = (1, 3, 4)  # channels of an array: grey, RGB, and with transparency


@dataclass(frozen=True)
class Preprocessing:
    """How images become what a network takes.

    Attributes:
        shape: ch, H and W of what the network takes.
        mean: of each channel, of images scaled to [0, 1].
        std: likewise.
        fit: ``"stretch"`` to H x W, or ``"centre"``: the proportions are kept and the middle is cut out.
        shorter_side: with ``"centre"``, to which an image is brought before that.
        background: what is behind transparent pixels, black or white.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: str = STRETCH
    shorter_side: int | None = None
    background: str = "white"

    @classmethod
    def of(cls, recipe: Mapping[str, Any]) -> "Preprocessing":
        """What a checked manifest records; sets from before they recorded it stretch images."""
        channels, height, width = recipe["shape"]
        return cls(
            (channels, height, width),
            tuple(recipe["mean"]),
            tuple(recipe["std"]),
            recipe.get("fit", STRETCH),
            recipe.get("resize"),
            recipe.get("background", "white"),
        )

    @property
    def channels(self) -> int:
        """Channels of what the network takes."""
        return self.shape[0]

    @property
    def resize(self) -> int | tuple[int, int] | None:
        """The length of an image's shorter side, or the width and height to which it is stretched."""
        return self.shape[:0:-1] if self.fit == STRETCH else self.shorter_side

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (B, ch, H, W) scaled to [0, 1] and normalised by channel: float32."""
        mean, std = (
            pixels.new_tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (self.mean, self.std)
        )
        return (pixels.float() / 255 - mean) / std

    def pixels(self, pictures: Pictures) -> Tensor:
        """Images decoded, turned upright, opaque, with the network's channels and size: uint8 (B, ch, H, W).

        Raises:
            ValueError: something that is not an image, named.
        """
        if isinstance(pictures, Tensor) and pictures.dtype == torch.uint8 and tuple(pictures.shape[1:]) == self.shape:
            return pictures
        if is_single(pictures):
            return self._pixels(pictures, "the image")[None]
        parts = [self._pixels(picture, f"image {place}") for place, picture in enumerate(cast(Iterable[Any], pictures))]
        return torch.stack(parts) if parts else torch.empty(0, *self.shape, dtype=torch.uint8)

    def _pixels(self, picture: Any, where: str) -> Tensor:
        if isinstance(picture, Tensor) and picture.dtype == torch.uint8 and tuple(picture.shape) == self.shape:
            return picture.cpu()
        try:
            from moda_core.images import ImageError, decode, image_pixels
        except ImportError as error:
            raise ValueError("images of other sizes and kinds need Pillow: pip install 'moda-core[images]'") from error
        middle = None if self.fit == STRETCH else self.shape[1:]
        try:
            if isinstance(picture, str | os.PathLike):
                where = os.fspath(picture)
                picture = Path(picture).read_bytes()
            if isinstance(picture, bytes):
                return torch.tensor(decode(picture, self, middle=middle))
            return torch.tensor(image_pixels(_opened(picture, where), self, middle=middle))
        except OSError as error:
            raise ValueError(f"{where} cannot be read: {error.strerror or error}") from error
        except ImageError as error:
            raise ValueError(f"{where} is not a readable image: {error}") from error


def is_single(pictures: Pictures) -> bool:
    """Whether what is given is one image and not several."""
    if isinstance(pictures, Tensor | np.ndarray):
        return pictures.ndim <= 3
    return isinstance(pictures, str | os.PathLike | bytes) or not isinstance(pictures, Iterable)


def batches(pictures: Pictures) -> Iterator[Pictures]:
    """Several images, as many at once as are classified at once."""
    if isinstance(pictures, Tensor):
        yield from pictures.split(BATCH)
        return
    remaining = iter(cast(Iterable[Picture], pictures))
    while batch := list(itertools.islice(remaining, BATCH)):
        yield batch


def _opened(picture: Any, where: str) -> "Image":
    """An image in memory as Pillow's."""
    from PIL import Image

    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, Tensor):
        array = picture.detach().cpu().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    elif isinstance(picture, np.ndarray):
        array = picture
    else:
        raise ValueError(
            f"{where} is a {type(picture).__name__}; give names of files, encoded bytes, images of Pillow, arrays"
            " (H, W) or (H, W, ch), or tensors (ch, H, W)"
        )
    if array.dtype != np.uint8:
        raise ValueError(
            f"{where} holds {array.dtype}; give uint8 from 0 to 255, or call the module on what is preprocessed already"
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in COLOURS) or 0 in array.shape:
        raise ValueError(
            f"{where} is of shape {tuple(picture.shape)}; an array is (H, W) or (H, W, ch), a tensor (ch, H, W),"
            " with 1, 3 or 4 channels"
        )
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array))
