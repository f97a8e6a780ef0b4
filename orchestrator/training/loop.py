"""The train loop: the same code for one worker or many, resumable after any epoch.

Every random draw of an epoch follows from (seed, epoch), so a resumed training is the uninterrupted one, and a global
batch is drawn, shuffled and augmented the same way however many workers share it.

Shapes: B samples of the global batch, of which this worker has its slice.
"""

import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from moda_core.methods import Method, Prepared
from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.training.batches import Batch, Steps, Workers, augmented_part, epoch_seed, samples_each
from orchestrator.training.data import ImageSet
from orchestrator.training.preparing import prepare_training


class Diverged(RuntimeError):
    """The loss is not a number any more."""


@dataclass(frozen=True)
class Epoch:
    """A finished epoch: its row for the table, all rows so far, and the state to resume from (made when called)."""

    row: dict[str, Any]
    rows: list[dict[str, Any]]
    checkpoint: Callable[[], bytes]


@dataclass(frozen=True)
class Checkpoint:
    """A training between two epochs: states of network, optimiser and the method's parts, and the rows so far."""

    network: dict[str, Any]
    optimizer: dict[str, Any]
    rows: list[dict[str, Any]]
    parts: dict[str, Any] | None = None


def choose_device(config: TrainingConfig) -> torch.device:
    """Return the GPU if the training asks for one and there is one, else the CPU."""
    return torch.device("cuda" if config.gpus_per_worker > 0 and torch.cuda.is_available() else "cpu")


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 where the processor computes in it, else float32; the weights are float32 in any case."""
    if wanted == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            mkldnn: Any = torch.ops.mkldnn
            fast = torch.backends.mkldnn.is_available() and mkldnn._is_mkldnn_bf16_supported()
        wanted = "bfloat16" if fast else "float32"
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[wanted]


def computing(device: torch.device, precision: torch.dtype) -> AbstractContextManager[Any]:
    """Where forward passes run: autocast for half precision, nothing for float32."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, dtype=precision)


def train(
    network: nn.Module,
    images: ImageSet,
    config: TrainingConfig,
    method: Method,
    *,
    num_classes: int,
    prepared: Prepared | None = None,
    crop: int = 0,
    flip: bool = False,
    precision: torch.dtype = torch.float32,
    workers: Workers | None = None,
    resume: Checkpoint | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Epoch]:
    """Train ``network`` in place, giving each epoch as it ends. It is the same network on every worker then.

    Args:
        network: on the images' device.
        images: the training images.
        config: epochs, batch size of all workers together, learning rate ...
        method: what is shown the batches, and the loss.
        num_classes: number of classes.
        prepared: what :func:`prepare_training` makes of the network, for callers that need the method's parts later.
        crop: padding of a random crop, 0 for none.
        flip: whether to flip horizontally at random.
        precision: of the forward pass (autocast); losses stay in float32.
        workers: who shares the batches.
        resume: what :func:`read_checkpoint` makes of an epoch's ``checkpoint()``.
        clock: seconds.

    Raises:
        Diverged: after an epoch whose loss is not finite.
        ConfigError: SyncBatchNorm on a worker without a GPU.
    """
    workers = workers or Workers()
    device = images.labels.device
    if config.sync_batch_norm and workers.world > 1 and device.type == "cpu":
        raise ConfigError(
            "training.sync_batch_norm=true: SyncBatchNorm runs on GPUs only and this worker sees none; set"
            " training.sync_batch_norm=false"
        )
    if prepared is None:
        prepared = prepare_training(network, images, config, method, precision)
    model, parts = prepared
    if workers.world > 1:
        model = DistributedDataParallel(model)
    trained = [network] if parts is None else [network, parts]
    optimizer = OPTIMIZERS[config.optimizer]([parameter for part in trained for parameter in part.parameters()], config)
    rows: list[dict[str, Any]] = []
    if resume is not None:
        network.load_state_dict(resume.network)
        if parts is not None:
            parts.load_state_dict(resume.parts or {})
        optimizer.load_state_dict(resume.optimizer)
        rows = list(resume.rows)
    names = ("loss", "cross_entropy", *method.terms, "training_accuracy")
    steps = Steps(len(images), config, workers, each=samples_each(network, config))
    for epoch in range(len(rows), config.epochs):
        started = clock()
        torch.manual_seed(epoch_seed(config.seed, epoch) + workers.rank)  # dropout
        model.train()
        totals = torch.zeros(len(names), dtype=torch.float64, device=device)
        for batch in steps.epoch(epoch):
            optimizer.param_groups[0]["lr"] = steps.learning_rate(batch.step)
            loss, shown = batch_losses(
                model,
                images,
                batch,
                method,
                num_classes=num_classes,
                crop=crop,
                flip=flip,
                precision=precision,
                workers=workers,
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            totals += shown * batch.size
        if workers.group is not None:
            dist.all_reduce(totals, group=workers.group)
            totals /= workers.world
            # DDP takes the first worker's before a step, not after the last one.
            for statistic in (buffer for part in trained for buffer in part.buffers()):
                dist.broadcast(statistic, 0, group=workers.group)
        means = dict(zip(names, (totals / steps.samples).tolist(), strict=True))
        if not math.isfinite(means["loss"]):
            raise Diverged(f"the loss is {means['loss']} after epoch {epoch + 1}")
        rate = steps.learning_rate(steps.per_epoch * epoch)
        row = {"epoch": epoch + 1, **means, "learning_rate": rate, "seconds": clock() - started}
        rows.append(row)
        yield Epoch(row, list(rows), lambda: _checkpoint(network, parts, optimizer, rows))


def _sgd(parameters: list[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
    )


def _adamw(parameters: list[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], TrainingConfig], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "sgd": _sgd,
}


def batch_losses(
    model: nn.Module,
    images: ImageSet,
    batch: Batch,
    method: Method,
    *,
    num_classes: int,
    crop: int,
    flip: bool,
    precision: torch.dtype,
    workers: Workers,
) -> tuple[Tensor, Tensor]:
    """As :func:`_losses`, of a batch of the training images shown to what :func:`prepare_training` gives."""
    device = images.labels.device
    pixels, labels = augmented_part(images, batch, crop, flip), images.labels[batch.mine.to(device)]
    with computing(device, precision):
        output = _output(model, images, pixels)
    return _losses(output, labels, method, num_classes=num_classes, workers=workers, size=batch.size)


def _output(model: nn.Module, images: ImageSet, pixels: Tensor) -> Any:
    """What ``model`` gives for this worker's part of a batch.

    A worker without any image shows it a stand-in and drops the row: it takes part in the step's collectives, and its
    gradients are 0. Not every network takes an empty batch itself; ``view(len(x), -1)`` does not.
    """
    if len(pixels) > 0:
        return model(images.normalise(pixels))
    return _without_rows(model(images.normalise(images.images[:1])))


def _without_rows(output: Any) -> Any:
    """Without the rows of a batch; what is no tensor, such as the weights of layers, stays."""
    if isinstance(output, Tensor):
        return output[:0]
    return [_without_rows(part) for part in output] if isinstance(output, list | tuple) else output


def _losses(
    output: Any, labels: Tensor, method: Method, *, num_classes: int, workers: Workers, size: int
) -> tuple[Tensor, Tensor]:
    """The loss to differentiate on this worker, and numbers to show: loss, cross-entropy, terms, accuracy.

    The mean over workers of each number is the global batch's.
    """
    found = method.objective(output, labels, num_classes=num_classes, size=size, workers=workers)
    if set(found.terms) != set(method.terms):
        raise ConfigError(
            f"method {type(method).__name__}: objective() gives terms {sorted(found.terms)}, and terms declares"
            f" {sorted(method.terms)}; make them the same"
        )
    correct = (found.logits.argmax(1) == labels).sum() * (workers.world / size)
    terms = [found.terms[name] for name in method.terms]
    return found.loss, torch.stack([found.loss, found.cross_entropy, *terms, correct]).detach().double()


def _checkpoint(
    network: nn.Module, parts: nn.Module | None, optimizer: torch.optim.Optimizer, rows: list[dict[str, Any]]
) -> bytes:
    state: dict[str, Any] = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "rows": rows}
    if parts is not None:
        state["parts"] = parts.state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def read_checkpoint(data: bytes, device: torch.device) -> Checkpoint:
    """What an epoch's ``checkpoint()`` gave."""
    return Checkpoint(**torch.load(io.BytesIO(data), map_location=device, weights_only=True))
