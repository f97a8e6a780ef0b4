"""A trial as a run starts it: shown in W&B where its configuration asks for that."""

from orchestrator.batches import Workers
from orchestrator.config import to_plain
from orchestrator.data import Data
from orchestrator.tracker import Tracker
from orchestrator.tracking import make_tracker
from orchestrator.trial import Report, Trial, run_trial


def run_tracked(trial: Trial, data: Data, *, report: Report, workers: Workers | None = None) -> None:
    """Run a trial to its end, as :func:`~orchestrator.trial.run_trial` does, with a run of its own in W&B."""

    def track() -> Tracker:
        return make_tracker(
            trial.config.tracking,
            trial.root,
            run_id=trial.trial_id,
            sweep_id=trial.sweep_id,
            job_type="trial",
            config=to_plain(trial.config),
        )

    run_trial(trial, data, report=report, track=track, workers=workers)
