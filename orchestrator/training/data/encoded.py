"""Encoded images, in a table or in files, before they are decoded."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import ImageFile

from orchestrator.config import STRETCH, DataConfig
from orchestrator.errors import ConfigError


class Rows(Protocol):
    """Where encoded images come from, by row."""

    @property
    def key(self) -> str:
        """The key of the configuration that names it: ``data.path`` or ``data.test_path``."""

    def decode(self, row: int, config: DataConfig, side: int | None) -> npt.NDArray[np.uint8]:
        """An image as pixels (ch, H, W), cut to the square of this side in its middle.

        Raises:
            ConfigError: it cannot be read; the row is named.
        """

    def name(self, row: int) -> str:
        """An image as an error names it."""


@dataclass(frozen=True)
class EncodedImages:
    """Images before decoding; indexing with an integer or boolean array picks some of them."""

    source: Rows
    rows: npt.NDArray[np.int64]
    config: DataConfig

    def __getitem__(self, index: npt.NDArray[Any]) -> "EncodedImages":
        return replace(self, rows=self.rows[index])

    def decode(self, *, is_cut: bool = True) -> npt.NDArray[np.uint8]:
        """(I, ch, H, W) uint8.

        Args:
            is_cut: whether images are cut to ``data.image_size``; training cuts parts of its own.

        Raises:
            ConfigError: bytes that are not an image, or images of different sizes.
        """
        ImageFile.LOAD_TRUNCATED_IMAGES = False  # another package of this process may have allowed halves
        config, rows = self.config, self.rows.tolist()
        side = None
        if config.fit != STRETCH:
            side = config.image_size if is_cut and config.image_size is not None else config.resize
        first = self.source.decode(rows[0], config, side)
        images = np.empty((len(rows), *first.shape), dtype=np.uint8)

        def fill(place: int) -> None:
            image = self.source.decode(rows[place], config, side)
            if image.shape != first.shape:
                raise ConfigError(
                    f"{self.source.key}: {self.source.name(rows[place])} is {_size(image)},"
                    f" {self.source.name(rows[0])} is {_size(first)}; images must be of one size, set"
                    f" data.resize={first.shape[1]}"
                )
            images[place] = image

        with ThreadPoolExecutor() as pool:
            for _ in pool.map(fill, range(len(rows))):
                pass  # the first error is raised here
        return images


def _size(image: npt.NDArray[np.uint8]) -> str:
    return f"{image.shape[1]} x {image.shape[2]}"
