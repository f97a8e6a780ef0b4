"""Image files classified by a pulled module set, as rows."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch

from moda_core import Modules, load_modules
from moda_core.sets import Preprocessing
from orchestrator.errors import ConfigError

SCHEMA = pa.schema([("image", pa.string()), ("class", pa.string()), ("probability", pa.float64())])
BATCH = 256  # images in memory at once


@dataclass(frozen=True)
class Classified:
    """What images show.

    Attributes:
        rows: ``image``, ``class`` (null for none of the module's) and ``probability`` of that class, for every image
            that could be read.
        unreadable: a line for every other one.
    """

    rows: pa.Table
    unreadable: tuple[str, ...]


def classify_files(
    folder: str, images: Sequence[str], *, classes: Sequence[str] | None = None, may_reject: bool = False
) -> Classified:
    """Classify image files by the module set in a folder.

    Args:
        folder: of the set.
        images: names of files, and of folders whose files are meant, also below them, but hidden ones.
        classes: names of the module's classes; None: all of the set's.
        may_reject: whether an image may be of none of them.

    Raises:
        ConfigError: a folder without files, or a set that cannot reject images.
        ModuleSetError: no module set in the folder, or one that is not what its manifest says.
    """
    module = load_modules(folder, classes)
    if may_reject and "rejection" not in module.manifest:
        raise ConfigError(
            f"--none-of-these: {folder} was published by a version that did not measure it; pull its point from a"
            " storage where it was not pulled before"
        )
    recipe = Preprocessing.of(module.manifest["preprocessing"])
    names, rows, unreadable = iter(_files(images)), [], []
    while batch := list(itertools.islice(names, BATCH)):
        read, pixels = [], []
        for name in batch:
            try:
                pixels.append(recipe.pixels(name))
                read.append(name)
            except ValueError as error:
                unreadable.append(str(error))
        if read:
            rows += _rows(module, read, torch.cat(pixels), may_reject=may_reject)
    return Classified(pa.Table.from_pylist(rows, SCHEMA), tuple(unreadable))


def _rows(module: Modules, names: Sequence[str], pixels: torch.Tensor, *, may_reject: bool) -> list[dict[str, object]]:
    largest = module.probabilities(pixels).max(1).values.tolist()
    classified = module.classify(pixels, may_reject=may_reject)
    return [
        {"image": name, "class": class_name, "probability": chance if class_name is not None else None}
        for name, class_name, chance in zip(names, classified, largest, strict=True)
    ]


def _files(images: Sequence[str]) -> Iterable[str]:
    for name in images:
        path = Path(name).expanduser()
        if not path.is_dir():
            yield str(path)
            continue
        inside = sorted(path.rglob("*"))
        files = [
            str(file)
            for file in inside
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
        if not files:
            raise ConfigError(f"{name} is a folder without files; name images, or folders with images")
        yield from files
