"""One training on its own: ``moda train``, and ``moda decompose`` (a training of no epochs)."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from orchestrator.config import Config
from orchestrator.declarations import METRICS
from orchestrator.errors import ConfigError
from orchestrator.results import Sweep, claim_sweep, read_sweep, trial_event, utc_now
from orchestrator.runs.lease import only_driver
from orchestrator.runs.tracked import run_tracked
from orchestrator.search import Status
from orchestrator.storage import DeltaStore, usable_root
from orchestrator.training import (
    Report,
    Trial,
    check_device,
    check_trainable,
    fingerprints,
    loaded_lines,
    measure_on_test,
    stages_lines,
    with_own_parts,
)
from orchestrator.training.data import Data, load_data
from orchestrator.views import losses_text


def train_one(config: Config, console: Console) -> Sweep:
    """Train once (or read a training that has finished) and measure its best point on the test images, or every point
    where there are no validation images to choose by. Returns a sweep of one trial.

    Raises:
        ConfigError: anything that cannot work, before training starts; or a training that diverged.
    """
    if config.training.num_workers > 1:
        from orchestrator.runs.cluster import check_cluster

        check_cluster()
    else:
        check_device(config.training)
    root = usable_root(config.storage)
    config = with_own_parts(config)
    config = config.of_method({})
    search = dataclasses.replace(config.search, space={}, methods={}, baselines=(), repeats=1, early_stopping="none")
    sweep_config = dataclasses.replace(config.sweep, trials=1)
    config = dataclasses.replace(config, storage=root, search=search, sweep=sweep_config)
    data = load_data(config.data)
    check_trainable(config, data)
    for line in (*data.summary, *loaded_lines(config, data)):
        _print(console, line)
    store = DeltaStore(root)
    prefix = "train" if config.training.epochs else "decompose"
    prints = fingerprints(config, data)
    sweep_id = claim_sweep(store, config, prefix=prefix, now=utc_now(), fingerprints=prints)
    trial = Trial(sweep_id, 0, config.method.stated, config, root)
    console.print(f"{sweep_id}  {config.model.name} on {config.data.name}   storage {root}", markup=False)
    if _is_over(store, sweep_id):
        console.print("read from the tables; nothing to train")
    else:
        with only_driver(root, sweep_id, lambda line: _print(console, line)):
            if not _is_over(store, sweep_id):  # else another driver has trained it meanwhile
                for line in stages_lines(config, data.num_classes):
                    _print(console, line)
                store.append("trials", [trial_event(sweep_id, trial, Status.PROPOSED, attempt=0, now=utc_now())])
                run_alone(trial, data, console)
    sweep = read_sweep(store, sweep_id)
    if not sweep.trials[0].is_finished:
        raise ConfigError(f"the training {sweep.trials[0].status}: {sweep.trials[0].reason}; try a lower learning rate")
    for line in _guessing_lines(sweep, data):
        _print(console, line)
    if not config.data.has_validation:
        return sweep  # measured on test as it is
    named = (sweep.find("best"), sweep.find("knee"))
    untested = {point.choice for point in named if point.test is None}
    if untested:
        measure_on_test(trial, data, list(untested))
    return read_sweep(store, sweep_id)


def _guessing_lines(sweep: Sweep, data: Data) -> Iterator[str]:
    """Say so where a network is right no more often, within two standard errors, than the name of one class is."""
    split, judged = data.judged
    share = float(judged.labels.bincount().max()) / len(judged)
    point = sweep.points[0]
    accuracy = (point.metrics or point.test or {})["accuracy"]
    if accuracy <= share + 2 * math.sqrt(share * (1 - share) / len(judged)):
        yield (
            f"warning: the network is right on {METRICS['accuracy'].text(accuracy)} of the {split} images, as a guess"
            " is: it has learned nothing. Try a lower training.learning_rate, more training.epochs, or batch norm in a"
            " network of your own"
        )


def _is_over(store: DeltaStore, sweep_id: str) -> bool:
    return any(trial.is_over for trial in read_sweep(store, sweep_id).trials)


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def run_alone(trial: Trial, data: Data, console: Console) -> None:
    """Run one trial with a bar of its progress: here, or on as many workers as it asks for."""
    training = trial.config.training
    if training.num_workers == 1:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            run_tracked(trial, data, report=_reporter(bar, training.epochs, console))
        return
    import ray

    from orchestrator.runs.cluster import concurrent_trials, connected
    from orchestrator.runs.shared_storage import SharedStorage
    from orchestrator.runs.workers import train_on_workers

    with connected():
        concurrent_trials(trial.config)  # refuses a cluster that is too small
        console.print(f"training on {training.num_workers} workers")
        train_on_workers(trial, ray.put(data), SharedStorage.here(trial.root), in_tune=False)


def _reporter(bar: Progress, epochs: int, console: Console) -> Report:
    task = bar.add_task("training", total=epochs)
    every = max(1, epochs // 10)
    following = every

    def report(metrics: dict[str, Any]) -> None:
        nonlocal following
        epoch, losses = metrics["epoch"], losses_text(metrics["loss"], metrics["terms"])
        bar.update(task, completed=epoch, description=losses)
        if not console.is_terminal and (epoch >= following or epoch == epochs):
            following = every * (epoch // every + 1)
            console.print(f"epoch {epoch}/{epochs}  {losses}", highlight=False)

    return report
