"""A user's own table as a data set: which files are its test images, and what its classes are called."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError, shown
from orchestrator.training.data.arrow_files import read_schema
from orchestrator.training.data.content import encoded_hash
from orchestrator.training.data.encoded import EncodedImages
from orchestrator.training.data.labels import classes_of, recorded_names
from orchestrator.training.data.path_lists import is_path_list
from orchestrator.training.data.splits import Loaded, hold_out
from orchestrator.training.data.table_files import find_table_files, saved_parts
from orchestrator.training.data.tables import read_table


def load_table(config: DataConfig) -> Loaded:
    """The training and test images of a table: of ``data.test_path``, else of the files that ``data.test_files``
    matches, else a fifth.

    Raises:
        ConfigError: no such files or columns, or labels that do not go together.
    """
    assert config.path is not None
    files, test_files = _files(config)
    images, labels, config = read_table(files, config, "data.path")
    recorded = _recorded_class_names(files, test_files, config)
    contents = {"content": encoded_hash(images.chunks(), labels, recorded or ())}
    train = EncodedImages.of(images, config, contents["content"]), labels
    if not test_files:
        remedy = "name a table of test images, data.test_path=..., or bring more images"
        train, test = hold_out(train, 0.2, config.seed, "data.test_path=null: a fifth of the table", remedy)
    else:
        key = "data.path" if config.test_path is None else "data.test_path"
        images, labels, config_of_test = read_table(test_files, config, key)
        contents["test_content"] = encoded_hash(images.chunks(), labels)
        test = EncodedImages.of(images, config_of_test, contents["test_content"]), labels
        if config.test_path is None and labels.dtype.kind == "i" and labels.min() < 0:
            raise ConfigError(
                f"data.test_files={shown(config.test_files)}: these files have labels below 0, so their classes are not"
                " known; name the parts, such as data.path='data/train-*' data.test_path='data/validation-*'"
            )
        if train[1].dtype.kind != test[1].dtype.kind:
            raise ConfigError(
                f"data.label_column={shown(config.label_column)} has numbers in one of data.path and data.test_path,"
                " names in the other; use one of both"
            )
    names, ids = classes_of(np.union1d(train[1], test[1]), config, recorded)
    splits = [(images, np.searchsorted(ids, part)) for images, part in (train, test)]
    return splits[0], splits[1], names, contents


def _files(config: DataConfig) -> tuple[list[Path], list[Path]]:
    """The files of the training and of the test images; none of the latter if a part of the former is held out."""
    assert config.path is not None
    if config.test_path is None and (parts := saved_parts(config.path, config.root, "data.path")) is not None:
        return parts
    files = find_table_files(config.path, config.root, "data.path")
    if config.test_path is not None:
        return files, find_table_files(config.test_path, config.root, "data.test_path")
    test = [file for file in files if config.test_files and fnmatch.fnmatchcase(file.name, config.test_files)]
    train = [file for file in files if file not in test]
    return (train, test) if train else (files, [])


def _recorded_class_names(
    files: Sequence[Path], test_files: Sequence[Path], config: DataConfig
) -> tuple[str, ...] | None:
    """The class names in the metadata of the tables of the training and test images; None without any.

    Raises:
        ConfigError: files that name their classes differently.
    """
    names: dict[tuple[str, ...], Path] = {}
    for key, part in (("data.path", files), ("data.test_path", test_files)):
        for file in part:
            if is_path_list(file):
                continue
            if found := recorded_names(read_schema(file, key), config.label_column):
                names.setdefault(found, file)
    if len(names) > 1:
        first, other = list(names.values())[:2]
        raise ConfigError(
            f"data.class_names=null: {shown(first.name)} and {shown(other.name)} name their classes differently in"
            " their metadata; set data.class_names"
        )
    return next(iter(names), None)
