"""What was found while images were decoded: how they were stored, and which of them could not be read."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

from moda_core.images import Stored

GREY_MODES = ("1", "L", "LA", "La")  # of Pillow
PALETTES = ("P", "PA")
COUNTS, SIZES = ("formats", "changes"), ("smallest", "largest")
MOST_REASONS = 10


@dataclass
class ImageFacts:
    """Facts of many images.

    Attributes:
        formats: how many were stored in each format.
        changes: how many became what the network sees by which change, colour and size apart from each other.
        smallest: the least width and the least height, in pixels; None before there is an image.
        largest: likewise.
        skipped: why an image could not be read, by its place among those that were asked for; of the first few.
    """

    formats: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    skipped: dict[int, str] = field(default_factory=dict)

    def note(self, stored: Stored, *, channels: int, background: str) -> None:
        """Take account of an image.

        Args:
            stored: how it was stored.
            channels: that it has now.
            background: that is behind what was transparent.
        """
        self.formats[stored.format] += 1
        if stored.is_turned:
            self.changes["turned upright by EXIF"] += 1
        if stored.is_transparent:
            self.changes[f"transparent on {background}"] += 1
        if change := _colour_change(stored.mode, channels):
            self.changes[change] += 1
        self._note_size(stored.size)

    def skip(self, place: int, reason: str) -> None:
        """Take account of an image that could not be read."""
        self.skipped[place] = reason if len(self.skipped) < MOST_REASONS else ""

    def _note_size(self, size: tuple[int, int]) -> None:
        width, height = size
        least, most = self.smallest or size, self.largest or size
        self.smallest = min(width, least[0]), min(height, least[1])
        self.largest = max(width, most[0]), max(height, most[1])

    def add(self, other: "ImageFacts") -> None:
        """Take account of other images. Those that were skipped are counted on, whatever their places were."""
        self.formats.update(other.formats)
        self.changes.update(other.changes)
        for size in filter(None, (other.smallest, other.largest)):
            self._note_size(size)
        for reason in other.skipped.values():
            self.skip(len(self.skipped), reason)

    def dump(self) -> bytes:
        """As JSON."""
        plain = {name: getattr(self, name) for name in (*COUNTS, *SIZES, "skipped")}
        return json.dumps(plain, sort_keys=True).encode()

    @classmethod
    def load(cls, data: bytes) -> Self:
        """What :meth:`dump` has written.

        Raises:
            ValueError: it is something else.
        """
        try:
            plain: dict[str, Any] = json.loads(data)
            smallest, largest = (None if plain[name] is None else _size(plain[name]) for name in SIZES)
            skipped = {int(place): str(reason) for place, reason in plain["skipped"].items()}
            formats, changes = (
                Counter({str(name): int(number) for name, number in plain[key].items()}) for key in COUNTS
            )
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not facts of images: {error}") from error
        return cls(formats, changes, smallest, largest, skipped)


def _size(value: Any) -> tuple[int, int]:
    width, height = value
    return int(width), int(height)


def _colour_change(mode: str, channels: int) -> str | None:
    if mode in PALETTES:
        return "from a palette"
    if mode in GREY_MODES:
        return None if channels == 1 else "grey to colour"
    if channels == 1:
        return "colour to grey"
    return None if mode.startswith("RGB") else f"{mode} to colour"
