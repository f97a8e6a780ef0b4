"""How often something is done that costs time, and that need not be done after every epoch."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHARE = 0.02  # of the time, at most


class Pace:
    """Says when something is due again: so seldom that it takes no more than ``SHARE`` of the time.

    What takes 10 ms is due every half second, so it is due after each epoch that is longer.

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
        self._due = started + (self._clock() - started) / SHARE
