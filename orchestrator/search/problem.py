"""What is searched, what is known, and the seam between the two: ``Searcher.propose``."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

Coefficients = dict[str, Any]
Grid = Mapping[str, Sequence[float]]

_CONSTRAINT = re.compile(r"\s*([a-z_]\w*)\s*(<=|>=)\s*(\S+)\s*")


@dataclass(frozen=True)
class Constraint:
    """A condition that a point must meet: its metric is at least, or at most, the bound."""

    metric: str
    at_least: bool
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """``accuracy >= 0.9`` or ``module_size <= 0.2``.

        Raises:
            ValueError: anything else.
        """
        match = _CONSTRAINT.fullmatch(text)
        try:
            if match is None or not math.isfinite(float(match[3])):
                raise ValueError
            return cls(match[1], match[2] == ">=", float(match[3]))
        except ValueError:
            raise ValueError(f"constraint {text!r} must read like 'accuracy >= 0.9' or 'module_size <= 0.2'") from None

    def met(self, value: Any) -> Any:
        """Whether a value meets it, or which values of an array do."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Problem:
    """A search problem.

    Attributes:
        space: a dimension a coefficient: ``{"low": 0.01, "high": 10.0, "log": True, "integer": False}``, or
            ``{"choices": ["sgd", "adamw"]}``.
        free: what is chosen after training and costs none: a grid each, ``{"tau": [...], "threshold": [...]}``, or
            several such mappings where there are several ways to choose.
        objectives: metric -> "max" or "min".
        constraints: conditions on metrics, each like ``accuracy >= 0.9``.
        reference: metric -> value of the hypervolume's reference point; one is derived from the data where it is None.
        seed: of every random draw.
    """

    space: Mapping[str, Mapping[str, Any]]
    free: Grid | Sequence[Grid]
    objectives: Mapping[str, str]
    constraints: Sequence[str] = ()
    reference: Mapping[str, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.space:
            raise ValueError("space is empty; name at least one coefficient")
        for text in self.constraints:
            Constraint.parse(text)

    @property
    def grids(self) -> list[Grid]:
        """The free grids, one for each way to choose."""
        return [self.free] if isinstance(self.free, Mapping) else list(self.free)

    @property
    def free_names(self) -> list[str]:
        """Of all grids."""
        return list(dict.fromkeys(name for one in self.grids for name in one))

    @property
    def choices(self) -> list[dict[str, float | None]]:
        """Every free choice, all names in each; None where a way to choose does not know the name."""
        nothing = dict.fromkeys(self.free_names)
        return [
            {**nothing, **dict(zip(grid, values, strict=True))}
            for grid in self.grids
            for values in itertools.product(*grid.values())
        ]

    def from_unit(self, unit: Sequence[float]) -> Coefficients:
        """The coefficients at a point of the unit cube, dimensions in the order of the space."""
        return {name: _from_unit(one, value) for (name, one), value in zip(self.space.items(), unit, strict=True)}

    def to_unit(self, coefficients: Mapping[str, Any]) -> list[float] | None:
        """The point of the unit cube; None where coefficients are missing or lie outside the space."""
        unit = [_to_unit(one, coefficients.get(name)) for name, one in self.space.items()]
        return None if any(value is None for value in unit) else [value for value in unit if value is not None]


@dataclass(frozen=True)
class History:
    """What is known, as Arrow tables.

    Attributes:
        trials: trial_id, number, status, reason, and a column for each coefficient. Numbers below 0 are of trials of
            earlier sweeps (a warm start). A stopped one did not fail: others were better early in their training, and
            nothing else is known of it.
        points: validation points of finished trials: trial_id, and a column for each coefficient, free parameter and
            metric, by their names.
    """

    trials: pa.Table = field(default_factory=lambda: pa.table({}))
    points: pa.Table = field(default_factory=lambda: pa.table({}))


class Searcher(Protocol):
    """Proposes trials. Without state of its own: the same arguments give the same coefficients."""

    def propose(self, history: History, pending: Sequence[Mapping[str, Any]], number: int) -> Coefficients:
        """The coefficients of trial ``number`` (from 0), given what finished and what is under way."""
        ...


def _ends(one: Mapping[str, Any]) -> tuple[float, float]:
    low, high = float(one["low"]), float(one["high"])
    # Of whole numbers every one has its share of the cube, the ends too.
    return (low - 0.5, high + 0.5) if one.get("integer") else (low, high)


def _from_unit(one: Mapping[str, Any], value: float) -> Any:
    if choices := one.get("choices"):
        return choices[min(int(value * len(choices)), len(choices) - 1)]
    low, high = _ends(one)
    point = low * (high / low) ** value if one.get("log") else low + (high - low) * value
    return int(min(max(round(point), one["low"]), one["high"])) if one.get("integer") else point


def _to_unit(one: Mapping[str, Any], value: Any) -> float | None:
    if choices := one.get("choices"):
        return (list(choices).index(value) + 0.5) / len(choices) if value in choices else None
    if value is None or not one["low"] <= value <= one["high"]:
        return None
    low, high = _ends(one)
    return math.log(value / low) / math.log(high / low) if one.get("log") else (value - low) / (high - low)
