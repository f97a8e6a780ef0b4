"""Decoding many images: in threads, in order, with few of them in memory at a time."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import ImageFile

from moda_core.images import Stored
from orchestrator.config import SKIP, DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.encoded import Rows
from orchestrator.training.data.facts import ImageFacts
from orchestrator.training.data.images import UnreadableImage

Image = npt.NDArray[np.uint8]
Result = tuple[Image, Stored] | UnreadableImage
TOGETHER = 8  # images that a thread decodes one after the other
AHEAD = 16  # so many of these wait to be taken


@dataclass(frozen=True, eq=False)
class Decoding:
    """Images of one source that are decoded alike; iterating gives them in order, (ch, H, W) uint8.

    In the place of an image that cannot be read and may be left out there is a black one.

    Attributes:
        source: of encoded images.
        config: how they are decoded.
        side: of the square that is cut out of each, or None.
        rows: of the images, ascending.
        facts: of the images that were given so far.
    """

    source: Rows
    config: DataConfig
    side: int | None
    rows: npt.NDArray[np.int64]
    facts: ImageFacts = field(default_factory=ImageFacts)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of each image: channels, height and width.

        Raises:
            ConfigError: the first one cannot be read, or, where such are left out, none.
        """
        reason = ""
        for row, read in zip(self.rows.tolist(), self.source.encoded(self.rows), strict=True):
            result = self._decoded(row, read())
            if isinstance(result, tuple):
                return result[0].shape
            reason = reason or result.reason
        raise ConfigError(f"{self.source.key}: none of {len(self)} images can be read; the first: {reason}")

    def __iter__(self) -> Iterator[Image]:
        """Decode all images.

        Raises:
            ConfigError: one that cannot be read, images of different sizes, or files that have changed meanwhile.
        """
        decoded = 0
        for result in self._images():
            if isinstance(result, UnreadableImage):
                self.facts.skip(decoded, result.reason)
                decoded += 1
                yield np.zeros(self.shape, np.uint8)
                continue
            image, stored = result
            if image.shape != self.shape:
                first, row = self.rows[[0, decoded]].tolist()
                raise ConfigError(
                    f"{self.source.key}: {self.source.name(row)} is {_size(image.shape)}, {self.source.name(first)} is"
                    f" {_size(self.shape)}; images must be of one size, set data.resize={self.shape[1]}"
                )
            decoded += 1
            self.facts.note(stored, channels=self.config.channels, background=self.config.background)
            yield image
        if decoded < len(self):
            raise ConfigError(f"{self.source.key}: images were removed while they were read; run the command again")

    def _images(self) -> Iterator[Result]:
        rows, encoded = iter(self.rows.tolist()), self.source.encoded(self.rows)
        waiting: deque[Future[list[Result]]] = deque()
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

    def _decode(self, rows: Sequence[int], reads: Sequence[Callable[[], bytes | None]]) -> list[Result]:
        return [self._decoded(row, read()) for row, read in zip(rows, reads, strict=True)]

    def _decoded(self, row: int, data: bytes | None) -> Result:
        ImageFile.LOAD_TRUNCATED_IMAGES = False  # another package of this process may have allowed halves
        noted: list[Stored] = []
        try:
            image = self.source.decode(row, data, self.config, self.side, noted.append)
        except UnreadableImage as error:
            if self.config.unreadable != SKIP:
                raise
            return error
        return image, noted[0]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[2]}"
