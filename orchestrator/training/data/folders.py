"""A folder of images as a data set: a folder for each class, in parts for training and test or in one."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orchestrator.config import SKIP, DataConfig
from orchestrator.errors import ConfigError, reason_of, shown
from orchestrator.training.data.content import encoded_hash
from orchestrator.training.data.encoded import EncodedImages
from orchestrator.training.data.image_files import ImageFiles
from orchestrator.training.data.labels import check_class_names
from orchestrator.training.data.splits import Loaded, Split, hold_out

TRAIN, TESTS = "train", ("test", "val")  # folders of parts; the first of TESTS that is there
NOT_IMAGES = ("Thumbs.db", "desktop.ini", "__MACOSX")  # that operating systems leave; as names that begin with a dot


def load_folder(config: DataConfig) -> Loaded:
    """The images of ``data.path``: ``train/<class>/*`` and ``test/<class>/*`` (or ``val``), or ``<class>/*`` alone, of
    which a fifth is held out. ``data.test_path`` names another folder of test images.

    Only the folders of ``data.classes`` are read if some are named.

    Raises:
        ConfigError: folders that are not there, or hold something else.
    """
    assert config.path is not None
    folder = _folder(config.path, config, "data.path")
    train_folder = folder / TRAIN if (folder / TRAIN).is_dir() else folder
    train_files, train_labels, names = _images(train_folder, config, "data.path")
    contents = {"content": encoded_hash(train_files.chunks(), train_labels)}
    train: Split = (EncodedImages.of(train_files, config, contents["content"]), train_labels)
    if (test_folder := _test_folder(folder, train_folder, config)) is None:
        remedy = "bring a folder of test images, data.test_path=..., or more images"
        train, test = hold_out(train, 0.2, config.seed, f"{train_files.key}: a fifth, for test,", remedy)
    else:
        key = "data.path" if config.test_path is None else "data.test_path"
        files, labels, test_names = _images(test_folder, config, key)
        contents["test_content"] = encoded_hash(files.chunks(), labels)
        test = (EncodedImages.of(files, config, contents["test_content"]), labels)
        names = sorted({*names, *test_names})
        check_class_names(names, key)
    splits = [(images, np.searchsorted(names, labels)) for images, labels in (train, test)]
    return splits[0], splits[1], names, contents


def _folder(path: str, config: DataConfig, key: str) -> Path:
    folder = Path(os.path.expanduser(config.root or "."), os.path.expanduser(path))
    if not folder.is_dir():
        raise ConfigError(
            f"{key}={shown(path)} is not a folder ({shown(str(folder))}); set MODA_DATA_DIR, data.root or {key}; a file"
            " of many images is read by data=table"
        )
    return folder


def _test_folder(folder: Path, train_folder: Path, config: DataConfig) -> Path | None:
    """Where the test images are; None if a part of the training images is held out."""
    if config.test_path is not None:
        return _folder(config.test_path, config, "data.test_path")
    if train_folder == folder:
        return None
    return next((folder / name for name in TESTS if (folder / name).is_dir()), None)


def _images(folder: Path, config: DataConfig, key: str) -> tuple[ImageFiles, npt.NDArray[np.str_], list[str]]:
    """The images of a folder in the order of their paths, the names of their classes, and those of all classes."""
    where = f"{key}={shown(str(folder))}"
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and _counts(entry.name))
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {reason_of(error)}; give it permissions") from error
    if not names:
        raise ConfigError(
            f"{where} has no folder for each class; sort its images as <class>/<image>, or use data=table"
        )
    check_class_names(names, where)
    if config.classes is not None and set(config.classes) <= set(names):
        names = sorted(config.classes)
    found = [(path, name) for name in names for path in _files(folder / name)]
    if not found:
        raise ConfigError(f"{where}: the folders of its classes are empty; put images into them")
    files, labels = zip(*found, strict=True)
    return ImageFiles(folder, files, key, config.unreadable == SKIP), np.asarray(labels), names


def _files(folder: Path) -> list[Path]:
    """All files below a folder, in the order of their paths."""
    found: list[Path] = []
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _counts(name)]
        found += [Path(path, name) for name in names if _counts(name)]
    return sorted(found)


def _counts(name: str) -> bool:
    return not name.startswith(".") and name not in NOT_IMAGES
