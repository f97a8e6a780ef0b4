"""Encoded images as pixels: what a viewer shows, or refused by row."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from moda_core.images import FORMATS, ImageError, decode
from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError


def decode_image(
    data: bytes | None,
    where: str,
    config: DataConfig,
    *,
    side: int | None = None,
    formats: Sequence[str] = FORMATS,
) -> npt.NDArray[np.uint8]:
    """One image as uint8 pixels (ch, H, W): turned upright, opaque, with the configured channels and size.

    Args:
        data: the encoded image.
        where: what it is, for the error.
        config: ``channels``, ``resize``, ``fit`` and ``background``.
        side: of the square that is cut out of its middle; not with ``fit=stretch``.
        formats: that it may have, by Pillow's names.

    Raises:
        ConfigError: bytes that are not an image, or one that viewers do not agree on.
    """
    try:
        return decode(data or b"", config, middle=None if side is None else (side, side), formats=formats)
    except ImageError as error:
        raise ConfigError(f"{where} is not a readable image: {error}") from error
