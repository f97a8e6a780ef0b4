"""One dimension of a search space: how many values it has, which they are, and where they lie in the unit interval.

A dimension is a mapping, as :class:`~orchestrator.search.problem.Problem` states it: ``choices``, or ``low`` and
``high`` with ``log``, ``integer`` and ``zero``.

A logarithmic dimension of real numbers may have a zero of its own. It has the first ``ZERO_SHARE`` of the unit
interval, so that much of what is drawn evenly is 0, and lies at its start: below ``low`` by a quarter of the length
that the axis from ``low`` to ``high`` has. For a model that measures distances in the unit interval that is one step.
"""

import math
from collections.abc import Hashable, Mapping
from numbers import Real
from typing import Any

Dimension = Mapping[str, Any]

ZERO_SHARE = 0.2


def count(dimension: Dimension) -> float:
    """How many values a dimension has; infinite for real numbers."""
    if choices := dimension.get("choices"):
        return len(choices)
    low, high = dimension["low"], dimension["high"]
    if dimension.get("integer") or low == high:
        return int(high) - int(low) + 1 + bool(dimension.get("zero"))
    return math.inf


def nth(dimension: Dimension, index: int) -> Any:
    """Value ``index`` (from 0) of a dimension with finitely many values."""
    if choices := dimension.get("choices"):
        return choices[index]
    if dimension.get("zero"):
        return [0.0, float(dimension["low"])][index]
    return int(dimension["low"]) + index if dimension.get("integer") else float(dimension["low"])


def place(dimension: Dimension, value: Any) -> Hashable | None:
    """What tells a value from all others of its dimension, however its number is typed; None where it is not in it."""
    if choices := dimension.get("choices"):
        return list(choices).index(value) if value in choices else None
    if _is_zero(dimension, value):
        return 0.0
    inside = isinstance(value, Real) and dimension["low"] <= value <= dimension["high"]
    return value if inside and not (dimension.get("integer") and value % 1) else None


def nearest(dimension: Dimension, value: float) -> float:
    """The value of a dimension of real numbers that is nearest to a number: itself, its own zero, or an end."""
    if _is_zero(dimension, value):
        return 0.0
    return min(max(float(value), float(dimension["low"])), float(dimension["high"]))


def log_length(dimension: Dimension) -> float | None:
    """The natural logarithm of the ratio that one side of the unit interval stands for; None where equal distances are
    not equal ratios."""
    if dimension.get("choices") or dimension.get("integer") or not dimension.get("log"):
        return None
    whole = math.log(dimension["high"] / dimension["low"])
    return whole / (1 - ZERO_SHARE) if dimension.get("zero") else whole


def from_unit(dimension: Dimension, unit: float) -> Any:
    """The value at a point of the unit interval."""
    if choices := dimension.get("choices"):
        return choices[min(int(unit * len(choices)), len(choices) - 1)]
    low, high = _ends(dimension)
    if dimension.get("zero"):
        if unit < ZERO_SHARE:
            return 0.0
        unit = (unit - ZERO_SHARE) / (1 - ZERO_SHARE)
    point = low * (high / low) ** unit if dimension.get("log") else low + (high - low) * unit
    if dimension.get("integer"):
        return int(min(max(round(point), dimension["low"]), dimension["high"]))
    return min(max(point, low), high)


def to_unit(dimension: Dimension, value: Any) -> float | None:
    """The point of the unit interval where a value lies; None where it is missing or outside."""
    if choices := dimension.get("choices"):
        return (list(choices).index(value) + 0.5) / len(choices) if value in choices else None
    if _is_zero(dimension, value):
        return 0.0
    if value is None or not dimension["low"] <= value <= dimension["high"]:
        return None
    low, high = _ends(dimension)
    log = dimension.get("log")
    part, whole = (math.log(value / low), math.log(high / low)) if log else (value - low, high - low)
    unit = part / whole if whole > 0 else 0.5
    return ZERO_SHARE + (1 - ZERO_SHARE) * unit if dimension.get("zero") else unit


def _is_zero(dimension: Dimension, value: Any) -> bool:
    """Whether a value is the zero that a dimension has of its own."""
    return bool(dimension.get("zero")) and isinstance(value, Real) and value == 0


def _ends(dimension: Dimension) -> tuple[float, float]:
    low, high = float(dimension["low"]), float(dimension["high"])
    # Of whole numbers every one has its share of the interval, the ends too.
    return (low - 0.5, high + 0.5) if dimension.get("integer") else (low, high)
