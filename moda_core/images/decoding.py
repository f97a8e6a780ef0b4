"""Encoded images as pixels: what a viewer shows, or refused.

Training and the modules that come of it decode images by this one file, so that a module sees what it was trained on.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile

Pixels = npt.NDArray[np.uint8]
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
STRETCH = "stretch"
LARGEST_SIDE = 4096  # pixels of an image whose size is kept
LARGEST_AREA = 89_000_000  # pixels of an image that is made smaller; above that Pillow expects an attack
GREY_STEPS = {"L;2": 85, "L;4": 17}  # of 8 bits, by how PNG stores fewer


class ImageError(ValueError):
    """Bytes that are not an image, or an image on which viewers do not agree. The message is a part of one line."""


@dataclass(frozen=True)
class Stored:
    """How an image was stored, before it became pixels.

    Attributes:
        format: as Pillow names it; empty if it was never encoded.
        mode: likewise: ``"L"``, ``"RGB"``, ``"CMYK"``, ``"P"`` ...
        size: width and height in pixels.
        is_turned: whether its EXIF orientation turned or mirrored it.
        is_transparent: whether a background shows through it.
    """

    format: str
    mode: str
    size: tuple[int, int]
    is_turned: bool
    is_transparent: bool


class Recipe(Protocol):
    """How an image becomes pixels.

    Attributes:
        channels: 1 (grey) or 3 (colour).
        resize: the side of the square that an image becomes, or the length of its shorter side; width and height; None:
            the image keeps its size.
        fit: ``"stretch"`` to that size; anything else keeps the proportions.
        background: what is behind transparent pixels, a colour by name.
    """

    @property
    def channels(self) -> int: ...
    @property
    def resize(self) -> int | tuple[int, int] | None: ...
    @property
    def fit(self) -> str: ...
    @property
    def background(self) -> str: ...


def decode(
    data: bytes,
    recipe: Recipe,
    *,
    middle: tuple[int, int] | None = None,
    formats: Sequence[str] = FORMATS,
    note: Callable[[Stored], None] | None = None,
) -> Pixels:
    """One encoded image as uint8 pixels (ch, H, W): turned upright, opaque, with the channels and size of a recipe.

    Args:
        data: the encoded image.
        recipe: what is made of it.
        middle: height and width of what is cut out of its middle; not where it is stretched.
        formats: that it may have, by Pillow's names.
        note: is told how it was stored.

    Raises:
        ImageError: bytes that are not an image, or one that viewers do not agree on.
    """
    try:
        with Image.open(io.BytesIO(data), formats=tuple(formats)) as opened:
            _scale_transparent_value(opened)
            return image_pixels(opened, recipe, middle=middle, note=note)
    except ImageError:
        raise
    except Exception as error:  # on bytes that are broken Pillow raises almost anything
        raise ImageError(_reason(error, data)) from error


def image_pixels(
    image: Image.Image,
    recipe: Recipe,
    *,
    middle: tuple[int, int] | None = None,
    note: Callable[[Stored], None] | None = None,
) -> Pixels:
    """One of Pillow's images as uint8 pixels (ch, H, W), as :func:`decode` makes them.

    Raises:
        ImageError: an image on which viewers do not agree, or that is too large.
    """
    _check_readable(image, is_resized=recipe.resize is not None)
    kind, mode, stored_size = image.format or "", image.mode, image.size
    upright = _upright(image)
    if note is not None:
        is_transparent = upright.has_transparency_data
        note(Stored(kind, mode, stored_size, upright is not image, is_transparent))
    image = _opaque(upright, recipe.background).convert("L" if recipe.channels == 1 else "RGB")
    size = _size(image.size, recipe)
    if size[0] * size[1] > LARGEST_AREA:
        raise ImageError(f"it is {image.size}, too long for fit={recipe.fit}; leave it out, or cut it")
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image if middle is None else _middle(image, *middle), dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _size(size: tuple[int, int], recipe: Recipe) -> tuple[int, int]:
    """Width and height that an image of some width and height becomes."""
    if recipe.resize is None or isinstance(recipe.resize, tuple):
        return recipe.resize or size
    if recipe.fit == STRETCH:
        return recipe.resize, recipe.resize
    width, height = size
    if width <= height:  # as torchvision rounds it
        return recipe.resize, int(recipe.resize * height / width)
    return int(recipe.resize * width / height), recipe.resize


def _middle(image: Image.Image, height: int, width: int) -> Image.Image:
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _check_readable(image: Image.Image, *, is_resized: bool) -> None:
    if max(image.size) > LARGEST_SIDE and not is_resized:
        raise ImageError(f"it is {image.size}; at most {LARGEST_SIDE} pixels a side are read without resize")
    if image.width * image.height > LARGEST_AREA:
        raise ImageError(
            f"it is {image.size}; at most {LARGEST_AREA // 10**6} million pixels are read; make it smaller"
        )
    # The other pictures of a camera's JPEG (MPO) are previews and gain maps, which no viewer shows.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ImageError(f"it has several frames or pages ({image.format}); keep one of them")
    filled = not isinstance(image, GifImageFile) or not image.tile or image.tile[0].extents == (0, 0, *image.size)
    if not filled and "transparency" not in image.info:
        raise ImageError("it is a GIF whose border has no colour that viewers agree on; save it anew")
    if image.mode.startswith("I") or image.mode == "F":
        raise ImageError(f"it has more than 8 bits a pixel ({image.mode}); scale it to 8 bits")


def _scale_transparent_value(image: Image.Image) -> None:
    """Pillow brings grey values of few bits to 8, but not the one that is transparent, and misses it among 16 bits."""
    if isinstance(image, PngImageFile) and "transparency" in image.info:
        stored = str(image.tile[0].args)
        if stored == "RGB;16B":
            raise ImageError("it has 16 bits and a transparent colour; save it with 8 bits")
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
        return "there are no bytes"
    if isinstance(error, UnidentifiedImageError):
        return f"it begins with {data[:12]!r}; read are {', '.join(FORMATS)}"
    return repr(" ".join(str(error).split()))[1:-1][:150] or type(error).__name__
