"""One trial: train (or go on training), count, decompose at every free choice, rows out.

The write order is bytes, then rows, then the event that says so: the last one is the commit. A trial that is run
again after a crash reads its checkpoint, writes the same rows (which adds nothing) and ends with the same event.
"""

import functools
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from moda_core import NetworkError, unit_layers
from moda_core.graph import channel_graph
from moda_core.methods import Method, has_step_after
from orchestrator.config import COLUMNS, Choice, Config, to_plain
from orchestrator.declarations import CUT, METRICS
from orchestrator.errors import MISTAKES, ConfigError
from orchestrator.results import NoTracker, Tracker, TrialState, trial_event, trial_states, utc_now
from orchestrator.search import Status
from orchestrator.storage import (
    AFTER_CHECKPOINT,
    CHECKPOINT,
    METHOD_PARTS,
    TABLES,
    WEIGHTS,
    DeltaStore,
    Files,
    counts_file,
    trial_file,
)
from orchestrator.training.after import take_step_after
from orchestrator.training.batches import Steps, Workers, samples_each
from orchestrator.training.calibration import Calibration, CrossFitting, StoredBiases, second_half
from orchestrator.training.compiling import forget_compiled
from orchestrator.training.count_files import dump_counts, read_counts
from orchestrator.training.data import Data, ImageSet
from orchestrator.training.decompose import Trained, grid, measure, prepare
from orchestrator.training.dry_run import dry_run, same_generators
from orchestrator.training.kept_files import KeptFiles
from orchestrator.training.loop import Diverged, choose_device, choose_precision, read_checkpoint, train
from orchestrator.training.methods import make_method
from orchestrator.training.networks import make_model
from orchestrator.training.pace import Pace
from orchestrator.training.per_class import measure_classes
from orchestrator.training.preparing import prepare_method, prepare_training
from orchestrator.training.rules import check_rules
from orchestrator.training.rungs import Judge, Stopped
from orchestrator.training.sealing import read_checkpoint_file
from orchestrator.training.separate import measure_separate
from orchestrator.training.stages import check_staged, choices_by_role, measure_stages, staged_choices
from orchestrator.training.weights import dump_weights, load_weights_file, read_weights

Report = Callable[[dict[str, Any]], None]
SHOWN_COLUMNS = (  # of the points that a run shows
    *COLUMNS,
    "calibrated_reuse_accuracy",
    "calibrated_reuse_accuracy_error",
    "reuse_accuracy",
    "reuse_accuracy_error",
    "cut_size",
    "cut_overlap",
    "accuracy",
)


@dataclass(frozen=True)
class Trial:
    """A trial to be trained.

    Attributes:
        sweep_id: its sweep.
        number: from 0 in its sweep.
        coefficients: what distinguishes it.
        config: with the coefficients in place.
        root: the storage.
    """

    sweep_id: str
    number: int
    coefficients: Mapping[str, Any]
    config: Config
    root: str

    @property
    def trial_id(self) -> str:
        """Unique in the storage, and the id of its W&B run."""
        return f"{self.sweep_id}-{self.number:04d}"

    def file(self, name: str) -> str:
        """The name of one of its files in the storage."""
        return trial_file(self.trial_id, name)


def make_network(config: Config, data: Data, *, pretrained: bool = True) -> nn.Module:
    """The network for the data, from the training seed, with the weights of ``training.init_from`` if asked for.

    Raises:
        ConfigError: a model that does not fit the data, or weights that do not fit the model.
    """
    torch.manual_seed(config.training.seed)
    network = make_model(
        config.model.name,
        config.model.options,
        in_channels=data.in_channels,
        image_size=data.image_size,
        num_classes=data.num_classes,
    )
    if pretrained and config.training.init_from is not None:
        is_trained = config.training.epochs > 0
        load_weights_file(config.training.init_from, network, key="training.init_from", may_resize=is_trained)
    return network


def network_bytes(config: Config, data: Data) -> int:
    """Return how large the weights of the network for the data are. Global random generators keep their state."""
    with same_generators():
        network = make_network(config, data, pretrained=False)
    return sum(parameter.nbytes for parameter in network.parameters())


def check_trainable(config: Config, data: Data) -> None:
    """Refuse what would otherwise fail only inside a trial or after it. Global random generators keep their state.

    Raises:
        ConfigError: a model that does not fit the data or that no modules can be cut out of, thresholds that do not
            fit its activations, weights that do not fit the model, batches that are too small for the workers, or
            anything that fails when a trial is tried on a few images.
    """
    if len(set(data.class_names)) < max(2, data.num_classes):
        raise ConfigError(f"data: classes {list(data.class_names)[:5]} are not two or more different ones")
    try:
        json.dumps(to_plain(config), allow_nan=False)
    except ValueError as error:
        raise ConfigError(
            "a value of the configuration is NaN or infinite, which a module set cannot record"
        ) from error
    with same_generators():
        network = make_network(config, data)
        example = data.train[torch.zeros(1, dtype=torch.long, device=data.train.labels.device)]
        try:
            layers = unit_layers(network, example)
            channel_graph(network, layers, example)
        except NetworkError as error:
            raise ConfigError(f"model.name={config.model.name}: {error}") from error
        check_rules(network, example, config.evaluation)
        check_staged(config.evaluation)
        workers = Workers(world=config.training.num_workers)
        Steps(len(data.train), config.training, workers, each=samples_each(network, config.training))
        dry_run(network, lambda: make_network(config, data, pretrained=False), config, data)


def run_trial(
    trial: Trial,
    data: Data,
    *,
    report: Report,
    track: Callable[[], Tracker] = NoTracker,
    workers: Workers | None = None,
) -> None:
    """Run a trial to its end. All workers train and count; the first one decomposes, writes, and reports to the tracker
    that ``track`` starts. The epochs that ``report`` is given are those from which the trial can go on, the same ones
    on all workers.

    A trial that is over already is left alone. A loss that diverges, or a configuration that cannot work, is recorded
    and returns normally: training again would only tell the same. So is a trial that a rung stops. Anything else that
    goes wrong is recorded and raised.
    """
    workers = workers or Workers()
    config = trial.config
    torch.set_num_threads(config.training.cpus_per_worker)
    device = choose_device(config.training)
    precision = choose_precision(config.training.precision, device)
    store, files = DeltaStore(trial.root), Files(trial.root)
    state = next(iter(trial_states(store.read("trials", trial.sweep_id, trial_id=trial.trial_id))), None)
    if state is not None and state.is_over:
        return  # somebody else did it
    record = _Recorder(trial, store, 1 if state is None else state.attempt + 1, active=workers.rank == 0)
    record(Status.STARTED)
    tracker = track() if workers.rank == 0 else NoTracker()
    forget_compiled()
    try:
        data = data.to(device)
        method = make_method(config.method)
        network = make_network(config, data).to(device)
        checkpoint = trial.file(CHECKPOINT)
        resume = read_checkpoint_file(files, checkpoint, lambda data: read_checkpoint(data, device))
        rows = [] if resume is None else resume.rows
        for row in rows:  # what W&B missed of an earlier attempt
            tracker.log(row, step=row["epoch"])
        prepared = prepare_training(network, data.train, config.training, method, precision)
        may_stop = dict(trial.coefficients) not in [dict(baseline) for baseline in config.search.baselines]
        judge = Judge(trial.sweep_id, trial.trial_id, config, may_stop, data, store, precision, workers, prepared.parts)
        pace = Pace()
        epochs = train(
            network,
            data.train,
            config.training,
            method,
            num_classes=data.num_classes,
            prepared=prepared,
            crop=config.data.crop,
            flip=config.data.flip,
            precision=precision,
            workers=workers,
            resume=resume,
        )
        for epoch in epochs:
            rows = epoch.rows
            if workers.rank == 0:
                tracker.log(epoch.row, step=epoch.row["epoch"])
            is_rung = judge(network, epoch.row["epoch"])  # a trial that dies here comes here again, but not later
            is_last = epoch.row["epoch"] == config.training.epochs
            if is_rung or is_last or workers.agreed(pace.is_due, device):
                with pace.timed():
                    if workers.rank == 0:
                        files.write(checkpoint, epoch.checkpoint())
                    terms = {name: epoch.row[name] for name in method.terms}
                    shown = {name: epoch.row[name] for name in ("epoch", "loss")}
                    report({**shown, "epochs": config.training.epochs, "terms": terms})
        after_seconds = None
        if has_step_after(method):
            name, seed = trial.file(AFTER_CHECKPOINT), config.training.seed
            after_seconds = take_step_after(
                method, network, prepared.parts, data.train, data.num_classes, workers, files, name, seed=seed
            )
        started = time.perf_counter()
        if (parts := prepared.parts) is not None:
            parts.eval()
        trained = prepare(network, data, config, precision=precision, workers=workers, parts=lambda: parts)
        if workers.rank == 0:
            kept = KeptFiles(files, trial.sweep_id, trial.trial_id)
            points = _finish(trial, trained, data, kept, store, [_epoch(trial, row, method) for row in rows])
            _measure_stages(trial, trained, data, store, points)
            spent = _spent(rows, judge.seconds + time.perf_counter() - started, precision)
            record(Status.FINISHED, **spent, after_seconds=after_seconds, files_sha256=kept.hashes)
            for name in (AFTER_CHECKPOINT, CHECKPOINT):
                files.delete(trial.file(name))
            of_test = "" if config.data.has_validation else "test_"
            tracker.table(f"{of_test}points", SHOWN_COLUMNS, lambda _: points)
            tracker.finish(
                {
                    f"{of_test}accuracy": points[0]["accuracy"],
                    "status": Status.FINISHED.value,
                    **_summary_by_role(trial, points),
                }
            )
    except Stopped as error:
        if workers.rank == 0:
            store.append("epochs", [_epoch(trial, row, method) for row in rows])
            record(Status.STOPPED, reason=str(error), **_spent(rows, judge.seconds, precision))
            files.delete(checkpoint)
        tracker.finish({"status": Status.STOPPED.value})
    except Diverged as error:
        record(Status.DIVERGED, reason=str(error))
        tracker.finish({"status": Status.DIVERGED.value}, failed=True)
    except Exception as error:
        record(Status.FAILED, reason=f"{type(error).__name__}: {error}".removesuffix(": ")[:2000])
        tracker.finish({"status": Status.FAILED.value}, failed=True)
        if not isinstance(error, MISTAKES):
            raise


def check_weights(trial: Trial, files: Files) -> None:
    """Refuse a finished trial whose weights are no longer in the storage.

    Raises:
        ConfigError: such a trial, with what to do instead.
    """
    if not files.exists(trial.file(WEIGHTS)):
        raise ConfigError(
            f"trial {trial.trial_id} has no weights in the storage: `moda gc` removes them where no point of a trial is"
            f" on the front; take a point that `moda front {trial.sweep_id}` shows, or train its coefficients again:"
            f" moda confirm {trial.sweep_id} --points {trial.number}/... --seeds 1"
        )


def load_trained(trial: Trial, data: Data, choices: Collection[Choice] | None = None) -> Trained:
    """Load a finished trial's network and counts from the storage to the data's device.

    Args:
        trial: a finished one.
        data: of its sweep.
        choices: what is to be chosen, so that no other rule is read or imported; None: anything.

    Raises:
        ConfigError: as :func:`check_weights`.
        StorageFault: files whose bytes are not those that were written.
    """
    files = Files(trial.root)
    check_weights(trial, files)
    network = make_network(trial.config, data, pretrained=False).to(data.train.labels.device)
    kept = KeptFiles(files, trial.sweep_id, trial.trial_id)
    read_weights(kept.read(WEIGHTS), network)
    chosen = trial.config.evaluation.grids if choices is None else {choice.rule for choice in choices}
    names = {rule: counts_file(rule) for rule in trial.config.evaluation.grids if rule in chosen}
    counts = {rule: read_counts(rule, kept.read(name)) for rule, name in names.items() if kept.exists(name)}
    parts = functools.cache(lambda: _load_parts(trial, network, data, kept))
    return prepare(network, data, trial.config, counts, parts=parts)


def _load_parts(trial: Trial, network: nn.Module, data: Data, kept: KeptFiles) -> nn.Module | None:
    """The method's own parts of a finished trial; None where it has none, and then its class is not imported."""
    if not kept.exists(METHOD_PARTS):
        return None
    parts = prepare_method(network, data.train, make_method(trial.config.method)).parts
    if parts is None:
        raise ConfigError(
            f"trial {trial.trial_id} has parts of its method, and method.name={trial.config.method.name} makes none;"
            " give the method that it was trained with"
        )
    read_weights(kept.read(METHOD_PARTS), parts)
    return parts.eval()


def measure_on_test(trial: Trial, data: Data, choices: list[Choice]) -> None:
    """Measure some of a finished trial's points on the test images, with the biases that are stored with them, and
    each class of them, on validation images too where that has not been done. Writes the rows."""
    torch.set_num_threads(trial.config.training.cpus_per_worker)
    data = data.to(choose_device(trial.config.training))
    trained = load_trained(trial, data, choices)
    store = DeltaStore(trial.root)
    points = store.read("points", trial.sweep_id, trial_id=trial.trial_id).to_pylist()
    evaluation, stored = trial.config.evaluation, StoredBiases.of_rows(points)
    rows = measure(trained, data.test, evaluation, split="test", choices=choices, calibration=stored)
    of_class = store.read("classes", trial.sweep_id, trial_id=trial.trial_id).to_pylist()
    measured = {Choice.of_row(row) for row in of_class if row["split"] == "validation"}
    judged = [row for row in points if row["split"] == "validation" and row["stage"] == CUT]
    missing = [row for row in judged if Choice.of_row(row) in set(choices) - measured]
    for split, images, of_split in (("validation", data.validation, missing), ("test", data.test, rows)):
        _append_classes(trial, trained, data, store, split, images, of_split)
    store.append("points", [_keyed(trial, row) for row in rows])  # last: these say that the point is measured


class _Recorder:
    """Writes this attempt's events."""

    def __init__(self, trial: Trial, store: DeltaStore, attempt: int, *, active: bool) -> None:
        self.trial, self.store, self.attempt, self.active = trial, store, attempt, active

    def __call__(self, event: Status, **more: Any) -> None:
        if self.active:
            row = trial_event(self.trial.sweep_id, self.trial, event, attempt=self.attempt, now=utc_now(), **more)
            self.store.append("trials", [row])


def _finish(
    trial: Trial, trained: Trained, data: Data, kept: KeptFiles, store: DeltaStore, epochs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Keep weights, the method's parts and counts, then the rows of epochs and of the points: on validation, or on test
    where nothing is held out."""
    kept.write(WEIGHTS, dump_weights(trained.network))
    if (parts := trained.parts()) is not None:
        kept.write(METHOD_PARTS, dump_weights(parts))
    for rule, counted in trained.rules.items():
        kept.write(counts_file(rule), dump_counts(rule, counted.counts))
    evaluation = trial.config.evaluation
    split, images = data.judged
    fitting: Calibration = StoredBiases({})
    if split == "validation":
        fitting = CrossFitting(second_half(images.labels, trial.config.data.seed))
    points = measure(trained, images, evaluation, split=split, choices=grid(evaluation), calibration=fitting)
    store.append("epochs", epochs)
    store.append("points", [_keyed(trial, row) for row in points])
    named = set(choices_by_role(trial.config, _finished(trial), points).values())
    _append_classes(trial, trained, data, store, split, images, [row for row in points if Choice.of_row(row) in named])
    return points


def _append_classes(
    trial: Trial,
    trained: Trained,
    data: Data,
    store: DeltaStore,
    split: str,
    images: ImageSet,
    points: Sequence[Mapping[str, Any]],
) -> None:
    """Measure each class at some of the trial's points, and write the rows."""
    rows = measure_classes(
        trained, images, trial.config.evaluation, split=split, class_names=data.class_names, points=points
    )
    if rows:
        store.append("classes", [_keyed(trial, row) for row in rows])


def _finished(trial: Trial) -> TrialState:
    return TrialState(trial.trial_id, trial.number, dict(trial.coefficients), Status.FINISHED, 1, None, None, None)


def _summary_by_role(trial: Trial, points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every metric of the trial's own best and knee, as ``best/cut_size``; nothing where nothing is chosen."""
    by_choice = {Choice.of_row(row): row for row in points}
    summary: dict[str, Any] = {}
    for role, choice in choices_by_role(trial.config, _finished(trial), points).items():
        row = by_choice[choice]
        metrics = {name: row[name] for name in METRICS if row[name] is not None} | dict(row["own"])
        summary |= {f"{role}/point": f"{trial.number}/{choice.name}"}
        summary |= {f"{role}/{name}": value for name, value in metrics.items()}
    return summary


def _measure_stages(
    trial: Trial, trained: Trained, data: Data, store: DeltaStore, points: Sequence[Mapping[str, Any]]
) -> None:
    """The points beside those of the surface: separate networks, if the method publishes such, and the stages that
    ``evaluation.stages`` names."""
    rows = measure_separate(trained, data, trial.config)
    if trial.config.evaluation.stages:
        choices = staged_choices(trial.config, _finished(trial), points)
        rows += measure_stages(trained, data, trial.config, choices)
    if rows:
        store.append("points", [_keyed(trial, row) for row in rows])


def _spent(epochs: list[dict[str, Any]], evaluation_seconds: float, precision: torch.dtype) -> dict[str, Any]:
    return {
        "seconds": sum(row["seconds"] for row in epochs),
        "evaluation_seconds": evaluation_seconds,
        "precision": str(precision).removeprefix("torch."),
    }


def _keyed(trial: Trial, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"sweep_id": trial.sweep_id, "trial_id": trial.trial_id, **row}


def _epoch(trial: Trial, row: Mapping[str, Any], method: Method) -> dict[str, Any]:
    """A row of the table `epochs`: terms without a column of their own go into the one for all."""
    others = {name: row[name] for name in method.terms if name not in TABLES["epochs"].columns}
    return {**_keyed(trial, row), "terms": others or None}
