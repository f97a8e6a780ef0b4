"""Encoded images built byte by byte, so that what they show is known without a decoder."""

import io
import struct
import zlib

from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png(width, height, depth, color, rows, *extra):
    """A PNG of rows of packed samples.

    Args:
        width: in pixels.
        height: in pixels.
        depth: bits a sample.
        color: 0 grey, 2 colour, 3 palette, 4 grey and alpha, 6 colour and alpha.
        rows: bytes of each row.
        extra: (kind, data) of chunks before the pixels.
    """
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"".join((SIGNATURE, header, *(chunk(*part) for part in extra), chunk(b"IDAT", pixels), chunk(b"IEND", b"")))


def exif(orientation):
    """The Exif block of a picture that was taken with the camera turned."""
    return b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"


def flat_jpeg(samples):
    """A JPEG of 8 x 8, each component one stored value, 0 or 255; four components are marked as Adobe's."""
    count = len(samples)
    # Values about 128 in units of 1/8: 255 is 1016 (10 bits), 0 is -1024 (11 bits, as 1023). Codes: 0 and 10; AC: 0.
    bits = "".join("0" + "1111111000" + "0" if value else "10" + "01111111111" + "0" for value in samples)
    size = len(bits) // 8 + 1
    data = int(bits.ljust(8 * size, "1"), 2).to_bytes(size, "big").replace(b"\xff", b"\xff\0")
    numbers = range(1, count + 1)
    components = bytes([count]) + b"".join(bytes([number, 0x11, 0]) for number in numbers)
    segments = [
        (0xEE, b"Adobe\0\x64\0\0\0\0\0"),
        (0xDB, b"\0" + b"\1" * 64),
        (0xC0, b"\x08\0\x08\0\x08" + components),
        (0xC4, b"\x00" + bytes([1, 1] + [0] * 14) + bytes([10, 11])),
        (0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0"),
        (0xDA, bytes([count]) + b"".join(bytes([number, 0]) for number in numbers) + b"\0\x3f\0"),
    ]
    body = b"".join(bytes([0xFF, kind]) + struct.pack(">H", len(part) + 2) + part for kind, part in segments)
    return b"\xff\xd8" + body + data + b"\xff\xd9"


def saved(image, kind, **options):
    """An image or an array, encoded by Pillow."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()
