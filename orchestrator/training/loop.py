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
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from moda_core import unit_layers, watch_units
from moda_core.methods import Method, Moda
from moda_core.modes import evaluating
from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.training.batches import Batch, Steps, Workers, augmented, epoch_seed, samples_each
from orchestrator.training.data import ImageSet

LOSSES = ("loss", "cross_entropy", "affinity", "dispersion", "compactness", "training_accuracy")


class Diverged(RuntimeError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class Epoch:
    """A finished epoch: its row for the table, all rows so far, and the state to resume from (made when called)."""

    row: dict[str, Any]
    rows: list[dict[str, Any]]
    checkpoint: Callable[[], bytes]


@dataclass(frozen=True)
class Checkpoint:
    """A training between two epochs: states of network and optimiser, and the rows of the epochs so far."""

    network: dict[str, Any]
    optimizer: dict[str, Any]
    rows: list[dict[str, Any]]


def choose_device(config: TrainingConfig) -> torch.device:
    """The GPU when the training asks for one and there is one, else the CPU."""
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
        method: what is added to the cross-entropy.
        num_classes: number of classes.
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
            "training.sync_batch_norm=true: SyncBatchNorm exists on GPUs only and this worker sees none; set"
            " training.sync_batch_norm=false"
        )
    model = trained_network(network, images, method, precision, sync_batch_norm=config.sync_batch_norm)
    if workers.world > 1:
        model = DistributedDataParallel(model)
    optimizer = OPTIMIZERS[config.optimizer](network, config)
    rows: list[dict[str, Any]] = []
    if resume is not None:
        network.load_state_dict(resume.network)
        optimizer.load_state_dict(resume.optimizer)
        rows = list(resume.rows)
    steps = Steps(len(images), config, workers, each=samples_each(network, config))
    for epoch in range(len(rows), config.epochs):
        started = clock()
        torch.manual_seed(epoch_seed(config.seed, epoch) + workers.rank)  # dropout
        model.train()
        totals = torch.zeros(len(LOSSES), dtype=torch.float64, device=device)
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
            for statistic in network.buffers():  # DDP takes the first worker's before a step, not after the last one
                dist.broadcast(statistic, 0, group=workers.group)
        means = dict(zip(LOSSES, (totals / steps.samples).tolist(), strict=True))
        if not math.isfinite(means["loss"]):
            raise Diverged(f"the loss is {means['loss']} after epoch {epoch + 1}")
        rate = steps.learning_rate(steps.per_epoch * epoch)
        row = {"epoch": epoch + 1, **means, "learning_rate": rate, "seconds": clock() - started}
        rows.append(row)
        yield Epoch(row, list(rows), lambda: _checkpoint(network, optimizer, rows))


def _sgd(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
    )


def _adamw(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)


OPTIMIZERS: dict[str, Callable[[nn.Module, TrainingConfig], torch.optim.Optimizer]] = {"adamw": _adamw, "sgd": _sgd}


def trained_network(
    network: nn.Module, images: ImageSet, method: Method, precision: torch.dtype, *, sync_batch_norm: bool = False
) -> nn.Module:
    """What is shown the batches of a training: it shares every parameter and statistic with ``network``."""
    if precision == torch.bfloat16:
        _set_memory_format(network, images)
    return _trained(network, images, method, sync_batch_norm=sync_batch_norm)


def _set_memory_format(network: nn.Module, images: ImageSet) -> None:
    """Channels last, which is faster in half precision, unless a ``view`` of the network needs contiguous images."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with evaluating(network):
            network(images.normalise(images.images[:2]))
    except RuntimeError:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _trained(network: nn.Module, images: ImageSet, method: Method, *, sync_batch_norm: bool) -> nn.Module:
    """The network, or for a method that needs them the network that gives its units too.

    SyncBatchNorm takes the place of batch norm in that traced copy only. It shares every parameter and statistic with
    the network, which stays what is saved, counted and cut.
    """
    if not method.watches_units and not sync_batch_norm:
        return network
    example = images[torch.zeros(2, dtype=torch.long, device=images.labels.device)]
    layers = unit_layers(network, example)
    model = watch_units(network, layers) if method.watches_units else fx.GraphModule(network, layers.graph)
    if not sync_batch_norm:
        return model
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return converted


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
    """As :func:`_losses`, of a batch of the training images shown to what :func:`trained_network` gives."""
    device = images.labels.device
    mine = batch.mine.to(device)
    pixels, labels = augmented(images.images[mine], batch, crop, flip), images.labels[mine]
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
    return output[:0] if isinstance(output, Tensor) else [_without_rows(one) for one in output]


def _losses(
    output: Any, labels: Tensor, method: Method, *, num_classes: int, workers: Workers, size: int
) -> tuple[Tensor, Tensor]:
    """The loss to differentiate on this worker, and the global batch's numbers to show (before averaging workers).

    DDP averages gradients: the cross-entropy's local sum over the global batch, times the workers, averages to the
    mean; the modular losses are the whole batch's already, and their workers' gradients are to be added.
    """
    logits, units = output if method.watches_units else (output, None)
    share = workers.world / size
    wide = torch.promote_types(logits.dtype, torch.float32)
    cross_entropy = F.cross_entropy(logits.to(wide), labels, reduction="sum") * share
    extra, terms = cross_entropy.new_zeros(()), [cross_entropy.new_zeros(())] * 3
    if isinstance(method, Moda) and units is not None:
        extra, parts = method.extra_loss(units, labels, num_classes=num_classes, group=workers.group)
        terms = list(parts)
    correct = (logits.argmax(1) == labels).sum() * share
    shown = torch.stack([cross_entropy + extra, cross_entropy, *terms, correct]).detach().double()
    return cross_entropy + workers.world * extra, shown


def _checkpoint(network: nn.Module, optimizer: torch.optim.Optimizer, rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "rows": rows}, buffer)
    return buffer.getvalue()


def read_checkpoint(data: bytes, device: torch.device) -> Checkpoint:
    """What an epoch's ``checkpoint()`` gave."""
    return Checkpoint(**torch.load(io.BytesIO(data), map_location=device, weights_only=True))
