"""What a data set is, in a few lines for whoever trains on it."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orchestrator.config import DataConfig
from orchestrator.errors import shown
from orchestrator.training.data.facts import ImageFacts

UNEVEN = 3  # times as many images in the largest class as in the smallest: worth a remark
LABEL_WIDTH = 11  # as of the plan of a sweep


def summary_lines(
    config: DataConfig,
    names: Sequence[str],
    labels: Sequence[npt.NDArray[np.int64]],
    shape: tuple[int, ...],
    facts: ImageFacts | None,
) -> tuple[str, ...]:
    """Describe a data set: its classes and images, and of encoded images how they were stored and what became of them.

    Args:
        config: of the data set, with the columns that were read.
        names: of the classes.
        labels: of the training, validation and test images.
        shape: channels, height and width of what the network sees.
        facts: of images that were decoded; None of others.
    """
    channels, height, width = shape
    training, validation, test = (len(part) for part in labels)
    held = f"{validation:,} for validation" if validation else "none for validation"
    lines = {
        "data": f"{config.name}: {len(names)} classes; {training:,} images to train, {held}, {test:,} to test;"
        f" {width} x {height} pixels, {'grey' if channels == 1 else 'colour'}",
        "classes": _classes(names, np.bincount(labels[0], minlength=len(names))),
    }
    if config.name == "table" and (config.image_column, config.label_column) != ("image", "label"):
        lines["columns"] = f"{shown(config.image_column)} and {shown(config.label_column)}"
    if facts is not None:
        lines |= _decoded(facts, (width, height), config)
    return tuple(f"{label:<{LABEL_WIDTH}}{text}" for label, text in lines.items())


def _classes(names: Sequence[str], counts: npt.NDArray[np.int64]) -> str:
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[least] == counts[most]:
        return f"{counts[least]:,} training images each"
    extremes = (
        f"{counts[least]:,} ({shown(names[least])}) to {counts[most]:,} ({shown(names[most])}) training images each"
    )
    if counts[most] < UNEVEN * counts[least]:
        return extremes
    return f"{extremes}: uneven, and an accuracy counts images, not classes"


def _decoded(facts: ImageFacts, size: tuple[int, int], config: DataConfig) -> dict[str, str]:
    sizes = [facts.smallest, facts.largest]
    texts = [f"{width} x {height}" for width, height in filter(None, sizes)]
    changes = Counter(facts.changes)
    lines = {"stored as": f"{_counted(facts.formats)}; {' to '.join(dict.fromkeys(texts))} pixels"}
    made = [_counted(changes)] if changes else []
    if sizes != [size, size]:
        made.append(f"data.fit={config.fit} to {size[0]} x {size[1]}")
    if made:
        lines["converted"] = "; ".join(made)
    if facts.skipped:
        total = sum(facts.formats.values()) + len(facts.skipped)
        first = next(iter(facts.skipped.values()))
        lines["skipped"] = f"{len(facts.skipped):,} of {total:,} images cannot be read; the first: {first}"
    return lines


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=_most_first))


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
