"""A sweep's own run in W&B: numbers and the front while it runs, and all that it has found at its end."""

import dataclasses
import time
from collections.abc import Callable, Sequence

from orchestrator.config import Config
from orchestrator.results import Sweep
from orchestrator.tracking import FINISH_SECONDS, ModuleArtifact, make_tracker
from orchestrator.views.pairs import objectives_figure
from orchestrator.views.wandb_front import (
    front_columns,
    front_rows,
    front_summary,
    roles_summary,
    runs_figure,
    shown_metric_names,
    sweep_numbers,
)

UPLOAD_RATE = 1e6  # bytes a second: how slowly module sets may be uploaded before the sweep ends without them
FRONT_SECONDS = 30.0  # between two uploads of a front that has changed


class SweepRun:
    """A sweep's run, which begins at once. A failure of W&B does not fail the sweep.

    Args:
        config: of the sweep.
        root: the storage.
        sweep_id: of the sweep, and the id of its run.
        upload_bytes: how large the module sets may be that are uploaded at its end.
        clock: seconds.
    """

    def __init__(
        self,
        config: Config,
        root: str,
        sweep_id: str,
        *,
        upload_bytes: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracker = make_tracker(
            config.tracking,
            root,
            run_id=sweep_id,
            sweep_id=sweep_id,
            job_type="sweep",
            config=dataclasses.asdict(config.search),
            finish_seconds=FINISH_SECONDS + upload_bytes / UPLOAD_RATE,
            axis="trials",
        )
        self._clock = clock
        self._sweep: Sweep | None = None
        self._shown_front: list[str] = []
        self._shown_at = float("-inf")

    @property
    def where(self) -> str:
        """Where people find it, once it has ended: an address, or the command that uploads it; empty where there is
        none."""
        return self._tracker.where

    def update(self, sweep: Sweep) -> None:
        """Show how a sweep stands after a trial has ended."""
        self._sweep = sweep
        numbers = sweep_numbers(sweep)
        self._tracker.log(numbers, step=numbers["trials"])
        labels = [point.label for point in sweep.front]
        if labels != self._shown_front and self._clock() - self._shown_at > FRONT_SECONDS:
            self._show_front(sweep)

    def stop(self, status: str) -> None:
        """End the run of a sweep that was interrupted or has failed with what was last shown."""
        summary = {}
        if self._sweep is not None:
            summary = {**front_summary(self._sweep), **roles_summary(self._sweep)}
            if self._sweep.front:
                self._show_front(self._sweep)
        self._tracker.finish({**summary, "status": status}, failed=True)

    def end(self, sweep: Sweep, artifacts: Sequence[ModuleArtifact]) -> None:
        """End the run of a sweep that is over, with its figures and its published module sets."""
        numbers = sweep_numbers(sweep)
        self._tracker.log(numbers, step=numbers["trials"])
        if sweep.front:
            self._show_front(sweep)
            self._tracker.figure("front_plot", lambda _: objectives_figure(sweep), step=numbers["trials"])
            self._tracker.figure("front_runs", lambda link: runs_figure(sweep, link), step=numbers["trials"])
        for artifact in artifacts:
            self._tracker.artifact(artifact)
        self._tracker.finish({**front_summary(sweep), **roles_summary(sweep), "status": "finished"})

    def _show_front(self, sweep: Sweep) -> None:
        names, step = shown_metric_names(sweep), sweep_numbers(sweep)["trials"]
        columns = front_columns(sweep, names)
        vertical, *_, horizontal = sweep.config.search.objectives
        self._tracker.table("front", columns, lambda link: front_rows(sweep, names, link), step=step)
        self._tracker.chart(
            "front_chart",
            columns,
            lambda link: front_rows(sweep, names, link),
            x=horizontal,
            y=vertical,
            title=f"the front of {sweep.sweep_id}",
            step=step,
        )
        self._shown_front, self._shown_at = [point.label for point in sweep.front], self._clock()
