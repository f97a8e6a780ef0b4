"""One trial on several workers: Ray Train starts them, each runs the same trial function."""

import os
from typing import Any

import ray
import torch.distributed as dist
from ray import train
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from orchestrator.errors import RunError
from orchestrator.runs.reasons import reason_text
from orchestrator.runs.scratch import scratch_folder
from orchestrator.runs.shared_storage import SharedStorage
from orchestrator.runs.tracked import run_tracked
from orchestrator.training import Trial, Workers
from orchestrator.training.data import Data


def train_on_workers(trial: Trial, data: "ray.ObjectRef[Data]", storage: SharedStorage, *, in_tune: bool) -> None:
    """Run a trial on ``training.num_workers`` workers.

    Args:
        trial: the trial.
        data: in the object store, so that a node loads it once.
        storage: as all workers must see it.
        in_tune: whether this runs inside a Tune trial, which then gets the reports.

    Raises:
        RunError: a worker failed, or does not see the storage.
    """
    training = trial.config.training
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")  # at its default a report takes two seconds

    def worker(_: dict[str, Any]) -> None:
        def tell(metrics: dict[str, Any]) -> None:
            train.report(metrics)

        storage.check()
        run_tracked(trial, ray.get(data), report=tell, workers=Workers(dist.get_rank(), dist.get_world_size()))

    callbacks: list[Any] = [TuneReportCallback()] if in_tune else []  # type: ignore[no-untyped-call]
    with scratch_folder("train") as scratch:
        trainer = TorchTrainer(
            worker,
            train_loop_config={},
            scaling_config=ScalingConfig(
                num_workers=training.num_workers,
                use_gpu=training.gpus_per_worker > 0,
                resources_per_worker={"CPU": training.cpus_per_worker, "GPU": training.gpus_per_worker},
            ),
            run_config=RunConfig(
                name=trial.trial_id,
                storage_path=scratch,
                callbacks=callbacks,
                failure_config=FailureConfig(max_failures=0 if in_tune else training.max_failures),  # Tune has its own
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise RunError(reason_text(error)) from error
