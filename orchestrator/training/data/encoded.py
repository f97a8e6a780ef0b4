"""Encoded images, in a table or in files, before they are decoded."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from moda_core.images import Stored
from orchestrator.config import STRETCH, DataConfig

Note = Callable[[Stored], None] | None


class Rows(Protocol):
    """Where encoded images come from, by row."""

    @property
    def key(self) -> str:
        """The key of the configuration that names it: ``data.path`` or ``data.test_path``."""

    def __len__(self) -> int: ...

    def chunks(self) -> Iterator[pa.Array]:
        """The bytes of all images in order, some at a time, as they are hashed.

        Raises:
            ConfigError: images that cannot be read.
        """

    def encoded(self, rows: npt.NDArray[np.int64]) -> Iterator[Callable[[], bytes | None]]:
        """What gives the bytes of some images, by ascending rows, when it is called, in any thread.

        Raises:
            ConfigError: images that cannot be read.
        """

    def decode(
        self, row: int, data: bytes | None, config: DataConfig, side: int | None, note: Note = None
    ) -> npt.NDArray[np.uint8]:
        """The bytes of an image as pixels (ch, H, W), cut to the square of this side in its middle.

        ``note`` is told how it was stored.

        Raises:
            UnreadableImage: they are not an image; the row is named.
        """

    def name(self, row: int) -> str:
        """An image as an error names it."""


@dataclass(frozen=True)
class EncodedImages:
    """Images before decoding; indexing with an integer or boolean array picks some of them.

    Attributes:
        source: of the images.
        rows: of them in it.
        config: how they are decoded.
        content: the hash of everything in the source (:mod:`orchestrator.training.data.content`).
    """

    source: Rows
    rows: npt.NDArray[np.int64]
    config: DataConfig
    content: str

    @classmethod
    def of(cls, source: Rows, config: DataConfig, content: str) -> "EncodedImages":
        """All images of a source."""
        return cls(source, np.arange(len(source)), config, content)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: npt.NDArray[Any]) -> "EncodedImages":
        return replace(self, rows=self.rows[index])

    def side(self, *, is_cut: bool) -> int | None:
        """The side of the square that is cut out of each image; None if it is stretched, or kept as it is.

        Args:
            is_cut: whether it is cut to ``data.image_size``; training cuts parts of its own.
        """
        if self.config.fit == STRETCH:
            return None
        return self.config.image_size if is_cut and self.config.image_size is not None else self.config.resize
