"""Metrics of a user's own: named by import path, declared once, measured beside this package's.

Only what trains imports them. What a metric declares of itself is recorded with the sweep, so that a command that looks
knows its title, unit and direction without its code.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

from torch import Tensor, nn

from moda_core import UnitLayers
from orchestrator.config import COLUMNS, Config, parse_config, to_plain
from orchestrator.declarations import METRICS, Metric
from orchestrator.errors import ConfigError, listed
from orchestrator.training.data import ImageSet
from orchestrator.training.importing import import_named

TAKEN = (*METRICS, *COLUMNS, "split", "stage", "rule", "own", "trial_id", "sweep_id", "number", "status", "reason")


@dataclass(frozen=True)
class Measured:
    """A point while it is measured.

    Attributes:
        network: the trained network, in eval mode.
        layers: its unit layers.
        masks: the units that each class keeps: L boolean tensors of (C, N_l).
        images: of the split that is measured.
    """

    network: nn.Module
    layers: UnitLayers
    masks: Sequence[Tensor]
    images: ImageSet


class OwnMetric(Protocol):
    """A user's own metric: a class that takes no arguments, declares the metric and measures a point."""

    declaration: ClassVar[Metric]

    def measure(self, point: Measured) -> float:
        """The value of a point, within the declaration's bounds."""
        ...


def with_own_metrics(config: Config) -> Config:
    """Fill in what a user's own metrics declare, and with it their scales and reference values where none are stated. A
    configuration without own metrics, or a complete one, is returned unchanged.

    Raises:
        ConfigError: a path that cannot be imported, what is not a metric, or a name that stands for something else.
    """
    paths = list(config.evaluation.metrics)
    if not paths:
        return config
    declared = {path: _own_class(path).declaration for path in paths}
    names = [metric.name for metric in declared.values()]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"evaluation.metrics: {listed(paths)}: several are called {double[0]}; rename one")
    if searched := sorted(set(names) & set(config.search.space)):
        raise ConfigError(f"evaluation.metrics: {searched[0]} is the name of a searched coefficient; rename the metric")
    complete = to_plain(config)
    complete["evaluation"]["metrics"] = {path: dataclasses.asdict(metric) for path, metric in declared.items()}
    return parse_config(complete)


def make_metrics(paths: Sequence[str]) -> dict[str, OwnMetric]:
    """Own metrics by name, ready to measure.

    Raises:
        ConfigError: as :func:`with_own_metrics`.
    """
    kinds = [_own_class(path) for path in paths]
    return {kind.declaration.name: kind() for kind in kinds}


def measure_own(metrics: dict[str, OwnMetric], point: Measured) -> dict[str, float]:
    """The values of own metrics for a point.

    Raises:
        ConfigError: a value that is not a number within the metric's bounds.
    """
    values = {}
    for name, metric in metrics.items():
        value = metric.measure(point)
        low, high = metric.declaration.bounds
        if not (isinstance(value, int | float) and math.isfinite(value) and low <= value <= high):
            raise ConfigError(
                f"evaluation.metrics: {name} of {type(metric).__name__} gave {value!r}; it declares itself a"
                f" {metric.declaration.kind}, within [{low:g}, {high:g}]"
            )
        values[name] = float(value)
    return values


def _own_class(path: str) -> type[OwnMetric]:
    """The class of an import path, if it is a metric."""
    kind, here = import_named("evaluation.metrics", path), f"evaluation.metrics: {path!r}"
    declaration = getattr(kind, "declaration", None)
    if not isinstance(declaration, Metric) or not callable(getattr(kind, "measure", None)):
        raise ConfigError(
            f"{here} is not a metric: a class with declaration=Metric(...) (orchestrator.declarations) and"
            " measure(point)"
        )
    if not declaration.name.isidentifier() or declaration.name in TAKEN:
        raise ConfigError(f"{here}: the name {declaration.name!r} is already in use; choose another")
    if declaration.baseline and declaration.baseline not in METRICS:
        raise ConfigError(
            f"{here}: baseline={declaration.baseline!r} is not a metric from which its reference value could follow;"
            " use reuse_baseline, or declare reference=..."
        )
    return cast(type[OwnMetric], kind)
