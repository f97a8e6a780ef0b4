"""The train loop: the same code for one worker or many, resumable after any epoch.

Every random draw of an epoch follows from (seed, epoch), so a resumed training is the uninterrupted one, and a global
batch is drawn, shuffled and augmented the same way however many workers share it.

Shapes: B samples of the global batch, of which this worker has its slice.
"""

import io
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from moda_core.methods import Method, Prepared
from orchestrator.config import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.training.batch_losses import BatchLosses
from orchestrator.training.batches import Steps, Workers, epoch_seed, read_ahead, samples_each
from orchestrator.training.compiling import compiled
from orchestrator.training.data import ImageSet
from orchestrator.training.optimizers import make_optimizer
from orchestrator.training.preparing import prepare_training
from orchestrator.training.sealing import seal, unseal


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


def check_device(config: TrainingConfig) -> None:
    """Refuse a training in this process that asks for a GPU where there is none.

    Raises:
        ConfigError: such a training.
    """
    if config.gpus_per_worker > 0 and not torch.cuda.is_available():
        raise ConfigError(
            f"training.gpus_per_worker={config.gpus_per_worker:g}: PyTorch finds no GPU on this machine; set"
            " training.gpus_per_worker=0 to train on the CPU, or see that torch.cuda.is_available() is True"
        )


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
    steps = Steps(len(images), config, workers, each=samples_each(network, config))
    parameters = [parameter for part in trained for parameter in part.parameters()]
    optimizer = make_optimizer(parameters, config, weight_decay=steps.weight_decay)
    rows: list[dict[str, Any]] = []
    if resume is not None:
        network.load_state_dict(resume.network)
        if parts is not None:
            parts.load_state_dict(resume.parts or {})
        optimizer.load_state_dict(resume.optimizer)
        rows = list(resume.rows)
    names = ("loss", "cross_entropy", *method.terms, "training_accuracy")
    losses = BatchLosses(
        model,
        images,
        method,
        num_classes=num_classes,
        crop=crop,
        flip=flip,
        precision=precision,
        workers=workers,
    )
    compute = compiled(losses, config.compile)
    for epoch in range(len(rows), config.epochs):
        started = clock()
        torch.manual_seed(epoch_seed(config.seed, epoch) + workers.rank)  # dropout
        model.train()
        totals = torch.zeros(len(names), dtype=torch.float64, device=device)
        for batch in read_ahead(images, steps, epoch):
            optimizer.param_groups[0]["lr"] = steps.learning_rate(batch.step)
            method.before_step(prepared.model, steps.progress(batch.step))
            optimizer.zero_grad(set_to_none=True)
            loss, shown = compute(batch)
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


def _checkpoint(
    network: nn.Module, parts: nn.Module | None, optimizer: torch.optim.Optimizer, rows: list[dict[str, Any]]
) -> bytes:
    state: dict[str, Any] = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "rows": rows}
    if parts is not None:
        state["parts"] = parts.state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return seal(buffer.getvalue())


def read_checkpoint(data: bytes, device: torch.device) -> Checkpoint:
    """What an epoch's ``checkpoint()`` gave.

    Raises:
        ValueError: it was changed. What is no checkpoint at all raises what PyTorch raises.
    """
    return Checkpoint(**torch.load(io.BytesIO(unseal(data)), map_location=device, weights_only=True))
