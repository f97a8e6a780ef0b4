"""Epochs as a trial reports them to Ray: the first one, the last one, and as many others as take little time."""

from collections.abc import Callable
from typing import Any

from orchestrator.training import Pace, Report


def paced(report: Report, *, agreed: Callable[[bool], bool] = bool) -> Report:
    """Return a report that leaves out epochs, since each one that it passes on waits for the driver.

    Args:
        report: what an epoch is passed on to.
        agreed: makes one decision of those of all workers, each of which must report the same epochs.
    """
    pace = Pace()

    def report_some(metrics: dict[str, Any]) -> None:
        is_last = metrics["epoch"] == metrics["epochs"]
        if agreed(is_last or pace.is_due):
            with pace.timed():
                report(metrics)

    return report_some
