"""Decoded images in a file: Arrow IPC, rows of a fixed size, mapped into memory when they are read.

A file is written under a hidden name and renamed when it is whole, so one under its own name never lacks anything.
"""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc as ipc
import torch
from torch import Tensor

FORMAT = 2
COLUMN, DESCRIPTION, HASH, ABOUT = "image", b"moda", b"sha256", b"about"
BATCH_BYTES = 2**24  # of images that are written, and checked, together
OVERHEAD = 4096  # bytes that Arrow may add to a batch, and to the file
ABOUT_EACH = 16  # bytes of what is said about the images, for each


class Damaged(Exception):
    """A file is not what was written; the text says in what."""


class PixelFile:
    """The images of a file, (ch, H, W) uint8 each, by row.

    Args:
        path: of the file.
        name: what it holds (:attr:`orchestrator.training.data.mapped.Decoded.name`).
        images: how many.
        shape: channels, height and width of each.

    Raises:
        Damaged: the file holds something else, or has another size.
        OSError: there is none, or it cannot be read.
    """

    def __init__(self, path: Path, name: str, images: int, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self._together = _images_together(self.shape)
        batches = -(-images // self._together)
        pixels, size = images * int(np.prod(self.shape)), path.stat().st_size
        if not pixels <= size <= pixels + (batches + 2) * OVERHEAD + ABOUT_EACH * images:
            raise Damaged(f"it has {size} bytes, and its images alone have {pixels}")
        try:
            self._reader = ipc.open_file(pa.memory_map(str(path)))
            if not self._reader.schema.equals(_schema(name, images, self.shape), check_metadata=True):
                raise Damaged("it holds other images")
            if self._reader.num_record_batches != batches:
                raise Damaged(f"it has {self._reader.num_record_batches} batches of images, not {batches}")
            self._batches = [self._pixels(number, images) for number in range(batches)]
        except pa.ArrowException as error:
            raise Damaged(f"it is not an Arrow file: {error}") from error

    def gather(self, rows: npt.NDArray[np.int64], *, is_pinned: bool) -> Tensor:
        """Copy some images: (B, ch, H, W) uint8, in memory from which a GPU can read if ``is_pinned``."""
        gathered = torch.empty((len(rows), *self.shape), dtype=torch.uint8, pin_memory=is_pinned)
        target = gathered.numpy()
        batches, places = (part.tolist() for part in np.divmod(rows, self._together))
        for image, (batch, place) in enumerate(zip(batches, places, strict=True)):
            target[image] = self._batches[batch][place]  # other threads run meanwhile
        return gathered

    @property
    def about(self) -> bytes:
        """What was written about the images."""
        written = self._reader.get_batch_with_custom_metadata(len(self._batches) - 1)[1] or {}
        return bytes(written.get(ABOUT, b""))

    def check(self) -> None:
        """Compare all images with the hashes that were written with them.

        Raises:
            Damaged: they differ.
        """
        with ThreadPoolExecutor() as pool:
            for is_whole in pool.map(self._is_whole, range(len(self._batches))):
                if not is_whole:
                    raise Damaged("its images have been changed")

    def _pixels(self, number: int, images: int) -> npt.NDArray[np.uint8]:
        rows = min(self._together, images - number * self._together)
        column = self._reader.get_batch(number).column(0)
        data = column.buffers()[1]
        if len(column) != rows or column.null_count or column.offset or data.size < rows * int(np.prod(self.shape)):
            raise Damaged(f"batch {number} of its images is not whole")
        return np.frombuffer(data, np.uint8, rows * int(np.prod(self.shape))).reshape(rows, *self.shape)

    def _is_whole(self, number: int) -> bool:
        written = self._reader.get_batch_with_custom_metadata(number)[1]
        if written is None:
            return False
        return bool(
            written.get(HASH, b"").decode("ascii", "replace") == _hash(self._batches[number], written.get(ABOUT, b""))
        )


def write_pixels(
    path: Path,
    name: str,
    images: Iterable[npt.NDArray[np.uint8]],
    count: int,
    shape: Sequence[int],
    about: Callable[[], bytes] = bytes,
) -> None:
    """Write a file of ``count`` images, which are taken one after the other; ``BATCH_BYTES`` of them are in memory.

    Arguments are those of :class:`PixelFile`; ``about`` gives what is said about the images when all are taken.
    Of several writers at once each writes a whole file, and one stays.

    Raises:
        OSError: it cannot be written; nothing is left then.
    """
    part = path.with_name(f".moda-{path.stem[:16]}-{uuid.uuid4().hex}.part")
    together = np.empty((_images_together(shape), *shape), np.uint8)
    schema, filled = _schema(name, count, shape), 0
    try:
        with part.open("xb") as stream:
            with ipc.new_file(stream, schema) as writer:
                for number, image in enumerate(images, start=1):
                    together[filled] = image
                    filled += 1
                    if filled == len(together) or number == count:
                        _write_batch(writer, schema, together[:filled], about() if number == count else b"")
                        filled = 0
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _write_batch(
    writer: ipc.RecordBatchFileWriter, schema: pa.Schema, pixels: npt.NDArray[np.uint8], about: bytes
) -> None:
    column = pa.FixedSizeBinaryArray.from_buffers(schema.field(0).type, len(pixels), [None, pa.py_buffer(pixels)])
    writer.write_batch(
        pa.record_batch([column], schema=schema), custom_metadata={HASH: _hash(pixels, about), ABOUT: about}
    )


def _schema(name: str, images: int, shape: Sequence[int]) -> pa.Schema:
    about = {"format": FORMAT, "name": name, "images": images, "shape": list(shape)}
    row = pa.binary(int(np.prod(shape)))
    return pa.schema([pa.field(COLUMN, row, nullable=False)], metadata={DESCRIPTION: json.dumps(about)})


def _images_together(shape: Sequence[int]) -> int:
    return max(1, BATCH_BYTES // int(np.prod(shape)))


def _hash(pixels: npt.NDArray[np.uint8], about: bytes) -> str:
    found = hashlib.sha256(pixels.data)
    found.update(about)
    return found.hexdigest()
