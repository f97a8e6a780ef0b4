"""Hashes of images and labels as they are stored: the same images and labels in the same order have the same hash.

Nothing is decoded, and neither file names nor the file format, the chunks or the width of offsets play a part.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

NOTHING = -1  # the length of a value that is null


def encoded_hash(images: Iterable[pa.Array], labels: npt.NDArray[Any], class_names: Sequence[str] = ()) -> str:
    """Of a table or of files: the bytes of encoded images, and their labels, as 64 hex digits.

    Args:
        images: binary values, in chunks of any length.
        labels: whole numbers or names, one per image.
        class_names: those that the table itself has for its numbers.
    """
    names = [_label_hash(np.asarray(class_names))] if class_names else []
    return _joined(_binary_hash(images), _label_hash(labels), *names)


def pixel_hash(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> str:
    """Of decoded images, (I, ch, H, W), and their labels, as 64 hex digits."""
    pixels = hashlib.sha256(str(images.shape).encode())
    pixels.update(np.ascontiguousarray(images).data)
    return _joined(pixels.digest(), _label_hash(labels))


def _label_hash(labels: npt.NDArray[Any]) -> bytes:
    if np.issubdtype(labels.dtype, np.integer):
        return hashlib.sha256(b"numbers" + labels.astype("<i8").tobytes()).digest()
    names = pa.array([str(name).encode() for name in labels], pa.large_binary())
    return hashlib.sha256(b"names" + _binary_hash([names])).digest()


def _binary_hash(chunks: Iterable[pa.Array]) -> bytes:
    """Of the lengths of all values and of all their bytes, each a stream of its own: no chunk shows in either."""
    lengths, values = hashlib.sha256(), hashlib.sha256()
    for chunk in chunks:
        chunk = chunk.cast(pa.large_binary())
        sizes = pc.fill_null(pc.binary_length(chunk), NOTHING)
        lengths.update(sizes.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        values.update(_stored(chunk.drop_null() if chunk.null_count else chunk))
    return hashlib.sha256(lengths.digest() + values.digest()).digest()


def _stored(values: pa.LargeBinaryArray) -> memoryview:
    """The bytes of all values, one after the other, where Arrow keeps them."""
    _, offsets, data = values.buffers()
    if not len(values) or data is None:
        return memoryview(b"")
    ends = np.frombuffer(offsets, dtype=np.int64)[values.offset : values.offset + len(values) + 1]
    return memoryview(data)[ends[0] : ends[-1]]


def _joined(*digests: bytes) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()
