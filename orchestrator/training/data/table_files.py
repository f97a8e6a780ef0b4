"""The files of a table: which ones ``data.path`` names."""

import glob
import os
import re
from pathlib import Path

from orchestrator.errors import ConfigError, shown

SUFFIXES = (".arrow", ".feather", ".ipc", ".parquet", ".pq")
SAVED, SAVED_TRAIN, SAVED_TESTS = "dataset_dict.json", "train", ("test", "validation")  # of datasets' save_to_disk
MAKE_ONE = 'docs/data.md ("A folder of images") shows how to make a table'


def find_table_files(path: str, root: str | None, key: str) -> list[Path]:
    """The files that a path names, in order.

    Args:
        path: a file, a folder or a pattern, relative to ``root`` or the working folder. What exists under that very
            name is not a pattern, whatever brackets are in it.
        root: ``data.root``.
        key: ``data.path`` or ``data.test_path``, for the error.

    Raises:
        ConfigError: nothing there, nothing that is a table, or a remote place.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path):
        raise ConfigError(f"{key}={shown(path)}: tables are read from local folders only; copy it here, or mount it")
    full = Path(os.path.expanduser(root or "."), os.path.expanduser(path))
    matches = [full] if os.path.exists(full) else _matches(full)
    if not matches:
        raise ConfigError(
            f"{key}={shown(path)} matches no file ({shown(str(full))}); set MODA_DATA_DIR, data.root or {key}"
        )
    return list(dict.fromkeys(file for match in matches for file in _files_of(match, key)))


def saved_parts(path: str, root: str | None, key: str) -> tuple[list[Path], list[Path]] | None:
    """The files of the training and of the test images in a data set of several splits that Hugging Face's ``datasets``
    saved; None of anything else, and of one without both. Its test images may be in ``validation``.

    Arguments are those of :func:`find_table_files`.
    """
    folder = Path(os.path.expanduser(root or "."), os.path.expanduser(path))
    test = next((folder / name for name in SAVED_TESTS if (folder / name).is_dir()), None)
    if not (folder / SAVED).is_file() or not (folder / SAVED_TRAIN).is_dir() or test is None:
        return None
    return _files_of(folder / SAVED_TRAIN, key), _files_of(test, key)


def _matches(pattern: Path) -> list[Path]:
    """What a pattern matches; where that is nothing, its brackets are taken for part of a name."""
    literal = str(pattern).replace("[", "[[]")
    return [Path(match) for match in sorted(glob.glob(str(pattern)) or glob.glob(literal))]


def _files_of(path: Path, key: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    if (path / SAVED).is_file():
        raise ConfigError(
            f"{key}={shown(str(path))} holds a data set with several splits; give the folder of one, such as"
            f" {shown(str(path / 'train'))}"
        )
    # Where datasets saved a table, "cache-*" are results of its later work on it.
    foreign = (".", "_", "cache-") if (path / "state.json").is_file() else (".", "_")
    files = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(foreign)]
        files += [Path(folder, name) for name in names if not name.startswith(foreign)]
    files = sorted(file for file in files if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ConfigError(
            f"{key}={shown(str(path))} is a folder without tables ({', '.join(SUFFIXES)}); images in a folder for each"
            f" class are read by data=folder, CSV files if they are named themselves, and {MAKE_ONE}"
        )
    return files
