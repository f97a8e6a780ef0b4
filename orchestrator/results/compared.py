"""A published number beside what was measured."""

import statistics
from dataclasses import dataclass

from orchestrator.config import PublishedRow
from orchestrator.results.points import deviation


@dataclass(frozen=True)
class Compared:
    """A published number, and what trainings with different seeds give.

    Attributes:
        row: what it is published of.
        name: a metric, a term of the loss, or ``hours``.
        published: a share as a fraction.
        measured: one for each seed.
    """

    row: PublishedRow
    name: str
    published: float
    measured: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.measured)

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds; None for one seed."""
        return deviation(self.measured) if len(self.measured) > 1 else None
