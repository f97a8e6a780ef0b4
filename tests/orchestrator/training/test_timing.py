"""What a training will take and write, before it is trained."""

from datetime import UTC, datetime
from itertools import count

from orchestrator.results.records import claim_sweep
from orchestrator.runs.planning import Plan
from orchestrator.storage import DeltaStore, Files
from orchestrator.training.data import load_data
from orchestrator.training.timing import Timing, time_training
from orchestrator.training.trial import Trial, run_trial

SMALL = ("training.epochs=2", "data.limit=200", "evaluation.taus=[0.9]", "evaluation.targets=[0.1]", "sweep.name=s")


def test_bytes_are_those_that_a_trial_leaves_and_steps_those_that_it_takes(configured, tmp_path):
    config = configured(*SMALL)
    data, root = load_data(config.data), str(tmp_path / "storage")
    ticks = count()
    timing = time_training(config, data, clock=lambda: float(next(ticks)))
    assert timing.steps == 2 * 3  # 160 images in batches of 64
    assert timing.step_seconds == 1.0  # between two looks at the clock
    claim_sweep(DeltaStore(root), config, prefix="x", now=datetime(2026, 1, 2, tzinfo=UTC))
    run_trial(Trial("s", 0, {}, config, root), data, report=lambda _: None)
    assert timing.kept_bytes == sum(file.bytes for file in Files(root).under("trials/s-0000"))
    assert timing.weights_bytes == Files(root).size("trials/s-0000/weights.safetensors")


def test_a_plan_counts_rounds_of_trials_at_once():
    timing = Timing(
        steps=10, step_seconds=0.5, after_seconds=3.0, kept_bytes=100, checkpoint_bytes=70, weights_bytes=60
    )
    plan = Plan("s", 7, 2, 1, 2, timing, has_step_after=False, choices=0, uploads=True, storage="x", data=())
    assert plan.missing == 5
    assert plan.seconds == 3 * (5.0 + 3.0) + 3.0
    assert (plan.kept_bytes, plan.running_bytes, plan.upload_bytes) == (500, 140, 120)
