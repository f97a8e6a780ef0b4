"""Where decoded images are kept: in memory or in a mapped file, and what is decoded together."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from orchestrator.config import AUTO, FILE, DataConfig
from orchestrator.training.data.decoding import Decoding
from orchestrator.training.data.encoded import EncodedImages
from orchestrator.training.data.facts import ImageFacts
from orchestrator.training.data.mapped import Decoded, MappedImages
from orchestrator.training.data.reporting import reported

SHARE = 4  # auto: images are in memory if they take less than this part of it; Ray holds a second copy
LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of a container, in version 2 and 1 of control groups
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Kept:
    """The decoded images of a part of a data set.

    Attributes:
        pixels: of those that could be read.
        is_read: (I,) bool, of the images of the part, whether they could be read.
    """

    pixels: Tensor | MappedImages
    is_read: npt.NDArray[np.bool_]


def keep_images(parts: Sequence[tuple[EncodedImages, bool]], config: DataConfig) -> tuple[list[Kept], ImageFacts]:
    """Decode the images of some parts of a data set, none of which is empty, and keep them where ``data.kept_in`` says.

    Images of one source that are cut alike are decoded together, so that their source is read once.

    Args:
        parts: images, and whether they are cut to ``data.image_size``.
        config: of the data set.

    Returns:
        The images of each part, and what was found of all of them.

    Raises:
        ConfigError: images that cannot be read, or of different sizes.
        StorageFault: a file that cannot be written.
    """
    alike: dict[tuple[int, int | None], list[int]] = {}
    for number, (images, is_cut) in enumerate(parts):
        alike.setdefault((id(images.source), images.side(is_cut=is_cut)), []).append(number)
    groups = []
    for (_, side), numbers in alike.items():
        first = parts[numbers[0]][0]
        rows = np.unique(np.concatenate([parts[number][0].rows for number in numbers]))
        groups.append((Decoding(first.source, first.config, side, rows), numbers))
    size = sum(len(decoding) * int(np.prod(decoding.shape)) for decoding, _ in groups)
    is_mapped = config.kept_in == FILE or (config.kept_in == AUTO and size > memory_here() // SHARE)
    kept: dict[int, Kept] = {}
    facts = ImageFacts()
    for decoding, numbers in groups:
        images_of = [parts[number][0] for number in numbers]
        kept_here, facts_here = (_mapped if is_mapped else _in_memory)(decoding, images_of)
        kept |= zip(numbers, kept_here, strict=True)
        facts.add(facts_here)
    return [kept[number] for number in range(len(parts))], facts


def memory_here() -> int:
    """Bytes of memory that this machine has, or this container may use."""
    limits = [psutil.virtual_memory().total]
    for name in LIMITS:
        file = CGROUP / name
        text = file.read_text().strip() if file.is_file() else ""
        limits += [int(text)] if text.isdigit() else []
    return int(min(limits))


def _in_memory(decoding: Decoding, parts: Sequence[EncodedImages]) -> tuple[list[Kept], ImageFacts]:
    arrays = [np.empty((len(part), *decoding.shape), np.uint8) for part in parts]
    part_of, place_of = (np.empty(len(decoding), np.int64) for _ in range(2))
    places = [np.searchsorted(decoding.rows, part.rows) for part in parts]
    for number, found in enumerate(places):
        part_of[found], place_of[found] = number, np.arange(len(found))
    images = reported(decoding, len(decoding), "decoding images")
    for image, number, place in zip(images, part_of.tolist(), place_of.tolist(), strict=True):
        arrays[number][place] = image
    kept = []
    for found in places:  # no array is held longer than it is needed
        array, is_read = arrays.pop(0), _is_read(found, decoding.facts)
        kept.append(Kept(torch.from_numpy(array if is_read.all() else array[is_read]), is_read))
    return kept, decoding.facts


def _mapped(decoding: Decoding, parts: Sequence[EncodedImages]) -> tuple[list[Kept], ImageFacts]:
    decoded = Decoded(decoding.config, parts[0].content, decoding.side, decoding.rows, decoding.shape)
    decoded.open(functools.partial(_itself, decoding), is_checked=True)
    facts, kept = decoded.facts, []
    for part in parts:
        found = np.searchsorted(decoding.rows, part.rows)
        is_read = _is_read(found, facts)
        kept.append(Kept(MappedImages(found[is_read], decoding.shape, decoded=decoded), is_read))
    return kept, facts


def _is_read(places: npt.NDArray[np.int64], facts: ImageFacts) -> npt.NDArray[np.bool_]:
    return ~np.isin(places, list(facts.skipped))


def _itself(decoding: Decoding) -> Decoding:
    return decoding
