"""A draw of a stated number of (image, subset) pairs, spread evenly over subset sizes, subsets and images.

Shapes: I images, C classes.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from moda_core.measuring.reuse import ReuseDraw

MOST_SIZES = 10

Subset = tuple[int, ...]


def spread_sizes(num_classes: int, *, most: int = MOST_SIZES) -> list[int]:
    """Return the subset sizes that are tested: 2 to all, or of more than ``most`` so many, evenly spread, both ends
    included.
    """
    last = num_classes - 2
    if last < most:
        return list(range(2, num_classes + 1))
    return [2 + round(place * last / (most - 1)) for place in range(most)]


def draw_budget(labels: Tensor, pairs: int, *, num_classes: int, seed: int) -> ReuseDraw:
    """Draw (image, subset) pairs: every size of :func:`spread_sizes` equally often, its subsets equally often.

    Each subset is tested on a random draw of the images of its classes, none of them twice; images that have been drawn
    less often come first. Pairs are in an order in which the first ones are such a draw themselves
    (:meth:`ReuseDraw.first`).

    Args:
        labels: (I,) class ids of the images.
        pairs: how many in all; at least one of each size, and fewer where there are no more.
        num_classes: C, at least 2.
        seed: of the draw.

    Raises:
        ValueError: fewer than two classes, or a class without images.
    """
    sizes = spread_sizes(num_classes)
    if not sizes:
        raise ValueError("there are no class subsets to test; reuse accuracy needs two classes or more")
    counts = torch.bincount(labels.cpu(), minlength=num_classes).tolist()
    if 0 in counts:
        raise ValueError(f"there is no image of the class {counts.index(0)} to test modules on")
    generator = torch.Generator().manual_seed(seed)
    subsets: list[Subset] = []
    ordered: list[tuple[int, int, int, int]] = []  # round, size, subset, class
    for size in sizes:
        per_size = max(1, pairs // len(sizes))
        of_size = _subsets_of_size(num_classes, size, per_size, generator)
        for place, subset in enumerate(of_size):
            rounds = range(place, per_size, len(of_size))
            classes = _classes_of_draws(subset, counts, len(rounds), generator)
            row = len(subsets) + place
            ordered += [(turn, size, row, label) for turn, label in zip(rounds, classes, strict=False)]
        subsets += of_size
    ordered.sort()
    images = list(_images(labels, [(row, label) for _, _, row, label in ordered], num_classes, generator))
    subsets_SC = torch.zeros(len(subsets), num_classes, dtype=torch.bool)
    for row, subset in enumerate(subsets):
        subsets_SC[row, list(subset)] = True
    pair_subset_P, pair_label_P = (torch.tensor(column) for column in list(zip(*ordered, strict=True))[2:])
    return ReuseDraw(subsets_SC, torch.tensor(images), pair_subset_P, pair_label_P)


def _subsets_of_size(num_classes: int, size: int, most: int, generator: torch.Generator) -> list[Subset]:
    """Different subsets in random order: all there are, or ``most`` of them."""
    if math.comb(num_classes, size) <= most:
        every = list(itertools.combinations(range(num_classes), size))
        return [every[place] for place in torch.randperm(len(every), generator=generator).tolist()]
    drawn: dict[Subset, None] = {}
    while len(drawn) < most:
        drawn[tuple(sorted(torch.randperm(num_classes, generator=generator)[:size].tolist()))] = None
    return list(drawn)


def _classes_of_draws(subset: Subset, counts: Sequence[int], most: int, generator: torch.Generator) -> list[int]:
    """The classes of ``most`` random images of a subset without repetition, or of all of them in random order."""
    ends = torch.tensor([counts[label] for label in subset]).cumsum(0)
    total = int(ends[-1])
    if most == 1:
        places = torch.randint(total, (1,), generator=generator)
    else:
        places = torch.randperm(total, generator=generator)[:most]
    return [subset[index] for index in torch.searchsorted(ends, places, right=True).tolist()]


def _images(
    labels: Tensor, wanted: Sequence[tuple[int, int]], num_classes: int, generator: torch.Generator
) -> Iterator[int]:
    """An image for each (subset, class): of each class in a fixed random order, from where the last subset ended."""
    queues = []
    for label in range(num_classes):
        own = (labels.cpu() == label).nonzero().flatten()
        queues.append(own[torch.randperm(len(own), generator=generator)].tolist())
    drawn = [0] * num_classes
    following: dict[tuple[int, int], int] = {}
    for key in wanted:
        label = key[1]
        place = following.get(key, drawn[label])
        yield queues[label][place % len(queues[label])]
        following[key] = place + 1
        drawn[label] += 1
