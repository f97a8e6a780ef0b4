"""What is searched, what is known, and the seam between the two: ``Searcher.propose``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

Coefficients = dict[str, float]


@dataclass(frozen=True)
class Problem:
    """A search problem.

    Attributes:
        space: a dimension a coefficient: ``{"low": 0.01, "high": 10.0, "log": True, "integer": False}``.
        free: what is chosen after training and costs none, a grid each: ``{"tau": [...], "threshold": [...]}``.
        objectives: metric -> "max" or "min".
        constraints: conditions on metrics; none are supported yet, so it is empty.
        reference: metric -> value of the hypervolume's reference point.
        seed: of every random draw.
    """

    space: Mapping[str, Mapping[str, Any]]
    free: Mapping[str, Sequence[float]]
    objectives: Mapping[str, str]
    constraints: Sequence[str] = ()
    reference: Mapping[str, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.space:
            raise ValueError("space is empty; name at least one coefficient")
        if self.constraints:
            raise ValueError(f"constraints={list(self.constraints)} are not supported by any searcher yet")

    def from_unit(self, unit: Sequence[float]) -> Coefficients:
        """The coefficients at a point of the unit cube, dimensions in the order of the space."""
        found: Coefficients = {}
        for (name, one), value in zip(self.space.items(), unit, strict=True):
            low, high = float(one["low"]), float(one["high"])
            if one.get("integer"):  # every whole number has its share, the ends too
                low, high = low - 0.5, high + 0.5
            point = low * (high / low) ** value if one.get("log") else low + (high - low) * value
            if one.get("integer"):
                point = int(min(max(round(point), one["low"]), one["high"]))
            found[name] = point
        return found


@dataclass(frozen=True)
class History:
    """What is known, as Arrow tables.

    Attributes:
        trials: trial_id, number, status, reason, and a column for each coefficient.
        points: validation points of finished trials: trial_id, and a column for each coefficient, free parameter and
            metric, by their names.
    """

    trials: pa.Table = field(default_factory=lambda: pa.table({}))
    points: pa.Table = field(default_factory=lambda: pa.table({}))


class Searcher(Protocol):
    """Proposes trials. Without state of its own: the same arguments give the same coefficients."""

    def propose(self, history: History, pending: Sequence[Mapping[str, float]], number: int) -> Coefficients:
        """The coefficients of trial ``number`` (from 0), given what finished and what is under way."""
        ...
