"""The time after which a command begins no further trial: ``sweep.hours``."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

SECONDS = 3600.0


@dataclass
class TimeLimit:
    """Runs from when it is made: each command has its hours for itself, also one that resumes a sweep.

    Attributes:
        hours: ``sweep.hours``; None for no limit.
        clock: seconds.
    """

    hours: float | None
    clock: Callable[[], float] = time.monotonic
    _begun: float = field(init=False)

    def __post_init__(self) -> None:
        self._begun = self.clock()

    @property
    def is_over(self) -> bool:
        """Whether no further trial is begun."""
        return self.hours is not None and self.clock() - self._begun >= SECONDS * self.hours
