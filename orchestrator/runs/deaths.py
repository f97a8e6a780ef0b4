"""Trials whose process ends without a word: why, on one line, and an event that says so."""

from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial

from orchestrator.runs.proposals import Proposals
from orchestrator.runs.reasons import DIED, last_line, reason_text
from orchestrator.views import Progress


class Deaths(Callback):
    """Records trials that Tune has given up, and says which ones it starts again; as a Tune callback.

    Args:
        proposals: of the sweep.
        progress: what a person sees of it.
    """

    def __init__(self, proposals: Proposals, progress: Progress) -> None:
        self._proposals, self._progress = proposals, progress

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that is never made."""
        return {}

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Say that a trial starts again."""
        self._progress.say_restart(trial, why_died(trial))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Record that a trial failed for the last time."""
        self._proposals.died(**trial.config, reason=why_died(trial))


def why_died(trial: TuneTrial) -> str:
    """Return on one line why Tune found a trial dead last."""
    if trial.pickled_error_file is not None:  # which Tune has written just now, into a folder of this process
        with Path(trial.pickled_error_file).open("rb") as stream:
            return reason_text(cloudpickle.load(stream))
    if trial.error_file is not None:
        return last_line(Path(trial.error_file).read_text())
    return DIED
