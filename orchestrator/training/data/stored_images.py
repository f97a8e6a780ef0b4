"""Images that are not in memory: some are read when they are asked for, and those of the next batches ahead."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

AHEAD = 3  # batches that are read before they are needed
THREADS = 2  # that read them


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Takes the place of a tensor (I, ch, H, W) uint8 of images.

    Attributes:
        rows: (I,) of the images, where they are stored.
        image_shape: channels, height and width of each.
        device: to which images that are read are brought.
    """

    rows: npt.NDArray[np.int64]
    image_shape: tuple[int, ...]
    device: torch.device = torch.device("cpu")  # noqa: RUF009, which is immutable

    @property
    def shape(self) -> tuple[int, ...]:
        """Images, channels, height and width."""
        return (len(self.rows), *self.image_shape)

    def gather(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Images by their rows: (B, ch, H, W) uint8 on the CPU. Several threads may call it."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        return self._on_device(self.gather(self._rows_of(index)))

    def part(self, index: Tensor) -> Self:
        """Some of the images, in the order of their index. Nothing is read."""
        return replace(self, rows=self._rows_of(index))

    def to(self, device: torch.device) -> Self:
        """The same images for another device."""
        return replace(self, device=device)

    def ahead(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """A tensor of images for each index, in order; the next ones are read meanwhile, in threads."""
        waiting: deque[Future[Tensor]] = deque()
        with ThreadPoolExecutor(THREADS) as pool:
            try:
                for index in indices:
                    waiting.append(pool.submit(self.gather, self._rows_of(index)))
                    if len(waiting) > AHEAD:
                        yield self._on_device(waiting.popleft().result())
                while waiting:
                    yield self._on_device(waiting.popleft().result())
            finally:
                for task in waiting:
                    task.cancel()

    def _rows_of(self, index: Tensor | slice) -> npt.NDArray[np.int64]:
        return self.rows[index if isinstance(index, slice) else index.cpu().numpy()]

    def _on_device(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.device, non_blocking=True)
