"""Draws by class, in numbers that follow the classes' shares.

They are those of scikit-learn's ``train_test_split(..., stratify=labels)``, which takes more than a second to import:
every process that reads data would wait for it.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def split_by_class(
    labels: Array, *, train: int | None = None, test: float | None = None, seed: int
) -> tuple[Array, Array]:
    """Draw a training and a test part, stratified by class.

    Args:
        labels: (I,) the class of each image.
        train: how many images the first part has; None: all that the second leaves.
        test: the share of images of the second part (below 1), or how many; None: all that the first leaves.
        seed: of the draw.

    Returns:
        The indices of both parts, in random order.

    Raises:
        ValueError: a class of one image, or a part with fewer images than there are classes.
    """
    _, class_of_I, counts_C = np.unique(labels, return_inverse=True, return_counts=True)
    total = len(labels)
    if train is not None:
        numbers = train, total - train
    else:
        assert test is not None
        held = math.ceil(test * total) if test < 1 else int(test)
        numbers = total - held, held
    if counts_C.min() < 2 or min(numbers) < len(counts_C):
        raise ValueError(f"{numbers[0]} and {numbers[1]} images of classes of {counts_C.tolist()}")
    images_of_C = np.split(np.argsort(class_of_I, kind="stable"), np.cumsum(counts_C)[:-1])
    random = np.random.RandomState(seed)
    first_C = _shared_out(counts_C, numbers[0], random)
    second_C = _shared_out(counts_C - first_C, numbers[1], random)
    first: list[int] = []
    second: list[int] = []
    for images, in_first, in_second in zip(images_of_C, first_C, second_C, strict=True):
        drawn = images[random.permutation(len(images))]
        first.extend(drawn[:in_first])
        second.extend(drawn[in_first : in_first + in_second])
    return random.permutation(first), random.permutation(second)


def _shared_out(counts_C: Array, number: int, random: np.random.RandomState) -> Array:
    """How many of ``number`` draws fall to each class: its share rounded down, and one more where most is left over."""
    exact_C = counts_C / counts_C.sum() * number
    drawn_C = np.floor(exact_C)
    rest_C = exact_C - drawn_C
    missing = int(number - drawn_C.sum())
    for rest in np.unique(rest_C)[::-1]:
        if missing == 0:
            break
        (classes,) = np.where(rest_C == rest)
        chosen = random.choice(classes, size=min(len(classes), missing), replace=False)
        drawn_C[chosen] += 1
        missing -= len(chosen)
    return np.asarray(drawn_C, dtype=np.int64)
