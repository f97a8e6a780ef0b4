"""Encoded images as pixels: what a viewer shows, or refused by row."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from moda_core.images import FORMATS, ImageError, Stored, decode
from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError

UNREADABLE_REMEDY = "; mend it, or leave such images out with data.unreadable=skip"


class UnreadableImage(ConfigError):
    """An image that is left out if ``data.unreadable`` is ``skip``. The message names it."""

    @property
    def reason(self) -> str:
        """The message without what can be done about it."""
        return str(self).partition(UNREADABLE_REMEDY)[0]


def decode_image(
    data: bytes | None,
    where: str,
    config: DataConfig,
    *,
    side: int | None = None,
    formats: Sequence[str] = FORMATS,
    note: Callable[[Stored], None] | None = None,
) -> npt.NDArray[np.uint8]:
    """One image as uint8 pixels (ch, H, W): turned upright, opaque, with the configured channels and size.

    Args:
        data: the encoded image.
        where: what it is, for the error.
        config: ``channels``, ``resize``, ``fit`` and ``background``.
        side: of the square that is cut out of its middle; not with ``fit=stretch``.
        formats: that it may have, by Pillow's names.
        note: is told how it was stored.

    Raises:
        UnreadableImage: bytes that are not an image, or one that viewers do not agree on.
    """
    middle = None if side is None else (side, side)
    try:
        return decode(data or b"", config, middle=middle, formats=formats, note=note)
    except ImageError as error:
        raise UnreadableImage(f"{where} is not a readable image: {error}{UNREADABLE_REMEDY}") from error
