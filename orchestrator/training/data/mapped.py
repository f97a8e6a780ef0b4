"""Images in a mapped file, which every node of a cluster makes once for itself.

The files are in ``moda-images`` in the cache folder (:func:`orchestrator.storage.cache_folder`), named after what they
hold: the same images, decoded in the same way, are the same file.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import features
from torch import Tensor

from orchestrator.config import STRETCH, DataConfig
from orchestrator.errors import ConfigError, StorageFault, reason_of
from orchestrator.storage import cache_folder
from orchestrator.training.data.decoding import Decoding
from orchestrator.training.data.facts import ImageFacts
from orchestrator.training.data.loaders import LOADERS
from orchestrator.training.data.pixel_file import FORMAT, Damaged, PixelFile, write_pixels
from orchestrator.training.data.reporting import reported
from orchestrator.training.data.splits import Array
from orchestrator.training.data.stored_images import StoredImages

LOG = logging.getLogger("moda")
FOLDER = "moda-images"
GRACE = 3600.0  # seconds without a write after which a file that is being written never becomes whole
CODECS = ("pil", "jpg", "jpg_2000", "libtiff", "webp", "avif", "zlib")
REMEDY = "set MODA_CACHE_DIR to a folder with more room, or data.kept_in=memory"


@dataclass(frozen=True, eq=False)
class Decoded:
    """Decoded images as a file holds them.

    Attributes:
        config: names the encoded images, and says how they are decoded.
        content: the hash of everything in their source.
        side: of the square that is cut out of each, or None.
        rows: of them in the source, ascending.
        shape: channels, height and width of each.
    """

    config: DataConfig
    content: str
    side: int | None
    rows: Array
    shape: tuple[int, ...]

    @cached_property
    def name(self) -> str:
        """64 hex digits of everything that the pixels follow from, the versions of the decoders included."""
        config = self.config
        decoders = {name: features.version(name) for name in CODECS if features.check(name)}
        about = {
            "format": FORMAT,
            "content": self.content,
            "rows": hashlib.sha256(self.rows.astype("<i8").tobytes()).hexdigest(),
            "decoded": [
                config.channels,
                config.resize,
                config.fit == STRETCH,
                self.side,
                config.background,
                config.unreadable,
            ],
            "decoders": decoders,
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    @property
    def path(self) -> Path:
        """Of the file on this node."""
        return cache_folder() / FOLDER / f"{self.name}.arrow"

    @cached_property
    def file(self) -> PixelFile:
        """The file, which is made if this node has none.

        Raises:
            ConfigError: this node has not the same images.
            StorageFault: the file cannot be written.
        """
        return self.open(self._decoding_here)

    def open(self, decoding: Callable[[], Decoding], *, is_checked: bool = False) -> PixelFile:
        """The file, checked for size and kind, or made of ``decoding()`` if there is none that is whole.

        Args:
            decoding: gives the images of ``rows``.
            is_checked: whether the images in a file that is there are compared with their hashes.

        Raises:
            ConfigError: images that cannot be decoded.
            StorageFault: the file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            found = self._found(is_checked=is_checked)
            if found is None:
                with _locked(self.path):
                    found = self._found(is_checked=False)  # another process may have made it meanwhile
                    if found is None:
                        self._make(decoding())
                        found = self._opened()
        except OSError as error:
            if isinstance(error, StorageFault):
                raise
            raise StorageFault(
                f"data.kept_in={self.config.kept_in}: {self.path.parent} cannot keep {_size(self.bytes)} of decoded"
                f" images: {reason_of(error)}; {REMEDY}"
            ) from error
        return found

    @property
    def bytes(self) -> int:
        """Of all images."""
        return len(self.rows) * int(np.prod(self.shape))

    def _found(self, *, is_checked: bool) -> PixelFile | None:
        try:
            found = self._opened()
            if is_checked:
                found.check()
        except FileNotFoundError:
            return None
        except Damaged as error:
            LOG.warning("%s is damaged, so its images are decoded again: %s", self.path, error)
            self.path.unlink(missing_ok=True)
            return None
        return found

    @property
    def facts(self) -> ImageFacts:
        """Of the images, as they were found when they were decoded."""
        return ImageFacts.load(self.file.about)

    def _opened(self) -> PixelFile:
        opened = PixelFile(self.path, self.name, len(self.rows), self.shape)
        try:
            ImageFacts.load(opened.about)
        except ValueError as error:
            raise Damaged(str(error)) from error
        return opened

    def _make(self, decoding: Decoding) -> None:
        folder = self.path.parent
        _remove_remains(folder)
        free = shutil.disk_usage(folder).free
        if free < self.bytes:
            raise StorageFault(
                f"data.kept_in={self.config.kept_in}: {folder} has {_size(free)} free, and the decoded images take"
                f" {_size(self.bytes)}; {REMEDY}"
            )
        what = f"decoding {_size(self.bytes)} of images into {folder}"
        images, count = reported(decoding, len(self.rows), what), len(self.rows)
        write_pixels(self.path, self.name, images, count, self.shape, decoding.facts.dump)

    def _decoding_here(self) -> Decoding:
        """Where the file is made again, as on another node of a cluster."""
        train, test, _, _ = LOADERS[self.config.name](self.config)
        for images, _ in (train, test):
            if images.content == self.content:
                return Decoding(images.source, self.config, self.side, self.rows)
        raise ConfigError(
            f"data.path={self.config.path}: {platform.node()} has other images there than the node where this was"
            " started; give all nodes the same, or set data.kept_in=memory"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "file"}  # each process maps its own


@dataclass(frozen=True, eq=False)
class MappedImages(StoredImages):
    """Images in a mapped file.

    Attributes:
        decoded: what the file holds.
    """

    decoded: Decoded = field(kw_only=True)

    def gather(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Images by their rows: (B, ch, H, W) uint8 on the CPU."""
        return self.decoded.file.gather(rows, is_pinned=self.device.type == "cuda")


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """One process of a node at a time. Where a file system has no locks several may write, each its own file."""
    with file.with_suffix(".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            LOG.warning("another process decodes these images; waiting for %s", file)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            LOG.debug("%s cannot be locked", file)
        yield


def _remove_remains(folder: Path) -> None:
    """Remove what killed processes have left."""
    for part in folder.glob(".moda-*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > GRACE:
                os.unlink(part)


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"
