"""Lists of images: CSV files with a path and a label on each line.

A list may come from anywhere, so it can name only files below its own folder, whatever its paths and links are.
"""

import csv
import functools
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.config import SKIP, DataConfig
from orchestrator.errors import ConfigError, reason_of, shown
from orchestrator.training.data.columns import USUAL_LABELS, USUAL_PATHS, find_columns, usual_names
from orchestrator.training.data.image_files import ImageFiles
from orchestrator.training.data.labels import check_class_names

SEPARATORS = {".csv": (",", ";", "\t"), ".tsv": ("\t",)}
NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")


def is_path_list(file: Path) -> bool:
    """Whether a file is a list of paths, by its name."""
    return file.suffix.lower() in SEPARATORS


def read_path_lists(
    files: Sequence[Path], config: DataConfig, key: str
) -> tuple[ImageFiles, npt.NDArray[Any], DataConfig]:
    """Read lists of images, one after the other.

    Args:
        files: the lists.
        config: their columns.
        key: what names the files, for errors.

    Returns:
        The images; their labels, int64 if all are whole numbers, else names; and the configuration with the columns
        that were found.

    Raises:
        ConfigError: a list that cannot be read, has no such columns, or names files outside its folder.
    """
    images: list[Path] = []
    labels: list[str] = []
    for file in files:
        folder, lines = file.parent, _lines(file, key)
        header = next(lines, [])
        config = find_columns(file, header, config, usual_names(header, USUAL_PATHS), usual_names(header, USUAL_LABELS))
        at_path, at_label = header.index(config.image_column), header.index(config.label_column)
        for number, line in enumerate(lines, start=1):
            where = f"{key}: row {number} of {shown(file.name)}"
            if len(line) != len(header):
                raise ConfigError(
                    f"{where} has {len(line)} values, and the first line {len(header)}; quote values with commas"
                )
            if not line[at_label]:
                raise ConfigError(f"{where} has no label in {shown(config.label_column)}; fill it or drop the row")
            images.append(_inside(folder, line[at_path], where))
            labels.append(line[at_label])
    if not images:
        raise ConfigError(f"{key}={shown(config.test_path if key == 'data.test_path' else config.path)} has no rows")
    source = ImageFiles(_common(files), images, key, config.unreadable == SKIP)
    if all(map(NUMBER.fullmatch, labels)):
        return source, np.asarray([int(label) for label in labels], np.int64), config
    check_class_names(list(dict.fromkeys(labels)), f"data.label_column={shown(config.label_column)}")
    return source, np.asarray(labels), config


def _lines(file: Path, key: str) -> Iterator[list[str]]:
    """The values of each line that is not empty."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            first = text.readline()
            text.seek(0)
            separator = max(SEPARATORS[file.suffix.lower()], key=first.count)
            yield from (line for line in csv.reader(text, delimiter=separator, strict=True) if line)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{key}: {shown(str(file))} is not a list of images: {reason_of(error)}; save it as CSV in UTF-8, with the"
            " names of its columns on the first line"
        ) from error


def _inside(folder: Path, path: str, where: str) -> Path:
    """The file of a path below a folder.

    Raises:
        ConfigError: the path leaves the folder, also by a link, or leads to something that is no file.
    """
    file = Path(os.path.normpath(folder / path)) if path and "\0" not in path else folder
    if not _is_below(file.parent, folder) or file == folder:
        raise ConfigError(
            f"{where}: {shown(path)} is not a file below {shown(str(folder))}; give paths relative to the list, and put"
            " it into the folder that holds the images"
        )
    try:
        mode = file.lstat().st_mode
        if stat.S_ISLNK(mode):
            if not _is_below(file.resolve(), folder):
                raise ConfigError(f"{where}: {shown(path)} is a link that leaves {shown(str(folder))}; copy the image")
            mode = file.stat().st_mode
    except OSError:
        return file  # which is refused, or left out, where it is read
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{where}: {shown(path)} is not a file; name an image")
    return file


@functools.lru_cache(maxsize=4096)
def _is_below(place: Path, folder: Path) -> bool:
    return place.resolve().is_relative_to(folder.resolve())


def _common(files: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([file.parent.absolute() for file in files])) if len(files) > 1 else files[0].parent
