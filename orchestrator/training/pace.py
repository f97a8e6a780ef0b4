"""How often a trial saves its state and says how far it is, which takes time and need not be after every epoch."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHARE = 0.01  # of the time
LONGEST = 60.0  # seconds without, however long it takes


class Pace:
    """Says when something is due again: so seldom that it takes ``SHARE`` of the time, but every minute at least.

    What takes 10 ms is due every second, so it is due after each epoch that is longer.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._due = clock()

    @property
    def is_due(self) -> bool:
        """Whether it is due, as it is at first."""
        return self._clock() >= self._due

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Do it within the context, from whose length follows when it is due again."""
        started = self._clock()
        yield
        ended = self._clock()
        self._due = min(started + (ended - started) / SHARE, ended + LONGEST)
