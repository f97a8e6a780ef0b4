"""What is searched, what is known, and the seam between the two: ``Searcher.propose``."""

import itertools
import math
import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from orchestrator.search import dimension as dimensions
from orchestrator.search.scales import LINEAR

Coefficients = dict[str, Any]
Grid = Mapping[str, Sequence[float]]

TRIAL_COLUMNS = ("trial_id", "number", "status", "reason")  # of a history's trials, beside the coefficients
INACTIVE = "inactive"  # in a key, of a dimension that is not active

_CONSTRAINT = re.compile(r"\s*([a-z_]\w*)\s*(<=|>=)\s*(\S+)\s*")


class SpaceExhausted(Exception):
    """Every set of coefficients of a search space is trained or in training: there is nothing left to propose."""


@dataclass(frozen=True)
class Constraint:
    """A condition that a point must meet: its metric is at least, or at most, the bound."""

    metric: str
    at_least: bool
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """Parse a constraint such as ``accuracy >= 0.9`` or ``cut_size <= 0.2``.

        Raises:
            ValueError: anything else.
        """
        match = _CONSTRAINT.fullmatch(text)
        try:
            if match is None or not math.isfinite(float(match[3])):
                raise ValueError
            return cls(match[1], match[2] == ">=", float(match[3]))
        except ValueError:
            raise ValueError(f"constraint {text!r} must read like 'accuracy >= 0.9' or 'cut_size <= 0.2'") from None

    def met(self, value: Any) -> Any:
        """Whether a value meets it, or which values of an array do."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Problem:
    """A search problem: space, objectives and constraints.

    Attributes:
        space: a dimension a coefficient: ``{"low": 0.01, "high": 10.0, "log": True, "integer": False}``, or
            ``{"choices": ["sgd", "adamw"]}``. With ``"zero": True`` a logarithmic one has 0 as well
            (:mod:`orchestrator.search.dimension`). With ``"where": {"method": "moda"}`` it is conditional: active where
            the dimension ``method``, one of choices, has this value, and elsewhere no coefficient at all.
        free: what is chosen after training and costs none: a grid each, ``{"tau": [...], "threshold": [...]}``, or
            several such mappings where there are several ways to choose.
        objectives: metric -> "max" or "min".
        constraints: conditions on metrics in their own units, each like ``accuracy >= 0.9``.
        reference: metric -> value of the hypervolume's reference point, in the metric's own units; derived from the
            data where there is none.
        scales: metric -> "log" or "linear"; linear where it says nothing. Hypervolumes and models are on these scales.
        targets: metric -> the free parameter that is a target for it: a choice of such a grid comes as near to that
            value as it can.
        shares: the metrics that are shares of what is right, 1 at best. Models compare them by what is missing to 1.
        fixed: coefficients that are not searched, and their values.
        experience: pools of other trainings that are known beforehand (:mod:`orchestrator.search.experience`).
        seed: of every random draw.

    Raises:
        ValueError: an empty space, choices that are not all different, a constraint that cannot be read, a condition on
            what is no such choice, or a dimension with the name of another column of a history's tables.
    """

    space: Mapping[str, Mapping[str, Any]]
    free: Grid | Sequence[Grid]
    objectives: Mapping[str, str]
    constraints: Sequence[str] = ()
    reference: Mapping[str, float | None] | None = None
    scales: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)
    shares: Collection[str] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    experience: Sequence[str] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.space:
            raise ValueError("space is empty; name at least one coefficient")
        metrics = [*self.objectives, *(Constraint.parse(text).metric for text in self.constraints)]
        for name, dimension in self.space.items():
            if name in (*TRIAL_COLUMNS, *self.free_names, *metrics):
                raise ValueError(f"space: {name!r} is the name of another column of a history's tables; rename it")
            choices = list(dimension.get("choices") or ())
            if any(value in choices[:place] for place, value in enumerate(choices)):
                raise ValueError(f"space: the choices of {name!r} must all be different: {choices}")
            for other, value in (dimension.get("where") or {}).items():
                if other not in self._conditioning or value not in (self.space[other].get("choices") or ()):
                    raise ValueError(f"space: {name!r} is active where {other} is {value!r}, which is no choice of it")

    @property
    def directions(self) -> list[str]:
        """The directions of the objectives, in order."""
        return list(self.objectives.values())

    def scales_of(self, metrics: Iterable[str]) -> list[str]:
        """Return the scales of metrics, in order."""
        return [self.scales.get(name, LINEAR) for name in metrics]

    @property
    def reference_values(self) -> list[float | None]:
        """The values of the reference point, in the order of the objectives; None where there is none."""
        return [(self.reference or {}).get(name) for name in self.objectives]

    @property
    def grids(self) -> list[Grid]:
        """The free grids, one for each rule."""
        return [self.free] if isinstance(self.free, Mapping) else list(self.free)

    @property
    def free_names(self) -> list[str]:
        """The names of the parameters of all grids."""
        return list(dict.fromkeys(name for grid in self.grids for name in grid))

    @property
    def choices(self) -> list[dict[str, float | None]]:
        """Every free choice, all names in each; None where a way to choose does not know the name."""
        return self._choices_of(self.grids)

    @property
    def surface_choices(self) -> list[dict[str, float | None]]:
        """The free choices that a surface is made of: those that aim at targets for an objective, where there are any,
        and otherwise all."""
        aiming = [grid for grid in self.grids if set(grid) & set(self.targeted_objectives.values())]
        return self._choices_of(aiming or self.grids)

    @property
    def targeted_objectives(self) -> dict[str, str]:
        """The objectives that a free parameter is a target for, each with this parameter."""
        names = self.free_names
        return {
            metric: parameter
            for metric, parameter in self.targets.items()
            if metric in self.objectives and parameter in names
        }

    def _choices_of(self, grids: Iterable[Grid]) -> list[dict[str, float | None]]:
        nothing = dict.fromkeys(self.free_names)
        return [
            {**nothing, **dict(zip(grid, values, strict=True))}
            for grid in grids
            for values in itertools.product(*grid.values())
        ]

    @property
    def is_conditional(self) -> bool:
        """Whether some dimensions are active for some values of another one only."""
        return any(dimension.get("where") for dimension in self.space.values())

    def active(self, coefficients: Mapping[str, Any]) -> Coefficients:
        """Return the coefficients of the dimensions that are active with them."""
        return {
            name: value
            for name, value in coefficients.items()
            if name in self.space and self._is_active(name, coefficients)
        }

    @property
    def size(self) -> float:
        """How many sets of coefficients the space contains; infinite with a dimension of real numbers."""
        return sum(_size(branch) for branch in self._branches)

    def nth(self, index: int) -> Coefficients:
        """Return set ``index`` (from 0) of a space of finite size."""
        for branch in self._branches:
            if index < (size := int(_size(branch))):
                return _nth(branch, index)
            index -= size
        raise IndexError(index)

    def key(self, coefficients: Mapping[str, Any]) -> Hashable | None:
        """Return a key that distinguishes a set of coefficients from all others of the space; None if it is outside.

        What is said of dimensions that are not active makes no difference.
        """
        key = [
            dimensions.place(dimension, coefficients.get(name)) if self._is_active(name, coefficients) else INACTIVE
            for name, dimension in self.space.items()
        ]
        return None if None in key else tuple(key)

    def from_unit(self, unit: Sequence[float]) -> Coefficients:
        """Return the coefficients at a point of the unit cube, with dimensions in the order of the space; of those that
        are not active none, wherever the point is in them.
        """
        place = dict(zip(self.space, unit, strict=True))
        chosen = {name: dimensions.from_unit(self.space[name], place[name]) for name in self._conditioning}
        return {
            name: dimensions.from_unit(dimension, place[name])
            for name, dimension in self.space.items()
            if self._is_active(name, chosen)
        }

    def to_unit(self, coefficients: Mapping[str, Any]) -> list[float] | None:
        """Return the point of the unit cube, NaN in dimensions that are not active; None if coefficients of active ones
        are missing or outside the space.
        """
        unit = [
            dimensions.to_unit(dimension, coefficients.get(name)) if self._is_active(name, coefficients) else math.nan
            for name, dimension in self.space.items()
        ]
        return None if any(value is None for value in unit) else [value for value in unit if value is not None]

    def to_nearest_unit(self, coefficients: Mapping[str, Any]) -> list[float] | None:
        """Return the point of the unit cube that stands for coefficients in a model: as :meth:`to_unit`, but a 0 that a
        logarithmic dimension does not have lies at its low end, since a term of the least weight does about nothing.
        """
        lows = {
            name: dimension["low"]
            for name, dimension in self.space.items()
            if dimension.get("log") and not dimension.get("zero") and coefficients.get(name) == 0
        }
        return self.to_unit({**coefficients, **lows})

    @property
    def _conditioning(self) -> list[str]:
        """The dimensions whose values decide which others are active; they are always active themselves."""
        others = dict.fromkeys(name for dimension in self.space.values() for name in dimension.get("where") or ())
        return [name for name in others if name in self.space and not self.space[name].get("where")]

    def _is_active(self, name: str, coefficients: Mapping[str, Any]) -> bool:
        condition = self.space[name].get("where") or {}
        return all(coefficients.get(other) == value for other, value in condition.items())

    @property
    def _branches(self) -> Iterator[Mapping[str, Mapping[str, Any]]]:
        """The active dimensions for each value of those that decide it, which have this value alone."""
        names = self._conditioning
        for values in itertools.product(*(self.space[name]["choices"] for name in names)):
            chosen = dict(zip(names, values, strict=True))
            fixed = {name: {"choices": [value]} for name, value in chosen.items()}
            yield {
                name: fixed.get(name, dimension)
                for name, dimension in self.space.items()
                if self._is_active(name, chosen)
            }


def _size(space: Mapping[str, Mapping[str, Any]]) -> float:
    return math.prod(dimensions.count(dimension) for dimension in space.values())


def _nth(space: Mapping[str, Mapping[str, Any]], index: int) -> Coefficients:
    coefficients = {}
    for name, dimension in space.items():
        index, place = divmod(index, int(dimensions.count(dimension)))
        coefficients[name] = dimensions.nth(dimension, place)
    return coefficients


@dataclass(frozen=True)
class History:
    """The trials and points that a searcher knows, as Arrow tables.

    Attributes:
        trials: trial_id, number, status, reason, and a column for each coefficient. Numbers below 0 are of trials of
            earlier sweeps (a warm start). A stopped one did not fail: others were better early in their training, and
            nothing else is known of it.
        points: validation points of finished trials: trial_id, and a column for each coefficient, free parameter and
            metric, by their names.
        trained: the keys of the sets of coefficients that are trained or in training and not proposed again; None for
            those of the trials from number 0 on and of what is pending.
    """

    trials: pa.Table = field(default_factory=lambda: pa.table({}))
    points: pa.Table = field(default_factory=lambda: pa.table({}))
    trained: Collection[Hashable] | None = None


class Searcher(Protocol):
    """A searcher proposes trials. It has no state: the same arguments give the same coefficients.

    Attributes:
        learns: whether it looks at trials and points. For one that does not they need not be read.
    """

    learns: ClassVar[bool]

    def propose(self, history: History, pending: Sequence[Mapping[str, Any]], number: int) -> Coefficients:
        """Propose the coefficients of trial ``number`` (from 0), given the finished and the pending trials; never those
        of a trial that was begun.

        Raises:
            SpaceExhausted: every set of coefficients of the space is trained or in training.
        """
        ...
