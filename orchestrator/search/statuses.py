"""The states of a trial, as the event log calls them and as a searcher is told them."""

from enum import StrEnum


class Status(StrEnum):
    """The state of a trial: the event that counts. Of one attempt the later one counts, in this order."""

    PROPOSED = "proposed"
    STARTED = "started"
    FAILED = "failed"
    DIVERGED = "diverged"
    STOPPED = "stopped"
    FINISHED = "finished"

    @property
    def is_over(self) -> bool:
        """Whether running such a trial again would tell nothing new."""
        return self in (Status.FINISHED, Status.DIVERGED, Status.STOPPED)
