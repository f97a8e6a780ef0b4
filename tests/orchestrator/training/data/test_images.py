"""Encoded images: what a viewer shows is what is trained, or the row is refused."""

import io
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFile

from orchestrator.config.data_section import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.decoding import Decoding
from orchestrator.training.data.images import decode_image
from orchestrator.training.data.tables import TableImages
from orchestrator.training.data.vision import torchvision_datasets
from tests.orchestrator.training.data.encoding import chunk, exif, flat_jpeg, png, saved

WHERE = "data.path: row 7"
STORED = np.random.default_rng(0).integers(0, 256, (2, 3, 3), dtype=np.uint8)
TURNS = {  # by EXIF orientation: what is shown of the stored rows and columns
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}
ALPHA = np.arange(256, dtype=np.uint8)
LEVELS, ALPHAS = np.meshgrid(ALPHA, ALPHA)  # every grey under every alpha
SOFT = np.stack([LEVELS, LEVELS[::-1], LEVELS[:, ::-1], ALPHAS], -1)


def config(**more):
    return DataConfig(name="table", path="x", **more)


def decoded(data, **more):
    """(H, W, 3), or (H, W) of grey."""
    pixels = decode_image(data, WHERE, config(**more))
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def refusal(data, **more):
    with pytest.raises(ConfigError, match=r"^data\.path: row 7 is not a readable image: ") as caught:
        decode_image(data, WHERE, config(**more))
    assert len(str(caught.value)) <= 500
    assert "\n" not in str(caught.value)
    return str(caught.value)


def over(pixels, background):
    """Colour or grey with alpha over a background, rounded."""
    alpha = pixels[..., -1:].astype(int)
    return ((2 * (pixels[..., :-1] * alpha + background * (255 - alpha)) + 255) // 510).astype(np.uint8)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["AVIF", "JPEG", "PNG", "TIFF", "WEBP"])
def test_a_picture_stands_upright(kind, orientation):
    block, options = {"exif": exif(orientation)}, {}
    if kind == "TIFF":
        block = {"tiffinfo": {0x0112: orientation}}
    elif kind == "WEBP":
        options = {"lossless": True}
    elif kind != "PNG":
        options = {"quality": 100, "subsampling": "4:4:4"}
    if kind == "JPEG":
        block = {"exif": b"Exif\0\0" + exif(orientation)}
    as_stored = decoded(saved(STORED, kind, **options))
    assert np.abs(as_stored.astype(int) - STORED).max() <= (8 if kind in ("AVIF", "JPEG") else 0)
    shown = decoded(saved(STORED, kind, **block, **options))
    assert np.array_equal(shown, TURNS[orientation](as_stored))


@pytest.mark.parametrize("block", [b"", b"junk", exif(9), exif(0), exif(6)[:-8], b"II*\0\xff\xff\xff\xff"])
def test_exif_that_says_nothing_turns_nothing(block):
    data = png(3, 2, 8, 2, [row.tobytes() for row in STORED], (b"eXIf", block))
    assert np.array_equal(decoded(data), STORED)


@pytest.mark.parametrize(("name", "value"), [("white", 255), ("black", 0)])
def test_alpha_is_composed_on_the_background(name, value):
    for pixels, kind in ((SOFT, "PNG"), (SOFT, "WEBP"), (SOFT[..., [0, 3]], "PNG")):
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        data = saved(pixels, kind, **options)
        assert np.array_equal(decoded(data, background=name), np.broadcast_to(over(pixels, value), (256, 256, 3)))
    assert np.array_equal(decoded(data, background=name, channels=1), over(SOFT[..., [0, 3]], value)[..., 0])


def test_what_is_transparent_without_alpha_is_composed_too():
    white, black, red = [255, 255, 255], [0, 0, 0], [255, 0, 0]
    palette = (b"PLTE", bytes([*red, *black, *red, *red]))
    cases = [
        (png(4, 1, 8, 3, [bytes([0, 1, 2, 3])], palette, (b"tRNS", b"\xff\xff\0")), [red, black, white, red]),
        (png(4, 1, 2, 3, [bytes([0b00011011])], palette, (b"tRNS", b"\xff\xff\0")), [red, black, white, red]),
        (png(2, 1, 8, 3, [bytes([0, 1])], palette, (b"tRNS", b"\x80")), [[255, 127, 127], black]),
        (png(2, 1, 8, 0, [bytes([0, 9])], (b"tRNS", b"\0\x00")), [white, [9] * 3]),
        (png(4, 1, 2, 0, [bytes([0b00011011])], (b"tRNS", b"\0\1")), [black, white, [170] * 3, white]),
        (png(2, 1, 4, 0, [b"\x0e"], (b"tRNS", b"\0\0")), [white, [238] * 3]),
        (png(2, 1, 1, 0, [b"\x80"], (b"tRNS", b"\0\0")), [white, white]),
        (png(2, 1, 8, 2, [bytes([*red, *black])], (b"tRNS", struct.pack(">3H", *black))), [red, white]),
    ]
    for data, wanted in cases:
        assert decoded(data).tolist() == [wanted]
    gif = Image.frombytes("P", (2, 1), b"\0\1")
    gif.putpalette([*red, *black])
    assert decoded(saved(gif, "GIF", transparency=1)).tolist() == [[red, white]]


def test_few_bits_and_palettes_are_what_they_stand_for():
    palette = (b"PLTE", bytes(range(12)))
    assert decoded(png(8, 1, 1, 0, [b"\xa0"]), channels=1).tolist() == [[255, 0, 255, 0, 0, 0, 0, 0]]
    assert decoded(png(4, 1, 2, 0, [b"\x1b"]), channels=1).tolist() == [[0, 85, 170, 255]]
    assert decoded(png(2, 1, 4, 0, [b"\x1f"]), channels=1).tolist() == [[17, 255]]
    assert decoded(png(4, 1, 2, 3, [b"\x1b"], palette)).ravel().tolist() == list(range(12))


def test_grey_of_colour_and_colour_of_grey():
    weights = np.array([0.299, 0.587, 0.114])
    grey = decoded(saved(STORED, "PNG"), channels=1)
    assert np.abs(grey - STORED @ weights).max() <= 0.51
    assert np.array_equal(decoded(saved(STORED[..., 0], "PNG")), np.repeat(STORED[..., :1], 3, axis=2))


def test_ink_of_a_jpeg_is_stored_inverted():
    for stored, shown in (
        ((255, 255, 255, 255), (255, 255, 255)),
        ((0, 255, 255, 255), (0, 255, 255)),
        ((255, 0, 255, 255), (255, 0, 255)),
        ((255, 255, 0, 255), (255, 255, 0)),
        ((255, 255, 255, 0), (0, 0, 0)),
    ):
        assert (decoded(flat_jpeg(stored)) == shown).all()


def test_ink_of_a_tiff():
    ink = np.random.default_rng(1).integers(0, 256, (4, 4, 4), dtype=np.uint8)
    wanted = np.maximum(0, 255 - ink[..., 3:].astype(int) - ink[..., :3] * (255 - ink[..., 3:].astype(int)) / 255)
    shown = decoded(saved(Image.fromarray(ink, "CMYK"), "TIFF"))
    assert np.abs(shown - wanted).max() <= 1


def test_the_upper_byte_of_16_bit_colour_is_shown():
    values = np.random.default_rng(2).integers(0, 65536, (2, 3, 4))
    for color, channels in ((2, [0, 1, 2]), (6, [0, 1, 2, 3]), (4, [0, 3])):
        rows = [row[:, channels].astype(">u2").tobytes() for row in values]
        upper = (values[..., channels] >> 8).astype(np.uint8)
        wanted = over(upper, 255) if 3 in channels else upper
        assert np.array_equal(decoded(png(3, 2, 16, color, rows)), np.broadcast_to(wanted, (2, 3, 3)))


def test_more_than_8_bits_are_refused():
    grey = png(2, 1, 16, 0, [struct.pack(">2H", 300, 65535)])
    for data in (
        grey,
        saved(np.full((2, 2), 70000, np.int32), "TIFF"),
        saved(np.full((2, 2), 0.5, np.float32), "TIFF"),
        saved(np.full((2, 2), 300, np.uint16), "TIFF"),
        b"P5 1 1 65535\n\xff\xff",
    ):
        assert "more than 8 bits" in refusal(data)
    seen_through = png(1, 1, 16, 2, [bytes(6)], (b"tRNS", bytes(6)))
    assert "save it with 8 bits" in refusal(seen_through)


def test_several_frames_or_pages_are_refused_and_one_is_read():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "green", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        assert "several frames or pages" in refusal(data)
        assert decoded(saved(frames[0], kind, save_all=True)).shape == (4, 4, 3)


def test_the_previews_of_a_cameras_jpeg_are_not_looked_at():
    pages = [Image.new("RGB", (8, 8), "white"), Image.new("RGB", (4, 4))]
    data = saved(pages[0], "MPO", save_all=True, append_images=pages[1:])
    assert (decoded(data) == 255).all()
    assert decoded(data).shape == (8, 8, 3)


def test_a_frame_smaller_than_its_screen():
    frame = bytes([0x2C, 1, 0, 0, 0, 1, 0, 1, 0, 0])  # one pixel at column 1
    screen = b"GIF89a" + struct.pack("<HHBBB", 3, 1, 0x80, 0, 0) + bytes([255, 0, 0, 0, 0, 255])
    blue = b"\x02\x02\x4c\x01\x00\x3b"  # clear, colour 1, end
    assert "whose border has no colour" in refusal(screen + frame + blue)
    transparent = b"\x21\xf9\x04\x01\0\0\0\0"  # colour 0 is
    assert decoded(screen + transparent + frame + blue).tolist() == [[[255] * 3, [0, 0, 255], [255] * 3]]


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"])
def test_half_an_image_is_refused(kind):
    noise = np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    data = saved(noise, kind)
    assert decoded(data).shape == (32, 32, 3)
    refusal(data[: len(data) // 2])


def test_another_package_that_allows_halves_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    half = saved(np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8), "PNG")[:1500]
    pq.write_table(pa.table({"image": [half]}), tmp_path / "half.parquet")
    images = TableImages((tmp_path / "half.parquet",), 1, "data.path", "image")
    with pytest.raises(ConfigError, match=r"^data\.image_column='image' of data\.path: row 0 is not a readable image"):
        list(Decoding(images, config(), None, np.array([0])))


def test_what_else_is_no_image():
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    for data in (svg, b"<!DOCTYPE html><html></html>", b"\0" * 100, b"%PDF-1.7", b"\n\x1b[31m" * 50, b"\xff\xd8\xff"):
        assert "begins with" in refusal(data)
    for data in (None, b""):
        assert "no bytes" in refusal(data)
    assert "begins with b'%!PS" in refusal(saved(STORED, "EPS"))  # decoding it runs a program
    for width, height in ((0, 0), (0, 3), (3, 0)):
        refusal(png(width, height, 8, 0, [b""] * height))
    refusal(chunk(b"IHDR", b""))


def test_one_pixel_and_large_sides():
    assert decoded(png(1, 1, 8, 0, [b"\x05"]), channels=1).tolist() == [[5]]
    assert decoded(png(1, 1, 8, 0, [b"\x05"]), resize=4).tolist() == [[[5] * 3] * 4] * 4
    long = png(4097, 1, 8, 0, [bytes(4097)])
    assert "at most 4096 pixels a side are read without resize" in refusal(long)
    assert not decoded(long, resize=4, channels=1).any()
    assert "at most 89 million pixels are read" in refusal(png(9000, 9900, 1, 0, [bytes(1125)] * 9900), resize=4)


def gradient(width, height):
    """Grey that grows to the right, and colour that grows downwards."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0] = np.linspace(0, 255, width)
    pixels[:, :, 1] = np.linspace(0, 255, height)[:, None]
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(50, 50), (75, 40), (41, 90), (33, 200), (16, 20)])
@pytest.mark.parametrize(("resize", "side"), [(32, 32), (32, 28), (33, 28)])
def test_the_middle_is_cut_as_torchvision_does(size, resize, side):
    torchvision_datasets()  # its operators do not load everywhere
    from torchvision.transforms import CenterCrop, Compose, Resize

    image = gradient(*size)
    wanted = Compose([Resize(resize), CenterCrop(side)])(image)
    cut = decode_image(saved(image, "PNG"), WHERE, config(resize=resize, fit="centre", image_size=side), side=side)
    assert np.array_equal(cut.transpose(1, 2, 0), np.asarray(wanted))
    stretched = decoded(saved(image, "PNG"), resize=resize)
    assert np.array_equal(stretched, np.asarray(image.resize((resize, resize), Image.Resampling.BILINEAR)))


def test_what_would_be_too_long_is_refused():
    thin = png(20_000, 2, 8, 0, [bytes(20_000)] * 2)
    assert "it is (20000, 2), too long for fit=centre" in refusal(thin, resize=256, fit="centre")


def test_what_follows_the_image_and_how_it_is_ordered_changes_nothing():
    plain = saved(Image.fromarray(STORED).resize((32, 32)), "JPEG", quality=90)
    assert np.array_equal(decoded(plain + b"junk" * 99), decoded(plain))
    ordered = saved(Image.open(io.BytesIO(plain)), "JPEG", quality="keep", progressive=True)
    assert np.abs(decoded(ordered).astype(int) - decoded(plain)).max() <= 4  # it was encoded once more


@pytest.mark.parametrize("kind", ["GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP", "AVIF", "BMP"])
def test_broken_bytes_are_refused_or_read_and_nothing_else(kind):
    draw = np.random.default_rng(4)
    whole = np.frombuffer(saved(np.tile(STORED, (4, 4, 1)), kind), np.uint8)
    messages = []
    for _ in range(150):
        broken = whole.copy()
        broken[draw.integers(0, min(len(whole), 200), 3)] = draw.integers(0, 256, 3)
        try:
            assert decode_image(broken.tobytes(), WHERE, config()).dtype == np.uint8
        except ConfigError as error:
            messages.append(str(error))
    assert messages
    assert max(map(len, messages)) <= 500
