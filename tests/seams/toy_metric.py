"""Metrics that nobody edited the packages for: the units of the first layer that a class keeps, and two that fail."""

import dataclasses
from typing import ClassVar

from orchestrator.declarations import Metric
from orchestrator.training import Measured


class FirstUnits:
    """Units of the first unit layer that a class keeps, mean over classes."""

    declaration: ClassVar[Metric] = Metric(
        "first_units",
        "first layer",
        kind="amount",
        direction="min",
        short="first",
        unit="units",
        reference=64.0,
    )

    def measure(self, point: Measured) -> float:
        """The mean of the first mask's sums over classes."""
        return float(point.masks[0].sum(1).double().mean())


class Undefined(FirstUnits):
    """What it measures is no number."""

    def measure(self, point: Measured) -> float:
        """NaN."""
        return float("nan")


class Adrift(FirstUnits):
    """Its reference value would follow from what is no metric."""

    declaration: ClassVar[Metric] = dataclasses.replace(FirstUnits.declaration, baseline="first_unit")
