"""The values of a sweep's reference point that follow from its first standard training, frozen once they are known.

An accuracy counts for the hypervolume if it is at most :data:`~orchestrator.declarations.MARGIN` below that of the
whole network of standard training, with its logits restricted to the classes of a module. Which training that is
depends on which one finishes first, so the values are recorded when one has, and stay the same from then on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from orchestrator.config import Config
from orchestrator.declarations import CUT, MARGIN
from orchestrator.results.points import Point
from orchestrator.search import Coefficients
from orchestrator.storage import ResultStore


@dataclass(frozen=True)
class BaselineReference:
    """Reference values that follow from a standard training.

    Attributes:
        trial_id: the training.
        values: by metric, in the metrics' own units.
    """

    trial_id: str
    values: Mapping[str, float]


def derive_reference(config: Config, points: Sequence[Point], trial_id: str | None = None) -> BaselineReference | None:
    """Return the reference values that follow from the first standard training of a sweep, or from a trial of it.

    Args:
        config: of the sweep.
        points: of the trials that have finished, by number.
        trial_id: the trial; None: the first one whose whole loss is the cross-entropy.

    Returns:
        The values; None where no such training has finished.
    """
    if trial_id is None:
        trials = {point.trial.trial_id: point.trial for point in points}
        trial_id = next((name for name, trial in trials.items() if is_standard(config, trial.coefficients)), None)
    measured = [point.metrics for point in points if point.trial.trial_id == trial_id and point.stage == CUT]
    if trial_id is None or not measured:
        return None
    values = {}
    for name, metric in config.metrics.items():
        # The whole network is measured on the draw of each point: of several draws the largest says most.
        known = [metrics for metrics in measured if metric.baseline in metrics]
        if known:
            largest = max(known, key=lambda metrics: metrics.get("reuse_images", 0.0))
            values[name] = largest[metric.baseline] - MARGIN
    return BaselineReference(trial_id, values)


def recorded_reference(store: ResultStore, sweep_id: str) -> BaselineReference | None:
    """Return the reference values that a sweep has recorded; None where it has not yet."""
    return reference_of_rows(store.read("reference_points", sweep_id).to_pylist())


def reference_of_rows(rows: Sequence[Mapping[str, Any]]) -> BaselineReference | None:
    """Return the reference values that rows of a sweep record, of which there is one at most."""
    return BaselineReference(rows[0]["trial_id"], json.loads(rows[0]["reference_values"])) if rows else None


def record_reference(store: ResultStore, sweep_id: str, reference: BaselineReference, now: datetime) -> None:
    """Record the reference values of a sweep, unless it has some: those recorded first stay."""
    row = {
        "sweep_id": sweep_id,
        "trial_id": reference.trial_id,
        "reference_values": json.dumps(dict(reference.values), sort_keys=True, allow_nan=False),
        "time": now,
    }
    store.append("reference_points", [row])


def is_standard(config: Config, coefficients: Coefficients) -> bool:
    """Whether the whole loss of a trial is the cross-entropy, by what it recorded of its method's coefficients."""
    if config.search.methods:
        return config.with_coefficients(coefficients).method.is_standard
    own = {name: value for name, value in coefficients.items() if name in config.method.coefficients}
    return replace(config.method, coefficients={**config.method.coefficients, **own}).is_standard
