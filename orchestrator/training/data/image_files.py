"""Images in files of their own, which a folder or a list of paths names."""

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from moda_core.images import FORMATS
from orchestrator.config import DataConfig
from orchestrator.errors import reason_of, shown
from orchestrator.training.data.encoded import Note
from orchestrator.training.data.images import UNREADABLE_REMEDY, UnreadableImage, decode_image

UNSAFE = ("EPS", "IPTC", "WMF")  # their decoders run other programs, or open whatever is inside
READ_TOGETHER = 256  # files


@dataclass(frozen=True)
class ImageFiles:
    """Image files, by row.

    Attributes:
        folder: in which they lie, and by whose paths they are called.
        files: all of them.
        key: that names the folder, for errors.
        may_lack: whether files that cannot be read count as images without bytes.
    """

    folder: Path
    files: Sequence[Path]
    key: str
    may_lack: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def encoded(self, rows: npt.NDArray[np.int64]) -> Iterator[Callable[[], bytes | None]]:
        """Some images: see :class:`orchestrator.training.data.encoded.Rows`."""
        return (functools.partial(self.read, row) for row in rows.tolist())

    def decode(
        self, row: int, data: bytes | None, config: DataConfig, side: int | None, note: Note = None
    ) -> npt.NDArray[np.uint8]:
        """An image: see :class:`orchestrator.training.data.encoded.Rows`."""
        where = f"{self.key}: {self.name(row)}"
        if data is None:
            raise UnreadableImage(f"{where} cannot be read{UNREADABLE_REMEDY}")
        return decode_image(data, where, config, side=side, formats=_formats(self.files[row]), note=note)

    def name(self, row: int) -> str:
        """Its path in the folder."""
        return shown(self.files[row].relative_to(self.folder).as_posix())

    def read(self, row: int) -> bytes | None:
        """The file's bytes; None if it cannot be read and may be lacking.

        Raises:
            UnreadableImage: it cannot be read.
        """
        try:
            return self.files[row].read_bytes()
        except OSError as error:
            if self.may_lack:
                return None
            text = f"{self.key}: {self.name(row)} cannot be read: {reason_of(error)}"
            raise UnreadableImage(text + UNREADABLE_REMEDY) from error

    def chunks(self) -> Iterator[pa.Array]:
        """The bytes of all files in order, some files at a time."""
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self.files), READ_TOGETHER):
                rows = range(start, min(start + READ_TOGETHER, len(self.files)))
                yield pa.array(list(pool.map(self.read, rows)), pa.large_binary())


def _formats(file: Path) -> tuple[str, ...]:
    """What a file may be: what its first bytes say, or the rare format that its name says."""
    rare = Image.registered_extensions().get(file.suffix.lower())
    return (*FORMATS, rare) if rare in Image.OPEN and rare not in (*FORMATS, *UNSAFE) else FORMATS
