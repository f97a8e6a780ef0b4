"""Ray Tune runs the trials that a sweep's tables say are missing."""

import logging
import os
import time
from collections.abc import Callable
from typing import Any, cast

import ray
from ray import tune
from ray.air._internal import usage as air_usage
from ray.tune import Callback, PlacementGroupFactory, TuneError
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher as TuneSearcher

from orchestrator.config import TrainingConfig
from orchestrator.errors import RunError, listed
from orchestrator.runs.capacity import held_trials, nodes_of_cluster
from orchestrator.runs.deaths import Deaths
from orchestrator.runs.growth import LOOK_SECONDS, Growth
from orchestrator.runs.interrupts import Interrupt, stopping_tune
from orchestrator.runs.lease import Lease
from orchestrator.runs.proposals import Proposals
from orchestrator.runs.scratch import scratch_folder
from orchestrator.runs.shared_storage import SharedStorage
from orchestrator.runs.time_limit import TimeLimit
from orchestrator.runs.tracked import run_tracked
from orchestrator.runs.waiting import Waiting
from orchestrator.search import SpaceExhausted, Status
from orchestrator.training import Trial
from orchestrator.training.data import Data
from orchestrator.views import Progress

SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV and TensorBoard files beside the tables
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # trials find what the network's code reads from the working folder
    "RAY_AIR_NEW_OUTPUT": "0",  # no banner: the display is ours
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # no tracebacks: what dies is told on one line
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # nor of trials that die while the sweep ends
    "TUNE_MAX_PENDING_TRIALS_PG": "16",  # as many processes start beside each other
}


def run_trials(
    proposals: Proposals,
    data: "ray.ObjectRef[Data]",
    storage: SharedStorage,
    lease: Lease,
    progress: Progress,
    *,
    may_grow: bool,
) -> None:
    """Train the trials of a sweep that are missing.

    Args:
        proposals: of the sweep.
        data: in the object store, so that a node loads it once.
        storage: as all trials must see it.
        lease: of the sweep.
        progress: what a person sees of it.
        may_grow: whether the cluster may get more nodes.

    Raises:
        KeyboardInterrupt: somebody has interrupted it.
        RunError: it ended before all trials were over, or another driver has taken it over.
    """
    config, sweep_id, training = proposals.config, proposals.sweep_id, proposals.config.training

    def trainable(given: dict[str, Any]) -> None:
        coefficients = dict(given["coefficients"])
        of_trial = config.for_trial(given["number"], coefficients)
        trial = Trial(sweep_id, given["number"], coefficients, of_trial, config.storage)
        storage.check_proposed(trial)
        if training.num_workers > 1:
            from orchestrator.runs.workers import train_on_workers

            train_on_workers(trial, data, storage, in_tune=True)
        else:
            run_tracked(trial, ray.get(data), report=tune.report)

    os.environ.update(SETTINGS)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what it has to say is said by Deaths and below
    with scratch_folder("tune") as scratch, stopping_tune() as interrupt:
        _keep_keys_of_stores()
        air_usage.tag_callbacks = _count_no_callbacks
        adapter = _TuneAdapter(proposals, TimeLimit(config.sweep.hours))
        callbacks: list[Callback] = [_Leased(lease), Deaths(proposals, progress), Waiting(config, progress.say)]
        callbacks += [progress, adapter.waiting, *([Growth(proposals)] if may_grow else [])]
        tuner = tune.Tuner(
            tune.with_resources(trainable, _resources(training)),
            tune_config=tune.TuneConfig(
                search_alg=adapter,
                num_samples=proposals.missing,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=sweep_id,
                storage_path=scratch,
                verbose=0,
                callbacks=callbacks,
                failure_config=tune.FailureConfig(max_failures=training.max_failures),
            ),
        )
        try:
            tuner.fit()
        except KeyboardInterrupt:  # what SIGTERM raised may have become a plain one on its way through Tune
            interrupt.check()
            raise
        except TuneError as error:  # what was raised in this process while Tune ran
            raise error.__cause__ or error from error
    _check_over(proposals, interrupt)


def _keep_keys_of_stores() -> None:
    """Tune copies keys of object stores from the driver's environment to that of each trial, and Ray's agents log it.
    Nodes have the keys in their own environment, or the job has, which trials inherit."""
    kept = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")}
    class_cache.ENV_VARS_TO_PROPAGATE = kept


def _count_no_callbacks(callbacks: Any) -> bool:
    """Ray's statistics count kinds of callbacks, for which Tune imports W&B's client, whatever tracks the sweep: that
    takes a while, and leaves temporary folders where the process is killed."""
    return False


def _resources(training: TrainingConfig) -> PlacementGroupFactory:
    if training.num_workers > 1:
        # The trial itself only waits for its workers, which are Train's and not Tune's. A sliver of the head node
        # keeps it from taking the CPU that they need.
        return PlacementGroupFactory([{"node:__internal_head__": 0.001}])
    return PlacementGroupFactory([{"CPU": training.cpus_per_worker, "GPU": training.gpus_per_worker}])


def _check_over(proposals: Proposals, interrupt: Interrupt) -> None:
    """Tune ends in good order when it is interrupted, and does not say so; nor that it has ended for another reason."""
    not_begun = {trial.number for trial in proposals.again}  # here, where the time was over before
    trials = [trial for trial in proposals.sweep().trials if trial.number not in not_begun]
    asked_for = [trial for trial in trials if trial.number < proposals.budget]
    in_flight = [trial for trial in asked_for if trial.status in (Status.PROPOSED, Status.STARTED)]
    not_proposed = proposals.budget - len(asked_for) - len(not_begun)
    if not not_proposed and not in_flight:
        return
    interrupt.check()
    states = [f"trial {trial.number} is {trial.status}" for trial in in_flight]
    states += [f"{not_proposed} trials were not proposed"] if not_proposed else []
    raise RunError(
        f"Ray Tune has ended, but according to the tables of {proposals.config.storage!r} the sweep is not over:"
        f" {listed(states)}; see that nothing else writes to this storage, and run the same command again"
    )


class _TuneAdapter(TuneSearcher):
    """Our proposals in Ray Tune's terms. Tune's own metrics play no part, and nothing of it is ever restored.

    As many trials are given at once as the cluster holds, which is looked up again and again, since it may grow and
    shrink. Where other programs hold a part of it, no more than one trial waits for them, since a proposal is better
    the later it is made. One trial is always given, however few nodes there are: an autoscaler starts one for it.
    """

    def __init__(self, proposals: Proposals, limit: TimeLimit, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._proposals, self._limit_of_time, self._clock = proposals, limit, clock
        self._given: dict[str, dict[str, Any]] = {}
        self.waiting = _NotStarted()
        self._held, self._free, self._looked = 1, 0, float("-inf")

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self._limit_of_time.is_over:
            begun, asked = self._proposals.next_number, self._proposals.config.sweep
            self._proposals.stop(
                f"sweep.hours={asked.hours:g}: the time is over, and {begun} of {asked.trials} trials were begun; the"
                " same command goes on, with as many hours again"
            )
            return cast(dict[str, Any], self.FINISHED)
        self._look()
        if len(self._given) >= self._held or (self.waiting.trials and self._free < 1):
            return None  # Tune asks again
        try:
            number, coefficients = self._proposals.next()
        except SpaceExhausted:
            return cast(dict[str, Any], self.FINISHED)  # a string that Tune knows
        self._given[trial_id] = {"number": number, "coefficients": coefficients}
        self.waiting.trials.add(trial_id)
        self._free -= 1
        return self._given[trial_id]

    def _look(self) -> None:
        if self._clock() - self._looked > LOOK_SECONDS:
            self._looked = self._clock()
            config, nodes = self._proposals.config, nodes_of_cluster()
            self._held = max(1, held_trials(config, nodes))
            self._free = held_trials(config, nodes, free=True)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.waiting.trials.discard(trial_id)  # one that died on its way
        self._proposals.over(**self._given.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the tables hold the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the tables hold the state."""


class _NotStarted(Callback):
    """The trials that Tune was given and that have no process yet, or have lost it, as a Tune callback."""

    def __init__(self) -> None:
        self.trials: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that is never made."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note that a trial started."""
        self.trials.discard(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Note that a trial starts again, before any that is proposed later."""
        self.trials.add(trial.trial_id)


class _Leased(Callback):
    """Ends a sweep that another driver has taken over, as a Tune callback."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that is never made."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Look whether the lease is still held."""
        self._lease.check()
