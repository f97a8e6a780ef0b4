"""Parts of a data set, drawn by class: limits, the classes asked for, and what is held out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.errors import ConfigError, listed, shown
from orchestrator.training.data.drawing import split_by_class

Array = npt.NDArray[Any]
Split = tuple[Any, Array]  # images (an array, or EncodedImages) and labels
Loaded = tuple[Split, Split, list[str], dict[str, str]]  # training and test images, class names, hashes of contents


def only_classes(
    train: Split, test: Split, names: list[str], wanted: tuple[str, ...]
) -> tuple[Split, Split, list[str]]:
    """The images of some classes, numbered in the order asked for.

    Args:
        train: images and class ids.
        test: likewise.
        names: of the classes, by id.
        wanted: names; the id of a class will do where classes are not called by numbers.

    Raises:
        ConfigError: a class that is not there, or one given twice.
    """
    ids = {name: index for index, name in enumerate(names)}
    if not all(name.isdecimal() for name in names):
        ids = {str(index): index for index in range(len(names))} | ids
    if missing := [name for name in wanted if name not in ids]:
        raise ConfigError(f"data.classes names {listed(missing)}, which the data does not have; it has {listed(names)}")
    chosen = [ids[name] for name in wanted]
    if len(set(chosen)) != len(chosen):
        raise ConfigError(f"data.classes={listed(wanted)} names a class twice")
    new_id = np.full(len(names), -1, dtype=np.int64)
    new_id[chosen] = np.arange(len(chosen))
    splits = [(images[new_id[labels] >= 0], new_id[labels[new_id[labels] >= 0]]) for images, labels in (train, test)]
    return splits[0], splits[1], [names[index] for index in chosen]


def limit_images(split: Split, limit: int | None, seed: int, key: str, names: Sequence[str]) -> Split:
    """A draw of ``limit`` images, stratified by class; all where there are no more.

    Raises:
        ConfigError: fewer than there are classes, or a class too small for a draw.
    """
    images, labels = split
    if limit is None or limit >= len(labels):
        return split
    classes, counts = np.unique(labels, return_counts=True)
    left_out = len(labels) - limit
    if left_out < len(classes):  # too few for a part of their own: one of each of the largest classes
        order = np.random.default_rng(seed).permutation(len(labels))
        largest = classes[np.argsort(-counts, kind="stable")[:left_out]]
        dropped = [order[np.argmax(labels[order] == label)] for label in largest]
        chosen = np.setdiff1d(np.arange(len(labels)), dropped)
    else:
        try:
            chosen, _ = split_by_class(labels, train=limit, seed=seed)
        except ValueError as error:
            raise ConfigError(
                f"{key}={limit} cannot be drawn by class: {_counted(labels, names)}; set {key} to"
                f" {len(classes)} or more, and bring two images or more of every class"
            ) from error
    return images[chosen], labels[chosen]


def hold_out(
    split: Split, fraction: float, seed: int, key: str, remedy: str, names: Sequence[str] = ()
) -> tuple[Split, Split]:
    """The images that stay and a fraction that is held out, stratified by class.

    Args:
        split: images and labels.
        fraction: of the images.
        seed: of the draw.
        key: what cannot be held out, for the error.
        remedy: what helps then.
        names: of the classes by id, or none where labels are still as the table has them.

    Raises:
        ConfigError: too few images, or a class with one.
    """
    images, labels = split
    try:
        kept, held = split_by_class(labels, test=fraction, seed=seed)
    except ValueError as error:
        raise ConfigError(f"{key} cannot be held out: {_counted(labels, names)}; {remedy}") from error
    return (images[kept], labels[kept]), (images[held], labels[held])


def check_classes(labels: Array, names: Sequence[str], part: str) -> None:
    """Refuse a part in which a class has no images.

    Raises:
        ConfigError: it names them.
    """
    counts = np.bincount(labels, minlength=len(names))
    if empty := [name for name, count in zip(names, counts, strict=True) if count == 0]:
        raise ConfigError(
            f"data: classes {listed(empty)} have no {part} samples, {len(empty)} of {len(names)} classes among"
            f" {len(labels)} images; every class needs some: bring more images, or name the others in data.classes"
        )


def _counted(labels: Array, names: Sequence[str]) -> str:
    classes, counts = np.unique(labels, return_counts=True)
    rarest = int(counts.argmin())
    label = classes[rarest].item()
    name = shown(names[label] if names else label)
    return f"{len(labels)} images of {len(classes)} classes, of class {name} only {counts[rarest]}"
