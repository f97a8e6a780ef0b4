"""What the module of all classes makes of each class at a point, read from the table ``classes``."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.config import Choice
from orchestrator.results.points import Point
from orchestrator.results.sweep import Sweep
from orchestrator.storage import ResultStore

SPLITS = ("test", "validation")  # the first that was measured is what people are told


@dataclass(frozen=True)
class ClassResults:
    """The classes of a point on one split; of a mean over seeds the images of all of them together.

    Attributes:
        class_names: by class id.
        confusion_CC: how many images of a class (row) the module of all classes takes for each class (column).
        whole_accuracy_C: share of each class's images that the whole network gets right; NaN without images.
        cut_sizes_C: parameters of each class's own module as it is cut / full model.
        units_C: how many units each class keeps.
        full_units: of the whole network.
    """

    class_names: Sequence[str]
    confusion_CC: npt.NDArray[np.int64]
    whole_accuracy_C: npt.NDArray[np.float64]
    cut_sizes_C: npt.NDArray[np.float64]
    units_C: npt.NDArray[np.float64]
    full_units: int

    @property
    def images_C(self) -> npt.NDArray[np.int64]:
        """How many images of each class were drawn."""
        images_C: npt.NDArray[np.int64] = self.confusion_CC.sum(1)
        return images_C

    @property
    def accuracy_C(self) -> npt.NDArray[np.float64]:
        """Share of each class's images that the module of all classes gets right; NaN without images."""
        with np.errstate(invalid="ignore"):
            accuracy_C: npt.NDArray[np.float64] = self.confusion_CC.diagonal() / self.images_C
        return accuracy_C

    @property
    def errors_C(self) -> npt.NDArray[np.float64]:
        """The standard error of each accuracy; at least 1 / images, as of reuse accuracy."""
        images_C = np.maximum(self.images_C, 1)
        errors_C: npt.NDArray[np.float64] = np.sqrt(self.accuracy_C * (1 - self.accuracy_C) / images_C)
        return np.maximum(errors_C, 1 / images_C)

    @property
    def worst(self) -> int:
        """The id of the class with the lowest accuracy."""
        return int(np.nanargmin(self.accuracy_C))

    def mistaken_for(self, class_id: int) -> int | None:
        """Return the id of the class that a class is most often mistaken for; None if there are no mistakes."""
        mistakes_C = self.confusion_CC[class_id].copy()
        mistakes_C[class_id] = 0
        return int(mistakes_C.argmax()) if mistakes_C.any() else None


class SweepClasses:
    """The classes of the points of a sweep for which they were measured.

    Args:
        rows: of the table ``classes``.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._rows: dict[tuple[str, Choice, str], list[Mapping[str, Any]]] = {}
        for row in rows:
            self._rows.setdefault((row["trial_id"], Choice.of_row(row), row["split"]), []).append(row)

    def of(self, point: Point, split: str) -> ClassResults | None:
        """Return the classes of a point on a split; None where they were not measured."""
        of_seeds = [self._rows.get((single.trial.trial_id, single.choice, split)) for single in point.singles]
        measured = [_results(rows) for rows in of_seeds if rows]
        return _mean(measured) if measured else None

    def shown(self, point: Point) -> tuple[str, ClassResults] | None:
        """Return the split and the classes of a point that people are told: on test where that was measured."""
        found = ((split, self.of(point, split)) for split in SPLITS)
        return next(((split, results) for split, results in found if results is not None), None)


def read_classes(store: ResultStore, sweep: Sweep) -> SweepClasses:
    """Read what was measured of each class of a sweep's points; nothing of sweeps from before it was."""
    return SweepClasses(store.read("classes", sweep.sweep_id).to_pylist())


def _results(rows: Sequence[Mapping[str, Any]]) -> ClassResults:
    rows = sorted(rows, key=lambda row: int(row["class_id"]))
    whole = [math.nan if row["whole_accuracy"] is None else row["whole_accuracy"] for row in rows]
    return ClassResults(
        [row["class_name"] for row in rows],
        np.array([row["taken_for"] for row in rows]),
        np.array(whole),
        np.array([row["cut_size"] for row in rows]),
        np.array([row["units"] for row in rows], dtype=np.float64),
        rows[0]["full_units"],
    )


def _mean(of_seeds: Sequence[ClassResults]) -> ClassResults:
    """Of several trainings of a set of coefficients, whose draws of images are the same."""
    first = of_seeds[0]
    return ClassResults(
        first.class_names,
        np.sum([each.confusion_CC for each in of_seeds], axis=0),
        np.mean([each.whole_accuracy_C for each in of_seeds], axis=0),
        np.mean([each.cut_sizes_C for each in of_seeds], axis=0),
        np.mean([each.units_C for each in of_seeds], axis=0),
        first.full_units,
    )
