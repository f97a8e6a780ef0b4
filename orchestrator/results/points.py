"""Trials and points as the tables tell them."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.config import Choice
from orchestrator.declarations import CUT, SEPARATE
from orchestrator.search import Coefficients, Status
from orchestrator.storage import set_name

POINT_NAME = "trial/tau/threshold, trial/size/target or trial/level"  # how Point.label reads


@dataclass(frozen=True)
class TrialState:
    """The state of a trial according to its events."""

    trial_id: str
    number: int
    coefficients: Coefficients
    status: Status
    attempt: int
    reason: str | None
    seconds: float | None
    evaluation_seconds: float | None

    @property
    def is_over(self) -> bool:
        """Whether the trial need not run again: it finished, its loss diverged, or it was stopped early."""
        return self.status.is_over

    @property
    def is_finished(self) -> bool:
        """Whether the trial has points."""
        return self.status == Status.FINISHED

    @property
    def rank(self) -> tuple[bool, bool, int, int]:
        """Which of the states that events give a trial counts: the highest. What is over stays over, whatever a late
        second attempt adds; else the last attempt counts. Two drivers at once may judge a trial differently at a rung:
        a finished one has its points.
        """
        return self.is_over, self.is_finished, self.attempt, list(Status).index(self.status)


@dataclass(frozen=True)
class Point:
    """A point of a sweep: a trial and the choice made after training. ``test`` is None if it was not measured on the
    test images, and ``metrics`` is empty if there were no validation images. ``bias`` is what is added to each class's
    logit, by class; None where no bias is kept. ``stage`` is ``cut``, ``refit``, ``tuned`` or
    ``separate``.

    With ``search.repeats`` the metrics are means over the points ``over``, one of each seed, and the trial is the one
    nearest to them.
    """

    trial: TrialState
    choice: Choice
    metrics: dict[str, float]
    test: dict[str, float] | None
    bias: tuple[float, ...] | None = None
    stage: str = CUT
    over: tuple["Point", ...] = ()

    @property
    def singles(self) -> tuple["Point", ...]:
        """The points of single trainings over which this point is a mean, or the point itself."""
        return self.over or (self,)

    @property
    def own(self) -> "Point":
        """The point of its trial alone, which is the one that a module set is made of."""
        return next(point for point in self.singles if point.trial.number == self.trial.number)

    def deviation(self, name: str, *, on_test: bool = False) -> float | None:
        """Return the standard deviation of a metric over the seeds; None for a single training."""
        rows = [point.test if on_test else point.metrics for point in self.over]
        return deviation([row[name] for row in rows if row is not None]) if self.over else None

    def error(self, name: str) -> float:
        """Return the standard error of a metric: that of the drawn images, which all seeds share, and of the mean over
        seeds.
        """
        over_seeds = (self.deviation(name) or 0.0) / math.sqrt(max(1, len(self.over)))
        return math.hypot(self.metrics.get(f"{name}_error", 0.0), over_seeds)

    @property
    def label(self) -> str:
        """The name of the point on the command line: trial number, then tau and threshold, the level, or
        ``size`` and the target, or ``gate`` and the share; then the stage, where it is not measured as it was cut."""
        stage = [] if self.stage == CUT else [self.stage]
        return "/".join([str(self.trial.number), self.choice.name, *stage])

    @property
    def set_name(self) -> str:
        """The name of its module set in the storage."""
        chosen = (f"{name}{value:.12g}" for name, value in self.choice.values.items())
        return set_name(self.trial.trial_id, [*self.choice.prefix, *chosen])

    @property
    def why_no_set(self) -> str:
        """A message that says why there is no module set of the point, and what to take; empty where there is one."""
        if self.stage == CUT:
            return ""
        if self.stage == SEPARATE:
            return (
                f"{self.label} is measured beside the front and has no module set, because it is a separate network"
                f" for each class, with a head of its own; take {self.trial.number}/{self.choice.name}, which is one"
                " network with the same masks"
            )
        return (
            f"{self.label} is measured beside the front and has no module set, because its networks are made for each"
            f" class subset anew; take {self.trial.number}/{self.choice.name}, as it was cut"
        )


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of the population that the values were drawn from; 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0
