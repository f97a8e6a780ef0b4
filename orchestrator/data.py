"""Data sets: uint8 images and class ids in memory, split into training, validation and test.

Validation is held out of the training images, stratified by class: coefficients, tau and "best" are chosen on it, and
test is only reported.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.sections import DataConfig
from orchestrator.tables import EncodedImages, read_table
from orchestrator.vision import torchvision_datasets

EVALUATION_BATCH = 512
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ImageSet:
    """Images of one size with their labels; indexing gives a normalised float32 batch.

    Attributes:
        images: (I, ch, H, W) uint8.
        labels: (I,) int64 class ids.
        mean: of each channel, of images scaled to [0, 1].
        std: likewise.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.normalise(self.images[index])

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, ch, H, W) as the network sees it."""
        mean, std = (images.new_tensor(one, dtype=torch.float32).view(1, -1, 1, 1) for one in (self.mean, self.std))
        return (images.float() / 255 - mean) / std

    def to(self, device: torch.device) -> "ImageSet":
        """The same set with its tensors on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def batches(self, *, rank: int = 0, world: int = 1) -> "Batches":
        """(images, labels) in order, as often as wanted; of ``world`` workers each gets every ``world``-th batch."""
        return Batches(self, rank, world)


@dataclass(frozen=True)
class Batches:
    """An image set's normalised batches in order; can be iterated again."""

    images: ImageSet
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = torch.arange(len(self.images), device=self.images.labels.device).split(EVALUATION_BATCH)
        for index in batches[self.rank :: self.world]:
            yield self.images[index], self.images.labels[index]


@dataclass(frozen=True)
class Data:
    """The three splits, the classes by name, and the size of an image."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        return int(self.train.images.shape[1])

    @property
    def image_size(self) -> int:
        """Height and width of an image."""
        return int(self.train.images.shape[2])

    def preprocessing(self) -> dict[str, Any]:
        """What a module set records, so that its user can prepare images."""
        shape = list(self.train.images.shape[1:])
        return {"shape": shape, "mean": list(self.train.mean), "std": list(self.train.std)}

    def to(self, device: torch.device) -> "Data":
        """The same data on a device."""
        return replace(
            self, train=self.train.to(device), validation=self.validation.to(device), test=self.test.to(device)
        )


def data_here(config: DataConfig, data_root: str | None) -> DataConfig:
    """The recorded data set where it lies on this machine: as told, as recorded, or where MODA_DATA_DIR says."""
    recorded = config.root
    if data_root is None and recorded is not None and not Path(recorded).expanduser().is_dir():
        data_root = os.environ.get("MODA_DATA_DIR")
    return config if data_root is None else replace(config, root=data_root)


def load_data(config: DataConfig) -> Data:
    """Load and split a data set, and refuse what would fail later.

    Raises:
        ConfigError: files that are not there, classes that are missing or have no training samples, images that are
            not square or not of one size.
    """
    loaders = {"digits": _digits, "fashion_mnist": _torchvision, "cifar10": _torchvision, "table": _table}
    train, test, names = loaders[config.name](config)
    if config.classes is not None:
        train, test, names = _only_classes(train, test, names, config.classes)
    train = _limited(train, config.limit, config.seed, "data.limit")
    test = _limited(test, config.test_limit, config.seed, "data.test_limit")
    _check_classes(train[1], names, "training")
    _check_classes(test[1], names, "test")
    train, test = (_decoded(train), _decoded(test))
    if train[0].shape[2] != train[0].shape[3]:
        raise ConfigError(f"data.name={config.name}: images are {train[0].shape[2:]}, not square; set data.resize")
    if train[0].shape[1:] != test[0].shape[1:]:
        raise ConfigError(
            f"data: training images are {train[0].shape[1:]}, test images {test[0].shape[1:]}; set data.resize"
        )
    train, validation = _held_out(train, config.validation_fraction, config.seed)
    _check_classes(train[1], names, "training")
    _check_classes(validation[1], names, "validation")
    scaled = train[0].astype(np.float32) / 255
    mean = tuple(float(one) for one in scaled.mean((0, 2, 3), dtype=np.float64))
    std = tuple(max(float(one), 1e-3) for one in scaled.std((0, 2, 3), dtype=np.float64))
    sets = [
        ImageSet(torch.from_numpy(images), torch.from_numpy(labels), mean, std)
        for images, labels in (train, validation, test)
    ]
    return Data(sets[0], sets[1], sets[2], tuple(names))


Split = tuple[Any, Array]  # images (an array, or EncodedImages) and labels


def _decoded(split: Split) -> Split:
    images, labels = split
    return (images.decode() if isinstance(images, EncodedImages) else images), labels


def _digits(config: DataConfig) -> tuple[Split, Split, list[str]]:
    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    parts = train_test_split(images, labels.astype(np.int64), test_size=397, stratify=labels, random_state=0)
    return (parts[0], parts[2]), (parts[1], parts[3]), [str(digit) for digit in range(10)]


def _torchvision(config: DataConfig) -> tuple[Split, Split, list[str]]:
    datasets = torchvision_datasets()
    kind = {"fashion_mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10}[config.name]
    root = Path(config.root or ".").expanduser()
    try:
        sets = [kind(root, train=train, download=config.download) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            f"data.name={config.name}: not found under data.root={root} ({error}); set MODA_DATA_DIR or data.root, or"
            " data.download=true to fetch it there"
        ) from error
    splits = []
    for one in sets:
        images = np.asarray(one.data)
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        splits.append((np.ascontiguousarray(images), np.asarray(one.targets, dtype=np.int64)))
    return splits[0], splits[1], [name.replace("/", "-").lower() for name in sets[0].classes]


def _table(config: DataConfig) -> tuple[Split, Split, list[str]]:
    assert config.path is not None
    train_images, train_names = read_table(config.path, config)
    if config.test_path is None:
        order = np.arange(len(train_names))
        try:
            kept, held = train_test_split(order, test_size=0.2, stratify=train_names, random_state=config.seed)
        except ValueError as error:
            raise ConfigError(f"data.test_path=null: a fifth of the table cannot be held out: {error}") from error
        test_images, test_names = train_images[held], train_names[held]
        train_images, train_names = train_images[kept], train_names[kept]
    else:
        test_images, test_names = read_table(config.test_path, config)
    found = np.union1d(train_names, test_names)
    if np.issubdtype(found.dtype, np.integer):
        names = _named(found, config)
        return (train_images, train_names), (test_images, test_names), names
    if config.class_names is not None:
        raise ConfigError("data.class_names is for labels that are whole numbers; this table's are names already")
    names = sorted(str(one) for one in found)
    ids = {name: index for index, name in enumerate(names)}
    splits = [
        (images, np.array([ids[str(one)] for one in labels], dtype=np.int64))
        for images, labels in ((train_images, train_names), (test_images, test_names))
    ]
    return splits[0], splits[1], names


def _named(found: Array, config: DataConfig) -> list[str]:
    """Names for integer labels: the configured ones, or the numbers themselves."""
    count = int(found.max()) + 1 if config.class_names is None else len(config.class_names)
    if found.min() < 0 or found.max() >= count:
        raise ConfigError(
            f"data.label_column: labels run from {found.min()} to {found.max()}; expected 0 to {count - 1}"
        )
    return list(config.class_names or (str(one) for one in range(count)))


def _only_classes(
    train: Split, test: Split, names: list[str], wanted: tuple[str, ...]
) -> tuple[Split, Split, list[str]]:
    if missing := [name for name in wanted if name not in names]:
        raise ConfigError(f"data.classes names {missing}, which the data does not have; it has {names}")
    if len(set(wanted)) != len(wanted):
        raise ConfigError(f"data.classes={list(wanted)} names a class twice")
    new_id = np.full(len(names), -1, dtype=np.int64)
    new_id[[names.index(name) for name in wanted]] = np.arange(len(wanted))
    splits = [(images[new_id[labels] >= 0], new_id[labels[new_id[labels] >= 0]]) for images, labels in (train, test)]
    return splits[0], splits[1], list(wanted)


def _limited(split: Split, limit: int | None, seed: int, key: str) -> Split:
    """A stratified draw of ``limit`` images."""
    images, labels = split
    if limit is None or limit >= len(labels):
        return split
    try:
        chosen, _ = train_test_split(np.arange(len(labels)), train_size=limit, stratify=labels, random_state=seed)
    except ValueError as error:
        raise ConfigError(f"{key}={limit} cannot be drawn: {error}") from error
    return images[chosen], labels[chosen]


def _held_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    images, labels = split
    try:
        kept, held = train_test_split(np.arange(len(labels)), test_size=fraction, stratify=labels, random_state=seed)
    except ValueError as error:
        raise ConfigError(f"data.validation_fraction={fraction} cannot be held out: {error}") from error
    return (images[kept], labels[kept]), (images[held], labels[held])


def _check_classes(labels: Array, names: list[str], split: str) -> None:
    counts = np.bincount(labels, minlength=len(names))
    if empty := [name for name, count in zip(names, counts, strict=True) if count == 0]:
        raise ConfigError(
            f"data: classes {empty} have no {split} samples; every class needs some, or leave it out of data.classes"
        )
