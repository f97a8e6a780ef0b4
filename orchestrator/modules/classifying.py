"""Image files classified by a pulled module set, as rows."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch

from moda_core import load_modules, load_replaced
from moda_core.sets import BATCH, Classifier, is_replaced
from orchestrator.errors import ConfigError

SCHEMA = pa.schema([("image", pa.string()), ("class", pa.string()), ("probability", pa.float64())])


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
        folder: of the set, or of a network with a class replaced.
        images: names of files, and of folders whose files are meant, also below them, but hidden ones.
        classes: names of the module's classes; None: all of the set's.
        may_reject: whether an image may be of none of them.

    Raises:
        ConfigError: a folder without files, or a set that cannot reject images.
        ModuleSetError: no module set in the folder, or one that is not what its manifest says.
    """
    module = _opened(folder, classes)
    if may_reject:
        try:
            module.least_logits()
        except ValueError as error:
            raise ConfigError(f"--none-of-these: {folder}: {error}") from error
    names, rows, unreadable = iter(_files(images)), [], []
    while batch := list(itertools.islice(names, BATCH)):
        read, pixels = [], []
        for name in batch:
            try:
                pixels.append(module.recipe.pixels(name))
                read.append(name)
            except ValueError as error:
                unreadable.append(str(error))
        if read:
            rows += _rows(module, read, torch.cat(pixels), may_reject=may_reject)
    return Classified(pa.Table.from_pylist(rows, SCHEMA), tuple(unreadable))


def _opened(folder: str, classes: Sequence[str] | None) -> Classifier:
    if not is_replaced(folder):
        return load_modules(folder, classes)
    if classes is not None:
        raise ConfigError(f"--classes: {folder} holds a network with a class replaced, which is whole; leave it out")
    return load_replaced(folder)


def _rows(
    module: Classifier, names: Sequence[str], pixels: torch.Tensor, *, may_reject: bool
) -> list[dict[str, object]]:
    return [
        {"image": name, "class": class_name, "probability": chance if class_name is not None else None}
        for name, (class_name, chance) in zip(names, module.judge(pixels, may_reject=may_reject), strict=True)
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
