"""A trial as a run starts it: shown in W&B where its configuration asks for that."""

from orchestrator.config import to_plain
from orchestrator.results import Tracker
from orchestrator.tracking import make_tracker
from orchestrator.training import Report, Trial, Workers, run_trial
from orchestrator.training.data import Data


def run_tracked(trial: Trial, data: Data, *, report: Report, workers: Workers | None = None) -> None:
    """Run a trial to its end, as :func:`~orchestrator.training.trial.run_trial` does, with a run of its own in W&B."""

    def track() -> Tracker:
        return make_tracker(
            trial.config.tracking,
            trial.root,
            run_id=trial.trial_id,
            sweep_id=trial.sweep_id,
            job_type="trial",
            config={**to_plain(trial.config), "trial": trial.number, "coefficients": dict(trial.coefficients)},
        )

    run_trial(trial, data, report=report, track=track, workers=workers)
