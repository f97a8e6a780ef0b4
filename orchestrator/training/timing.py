"""What a training will take, measured on a few steps, and what it will write. Nothing of it is kept."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn

from moda_core.methods import Method
from orchestrator.config import Config
from orchestrator.training.batch_losses import BatchLosses
from orchestrator.training.batches import Steps, Workers, samples_each
from orchestrator.training.calibration import StoredBiases
from orchestrator.training.compiling import compiled
from orchestrator.training.count_files import dump_counts
from orchestrator.training.data import Data
from orchestrator.training.decompose import Trained, grid, measure, prepare
from orchestrator.training.dry_run import same_generators
from orchestrator.training.loop import choose_device, choose_precision
from orchestrator.training.methods import make_method
from orchestrator.training.optimizers import make_optimizer
from orchestrator.training.preparing import prepare_training
from orchestrator.training.trial import make_network
from orchestrator.training.weights import dump_weights

TIMED_STEPS = 5  # after the first one, which is slower
COUNTED_IMAGES = 256
MEASURED_CHOICES = 3


@dataclass(frozen=True)
class Timing:
    """What one training takes and writes.

    Attributes:
        steps: of the whole training.
        step_seconds: of one step of one worker.
        after_seconds: of counting and measuring afterwards.
        kept_bytes: of weights, parts of the method and counts, which stay.
        checkpoint_bytes: of what is there while it runs.
        weights_bytes: of the weights alone.
    """

    steps: int
    step_seconds: float
    after_seconds: float
    kept_bytes: int
    checkpoint_bytes: int
    weights_bytes: int

    @property
    def seconds(self) -> float:
        """The time from the first step to the last measurement."""
        return self.steps * self.step_seconds + self.after_seconds


def time_training(config: Config, data: Data, clock: Callable[[], float] = time.perf_counter) -> Timing:
    """Time a few steps of a training, its counting and its measuring on this machine.

    A step after training is not timed. Of several workers a step is timed with one worker's share of a batch, without
    what they tell each other.

    Args:
        config: of one training, already checked.
        data: on the CPU.
        clock: seconds.
    """
    device = choose_device(config.training)
    precision = choose_precision(config.training.precision, device)
    torch.set_num_threads(config.training.cpus_per_worker)
    method, data = make_method(config.method), data.to(device)
    with same_generators():
        network = make_network(config, data).to(device)
        parts, step_seconds, optimizer_bytes, steps = _time_steps(network, config, data, method, precision, clock)
        trained, after_seconds = _time_measuring(network, parts, config, data, precision, clock)
    weights = len(dump_weights(network))
    kept = weights + sum(len(dump_counts(rule, counted.counts)) for rule, counted in trained.rules.items())
    kept += 0 if parts is None else len(dump_weights(parts))
    return Timing(steps, step_seconds, after_seconds, kept, weights + optimizer_bytes, weights)


def _time_steps(
    network: nn.Module,
    config: Config,
    data: Data,
    method: Method,
    precision: torch.dtype,
    clock: Callable[[], float],
) -> tuple[nn.Module | None, float, int, int]:
    """The method's parts, the seconds of a step, the bytes of the optimizer's state, and the steps of the training."""
    training = config.training
    share = max(2, training.batch_size // training.num_workers)
    of_one = dataclasses.replace(training, batch_size=share, num_workers=1, sync_batch_norm=False)
    model, parts = prepare_training(network, data.train, of_one, method, precision)
    steps = Steps(len(data.train), of_one, Workers(), each=samples_each(network, of_one))
    losses = BatchLosses(model, data.train, method, data.num_classes, config.data.crop, config.data.flip, precision)
    is_plain = training.compile == "kernels" or training.num_workers > 1  # compiling takes minutes, once
    compute = compiled(losses, "none" if is_plain else training.compile)
    optimizer = make_optimizer(list(model.parameters()), of_one, weight_decay=steps.weight_decay)
    model.train()
    seconds = []
    for batch in islice(steps.epoch(0, data.train.labels.device), 1 + TIMED_STEPS) if training.epochs else ():
        started = clock()
        optimizer.zero_grad(set_to_none=True)
        loss, _ = compute(batch)
        loss.backward()
        optimizer.step()
        loss.item()  # a GPU has finished then
        seconds.append(clock() - started)
    state = [value for entry in optimizer.state.values() for value in entry.values() if isinstance(value, torch.Tensor)]
    of_all = Steps(len(data.train), training, Workers(world=training.num_workers), each=samples_each(network, training))
    step_seconds = statistics.median(seconds[1:] or seconds or [0.0])
    return parts, step_seconds, sum(value.nbytes for value in state), of_all.total


def _time_measuring(
    network: nn.Module,
    parts: nn.Module | None,
    config: Config,
    data: Data,
    precision: torch.dtype,
    clock: Callable[[], float],
) -> tuple[Trained, float]:
    """A decomposed network, and the seconds that counting all images and measuring all choices take."""
    few = min(COUNTED_IMAGES, len(data.train))
    index = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:few]
    train = dataclasses.replace(data.train, images=data.train.images[index], labels=data.train.labels[index])
    evaluation, (split, images) = config.evaluation, data.judged
    if parts is not None:
        parts.eval()
    started = clock()
    trained = prepare(network, dataclasses.replace(data, train=train), config, precision=precision, parts=lambda: parts)
    counting = (clock() - started) * len(data.train) / few / config.training.num_workers
    choices = grid(evaluation)

    def measured(some: list[Any]) -> float:
        begun = clock()
        measure(trained, images, evaluation, split=split, choices=some, calibration=StoredBiases({}))
        return clock() - begun

    of_one = measured(choices[:1])
    chosen = choices[:: max(1, len(choices) // MEASURED_CHOICES)]
    of_some = measured(chosen)
    each = max(0.0, of_some - of_one) / max(1, len(chosen) - 1)
    return trained, counting + of_one + each * (len(choices) - 1)
