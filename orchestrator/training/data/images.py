"""Encoded images as pixels: what a viewer shows, or refused by row."""

import io

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile

from orchestrator.config import LARGEST_SIDE, STRETCH, DataConfig
from orchestrator.errors import ConfigError, reason_of

# No EPS, whose decoder runs Ghostscript.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LARGEST_AREA = 89_000_000  # pixels of an image that is made smaller; above that Pillow expects an attack
GREY_STEPS = {"L;2": 85, "L;4": 17}  # of 8 bits, by how PNG stores fewer


def decode_image(
    data: bytes | None,
    where: str,
    config: DataConfig,
    *,
    side: int | None = None,
    formats: tuple[str, ...] = FORMATS,
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
        pixels = _pixels(data or b"", config, side, formats)
    except Exception as error:  # on bytes that are broken Pillow raises almost anything
        raise ConfigError(f"{where} is not a readable image: {_reason(error, data or b'')}") from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _pixels(data: bytes, config: DataConfig, side: int | None, formats: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=formats) as opened:
        _check_readable(opened, is_resized=config.resize is not None)
        _scale_transparent_value(opened)
        image = _opaque(_upright(opened), config.background)
        image = image.convert("L" if config.channels == 1 else "RGB")
        if config.resize is not None:
            size = (config.resize, config.resize) if config.fit == STRETCH else _covering(image.size, config.resize)
            if size[0] * size[1] > LARGEST_AREA:
                raise ValueError(f"it is {image.size}, too long for data.fit={config.fit}; leave it out, or cut it")
            if image.size != size:
                image = image.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(image if side is None else _middle(image, side), dtype=np.uint8)


def _covering(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Width and height with the same proportions and a shorter side of that length, as torchvision rounds them."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _middle(image: Image.Image, side: int) -> Image.Image:
    left, top = (round((length - side) / 2) for length in image.size)
    return image.crop((left, top, left + side, top + side))


def _check_readable(image: Image.Image, *, is_resized: bool) -> None:
    if max(image.size) > LARGEST_SIDE and not is_resized:
        raise ValueError(f"it is {image.size}; at most {LARGEST_SIDE} pixels a side are read without data.resize")
    if image.width * image.height > LARGEST_AREA:
        raise ValueError(
            f"it is {image.size}; at most {LARGEST_AREA // 10**6} million pixels are read; make it smaller"
        )
    # The other pictures of a camera's JPEG (MPO) are previews and gain maps, which no viewer shows.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ValueError(f"it has several frames or pages ({image.format}); keep the one to train on")
    filled = not isinstance(image, GifImageFile) or image.tile[0].extents == (0, 0, *image.size)
    if not filled and "transparency" not in image.info:
        raise ValueError("it is a GIF whose border has no colour that viewers agree on; save it anew")
    if image.mode.startswith("I") or image.mode == "F":
        raise ValueError(f"it has more than 8 bits a pixel ({image.mode}); scale it to 8 bits")


def _scale_transparent_value(image: Image.Image) -> None:
    """Pillow brings grey values of few bits to 8, but not the one that is transparent, and misses it among 16 bits."""
    if isinstance(image, PngImageFile) and "transparency" in image.info:
        stored = str(image.tile[0].args)
        if stored == "RGB;16B":
            raise ValueError("it has 16 bits and a transparent colour; save it with 8 bits")
        if stored in GREY_STEPS:
            image.info["transparency"] *= GREY_STEPS[stored]


def _upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation says; Pillow has turned a TIFF already when it is loaded."""
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF that cannot be read turns nothing in a viewer either
        return image
    turn = ORIENTATIONS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _opaque(image: Image.Image, background: str) -> Image.Image:
    if not image.has_transparency_data:
        return image
    canvas = Image.new("RGB", image.size, background)
    layer = image.convert("RGBA")
    canvas.paste(layer, mask=layer)
    return canvas


def _reason(error: Exception, data: bytes) -> str:
    if not data:
        return "there are no bytes; drop the row"
    if isinstance(error, UnidentifiedImageError):
        return f"it begins with {data[:12]!r}; read are {', '.join(FORMATS)}"
    return reason_of(error)
