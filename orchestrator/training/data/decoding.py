"""Decoding many images: in threads, in order, with few of them in memory at a time."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import ImageFile

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.encoded import Rows

Image = npt.NDArray[np.uint8]
TOGETHER = 8  # images that a thread decodes one after the other
AHEAD = 16  # so many of these wait to be taken


@dataclass(frozen=True, eq=False)
class Decoding:
    """Images of one source that are decoded alike; iterating gives them in order, (ch, H, W) uint8.

    Attributes:
        source: of encoded images.
        config: how they are decoded.
        side: of the square that is cut out of each, or None.
        rows: of the images, ascending.
    """

    source: Rows
    config: DataConfig
    side: int | None
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of each image: channels, height and width.

        Raises:
            ConfigError: the first one cannot be read.
        """
        first = self.rows[:1]
        return self._decode(first.tolist(), list(self.source.encoded(first)))[0].shape

    def __iter__(self) -> Iterator[Image]:
        """Decode all images.

        Raises:
            ConfigError: one that cannot be read, images of different sizes, or files that have changed meanwhile.
        """
        decoded = 0
        for image in self._images():
            if image.shape != self.shape:
                first, row = self.rows[[0, decoded]].tolist()
                raise ConfigError(
                    f"{self.source.key}: {self.source.name(row)} is {_size(image.shape)}, {self.source.name(first)} is"
                    f" {_size(self.shape)}; images must be of one size, set data.resize={self.shape[1]}"
                )
            decoded += 1
            yield image
        if decoded < len(self):
            raise ConfigError(f"{self.source.key}: images were removed while they were read; run the command again")

    def _images(self) -> Iterator[Image]:
        rows, encoded = iter(self.rows.tolist()), self.source.encoded(self.rows)
        waiting: deque[Future[list[Image]]] = deque()
        with ThreadPoolExecutor() as pool:
            try:
                while reads := list(itertools.islice(encoded, TOGETHER)):
                    waiting.append(pool.submit(self._decode, list(itertools.islice(rows, len(reads))), reads))
                    if len(waiting) > AHEAD:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                for task in waiting:
                    task.cancel()

    def _decode(self, rows: Sequence[int], reads: Sequence[Callable[[], bytes | None]]) -> list[Image]:
        ImageFile.LOAD_TRUNCATED_IMAGES = False  # another package of this process may have allowed halves
        return [self.source.decode(row, read(), self.config, self.side) for row, read in zip(rows, reads, strict=True)]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[2]}"
