"""Data sets: uint8 images and class ids, split into training, validation and test.

Validation is held out of the training images, stratified by class: coefficients, tau and "best" are chosen on it, and
test is only reported.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from orchestrator.config import RANDOM, RANDOM_RESIZED, DataConfig
from orchestrator.declarations import NORMALISATIONS
from orchestrator.errors import ConfigError, shown
from orchestrator.training.data.encoded import EncodedImages
from orchestrator.training.data.facts import ImageFacts
from orchestrator.training.data.image_set import (
    EVALUATION_BATCH,
    Data,
    ImageSet,
    Pixels,
    part_of,
    read_in_order,
)
from orchestrator.training.data.keeping import keep_images
from orchestrator.training.data.loaders import LOADERS
from orchestrator.training.data.splits import Array, Split, check_classes, hold_out, limit_images, only_classes
from orchestrator.training.data.summary import summary_lines

LARGE = 2**30  # bytes of images: above, statistics are of exact shares of 255, and otherwise of these as float32
Constants = tuple[tuple[float, ...], tuple[float, ...]]


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
    train, test, names, contents = LOADERS[config.name](config)
    if config.classes is not None:
        train, test, names = only_classes(train, test, names, config.classes)
    if len(names) < 2:
        raise ConfigError(f"data: {shown(names[0])} is the only class; a data set needs two or more")
    train = limit_images(train, config.limit, config.seed, "data.limit", names)
    test = limit_images(test, config.test_limit, config.seed, "data.test_limit", names)
    check_classes(train[1], names, "training")
    check_classes(test[1], names, "test")
    train, validation = _held_out(train, config, names)
    pixels, labels, facts = _kept([train, validation, test], config)
    if facts is not None and facts.skipped:
        contents = {**contents, "skipped": str(len(facts.skipped))}
        for part, left in zip(("training", "validation", "test"), labels, strict=True):
            if part != "validation" or config.has_validation:
                check_classes(left, names, part)
    mean, std = _normalisation(config, pixels[0])
    sets = [ImageSet(images, torch.from_numpy(left), mean, std) for images, left in zip(pixels, labels, strict=True)]
    if config.fit in (RANDOM, RANDOM_RESIZED):
        seen = config.resize if config.image_size is None else config.image_size
        sets[0] = replace(sets[0], seen=seen, is_scaled=config.fit == RANDOM_RESIZED)
    _check_shapes(config.name, [part.shape for part in sets])
    read = train[0].config if isinstance(train[0], EncodedImages) else config  # with the columns that were found
    summary = summary_lines(read, names, labels, sets[0].shape, facts)
    return Data(sets[0], sets[1], sets[2], tuple(names), contents, summary)


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


def _kept(splits: Sequence[Split], config: DataConfig) -> tuple[list[Pixels], list[Array], ImageFacts | None]:
    """The images of the training, validation and test part, of which the second may be empty, and their labels.

    Images that cannot be read and may be left out are not among them.
    """
    parts, labels = [images for images, _ in splits], [labels for _, labels in splits]
    if not isinstance(parts[0], EncodedImages):
        return [torch.from_numpy(images) for images in parts], labels, None
    is_cut = config.fit not in (RANDOM, RANDOM_RESIZED)
    asked = [number for number, part in enumerate(parts) if len(part)]
    kept, facts = keep_images([(parts[number], is_cut or number > 0) for number in asked], config)
    pixels: list[Pixels] = [part_of(kept[-1].pixels, torch.zeros(0, dtype=torch.long))] * len(parts)
    for number, of_part in zip(asked, kept, strict=True):
        pixels[number], labels[number] = of_part.pixels, labels[number][of_part.is_read]
    return pixels, labels, facts


def _check_shapes(name: str, shapes: list[tuple[int, ...]]) -> None:
    train, validation, test = shapes
    if train[1] != train[2]:
        raise ConfigError(
            f"data.name={name}: images are {train[1:]}, not square; set data.resize, and data.fit=centre"
            " to cut images instead of stretching them"
        )
    if not train == validation == test:
        raise ConfigError(
            f"data: training images are {train}, validation images {validation}, test images {test}; set data.resize"
        )


def _normalisation(config: DataConfig, images: Pixels) -> Constants:
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
    return _statistics(images)


def _statistics(images: Pixels) -> Constants:
    """Mean and standard deviation of each channel from counts of its 256 values, which need no copy of the images."""
    channels = images.shape[1]
    counts = np.zeros((channels, 256), np.int64)
    for pixels in read_in_order(images, torch.arange(len(images)).split(EVALUATION_BATCH)):
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[:, channel].numpy().ravel(), minlength=256)
    is_large = math.prod(images.shape) > LARGE
    values = np.arange(256) / 255 if is_large else (np.arange(256, dtype=np.float32) / 255).astype(np.float64)
    mean = [float(np.average(values, weights=count)) for count in counts]
    variances = [np.average((values - centre) ** 2, weights=count) for centre, count in zip(mean, counts, strict=True)]
    return tuple(mean), tuple(max(float(variance) ** 0.5, 1e-3) for variance in variances)
