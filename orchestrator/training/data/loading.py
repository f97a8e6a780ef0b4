"""Data sets: uint8 images and class ids in memory, split into training, validation and test.

Validation is held out of the training images, stratified by class: coefficients, tau and "best" are chosen on it, and
test is only reported.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.config import DataConfig
from orchestrator.declarations import NORMALISATIONS
from orchestrator.errors import ConfigError, shown
from orchestrator.training.data.content import encoded_hash, pixel_hash
from orchestrator.training.data.labels import classes_of
from orchestrator.training.data.splits import Array, Split, check_classes, hold_out, limit_images, only_classes
from orchestrator.training.data.tables import EncodedImages, read_table, recorded_class_names
from orchestrator.training.data.vision import torchvision_datasets

EVALUATION_BATCH = 512


@dataclass(frozen=True)
class ImageSet:
    """Images of one size with their labels; indexing returns a normalised float32 batch.

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
    """The three splits, the class names and the size of an image. ``contents`` are hashes of everything that was read
    (:mod:`orchestrator.training.data.content`): ``content``, and ``test_content`` if there is a separate test set.
    ``validation`` has no images where ``data.validation_fraction`` is 0.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    contents: Mapping[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> tuple[str, ImageSet]:
        """The split on which every choice is measured, by name: validation, or test where nothing is held out."""
        return ("validation", self.validation) if len(self.validation) else ("test", self.test)

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
    """Return the data set with its root on this machine: as given, as recorded, or as MODA_DATA_DIR says."""
    recorded = config.root
    if data_root is None and recorded is not None and not Path(recorded).expanduser().is_dir():
        data_root = os.environ.get("MODA_DATA_DIR")
    return config if data_root is None else replace(config, root=data_root)


def load_data(config: DataConfig) -> Data:
    """Load and split a data set, and refuse data that would fail later.

    Raises:
        ConfigError: files that are not there, classes that are missing or have no training samples, images that are
            not square or not of one size.
    """
    loaders = {"digits": _digits, "fashion_mnist": _torchvision, "cifar10": _torchvision, "table": _table}
    train, test, names, contents = loaders[config.name](config)
    if config.classes is not None:
        train, test, names = only_classes(train, test, names, config.classes)
    if len(names) < 2:
        raise ConfigError(f"data: {shown(names[0])} is the only class; a data set needs two or more")
    train = limit_images(train, config.limit, config.seed, "data.limit", names)
    test = limit_images(test, config.test_limit, config.seed, "data.test_limit", names)
    check_classes(train[1], names, "training")
    check_classes(test[1], names, "test")
    train, validation = _held_out(train, config, names)
    trained = _decoded(train)
    held = _decoded(validation) if len(validation[1]) else (trained[0][:0], validation[1])
    parts = [trained, held, _decoded(test)]
    _check_shapes(config.name, [images.shape[1:] for images, _ in parts])
    mean, std = _normalisation(config, parts[0][0])
    sets = [ImageSet(torch.from_numpy(images), torch.from_numpy(labels), mean, std) for images, labels in parts]
    return Data(sets[0], sets[1], sets[2], tuple(names), contents)


def _held_out(split: Split, config: DataConfig, names: list[str]) -> tuple[Split, Split]:
    """What trains, and what is held out for validation, with every class in both; or everything and nothing."""
    images, labels = split
    if not config.has_validation:
        return split, (images[:0], labels[:0])
    remedy = "take more images (data.limit), change data.validation_fraction, or leave out small classes (data.classes)"
    key = f"data.validation_fraction={config.validation_fraction}"
    train, validation = hold_out(split, config.validation_fraction, config.seed, key, remedy, names)
    check_classes(train[1], names, "training")
    check_classes(validation[1], names, "validation")
    return train, validation


Loaded = tuple[Split, Split, list[str], dict[str, str]]  # training and test images, class names, hashes of contents


def _decoded(split: Split) -> Split:
    images, labels = split
    return (images.decode() if isinstance(images, EncodedImages) else images), labels


def _check_shapes(name: str, shapes: list[tuple[int, ...]]) -> None:
    train, validation, test = shapes
    if train[1] != train[2]:
        raise ConfigError(f"data.name={name}: images are {train[1:]}, not square; set data.resize")
    if not train == validation == test:
        raise ConfigError(
            f"data: training images are {train}, validation images {validation}, test images {test}; set data.resize"
        )


def _normalisation(config: DataConfig, images: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel: as configured, or the training images' own."""
    channels = images.shape[1]
    if config.normalisation in NORMALISATIONS:
        constants = NORMALISATIONS[config.normalisation]
        if channels != len(constants[0]):
            raise ConfigError(
                f"data.normalisation={config.normalisation}: its constants are of colour images, and these have"
                f" {channels} channel; set data.normalisation=statistics"
            )
        return constants
    if config.mean is not None and config.std is not None:
        for key, values in (("mean", config.mean), ("std", config.std)):
            if len(values) not in (1, channels):
                raise ConfigError(
                    f"data.{key}={list(values)}: give {channels} numbers, one per channel, or one for all"
                )
        return config.mean * (channels // len(config.mean)), config.std * (channels // len(config.std))
    scaled = images.astype(np.float32) / 255
    mean = tuple(float(value) for value in scaled.mean((0, 2, 3), dtype=np.float64))
    std = tuple(max(float(value), 1e-3) for value in scaled.std((0, 2, 3), dtype=np.float64))
    return mean, std


def _digits(config: DataConfig) -> Loaded:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    parts = train_test_split(images, labels.astype(np.int64), test_size=397, stratify=labels, random_state=0)
    return (parts[0], parts[2]), (parts[1], parts[3]), [str(digit) for digit in range(10)], {}


def _torchvision(config: DataConfig) -> Loaded:
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
    contents = {"content": pixel_hash(*splits[0]), "test_content": pixel_hash(*splits[1])}
    return splits[0], splits[1], [name.replace("/", "-").lower() for name in sets[0].classes], contents


def _table(config: DataConfig) -> Loaded:
    assert config.path is not None
    recorded = recorded_class_names(config)
    images, image_labels = read_table(config.path, config)
    contents = {"content": encoded_hash(images.column, image_labels, recorded or ())}
    train: Split = (images, image_labels)
    test: Split
    if config.test_path is None:
        remedy = "name a table of test images, data.test_path=..., or bring more images"
        train, test = hold_out(train, 0.2, config.seed, "data.test_path=null: a fifth of the table", remedy)
    else:
        images, image_labels = read_table(config.test_path, config)
        contents["test_content"] = encoded_hash(images.column, image_labels)
        test = (images, image_labels)
        if train[1].dtype.kind != test[1].dtype.kind:
            raise ConfigError(
                f"data.label_column={shown(config.label_column)} has numbers in one of data.path and data.test_path,"
                " names in the other; use one of both"
            )
    names, labels = classes_of(np.union1d(train[1], test[1]), config, recorded)
    splits = [(images, np.searchsorted(labels, part)) for images, part in (train, test)]
    return splits[0], splits[1], names, contents
