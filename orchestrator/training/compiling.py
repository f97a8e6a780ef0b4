"""A training's step made faster: compiled by PyTorch, or recorded as CUDA graphs.

All of a step but reading the images and the optimizer is compiled or recorded, for whole batches; the last, smaller one
of an epoch runs as it is. What is made shares every parameter with the network, which stays what is saved, counted and
cut.
"""

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.training.batch_losses import BatchLosses
from orchestrator.training.batches import Batch
from orchestrator.training.data import StoredImages

LOG = logging.getLogger("moda")

Compute = Callable[[Batch], tuple[Tensor, Tensor]]


def compiled(losses: BatchLosses, compiling: str) -> Compute:
    """Return what computes the losses of batches: ``losses`` itself, or made faster as asked for.

    Args:
        losses: of a training.
        compiling: ``training.compile``. ``auto`` is ``cuda_graphs`` where a step can be recorded, else ``none``.
    """
    if compiling == "auto":
        compiling = "none" if _why_not_recorded(losses) else "cuda_graphs"
    return losses if compiling == "none" else _Compiled(losses, compiling)


def forget_compiled() -> None:
    """Forget what this process compiled for trials before: PyTorch compiles a function for a few networks only."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def _why_not_recorded(losses: BatchLosses) -> str:
    """Why the steps of a training cannot be recorded as CUDA graphs; empty if they can."""
    if losses.images.labels.device.type != "cuda":
        return "CUDA graphs are of a GPU, and this training has none"
    if losses.workers.world > 1:
        return "the workers of a training speak with each other in its steps"
    if isinstance(losses.images.images, StoredImages):
        return "images that are not in memory are brought to the GPU by other threads while a step is recorded"
    return ""


class _Compiled:
    """Computes losses of batches that have as many images as the first one the fast way, and those of others, or of all
    if that cannot be done, as they are."""

    def __init__(self, losses: BatchLosses, compiling: str) -> None:
        self.losses, self.compiling = losses, compiling
        self.compiled: Callable[[Tensor, Tensor, Batch], tuple[Tensor, Tensor]] = (
            _Recorded(losses) if compiling == "cuda_graphs" else torch.compile(losses.of_images, dynamic=False)
        )
        self.images: int | None = None  # of a batch that the code is for

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        pixels, labels = self.losses.read(batch)
        if self.images is None:
            return self._first(pixels, labels, batch)
        compute = self.compiled if len(pixels) == self.images else self.losses.of_images
        return compute(pixels, labels, batch)

    def _first(self, pixels: Tensor, labels: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        self.images = len(pixels)
        try:
            return self.compiled(pixels, labels, batch)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever PyTorch's compiler, or the one of C++ behind it, raises
            text = " ".join(str(error).split())[:200]
            LOG.warning(
                "training.compile=%s cannot be done here, so this training runs without: %s: %s",
                self.compiling,
                type(error).__name__,
                text,
            )
            self.images = -1
            return self.losses.of_images(pixels, labels, batch)


class _Recorded:
    """Records all kernels of the first step, forward and backward, and has the GPU run them again for others: with one
    launch each way. Launching the many short kernels of a small network takes longer than they do."""

    def __init__(self, losses: BatchLosses) -> None:
        self.losses = losses
        self.step: Callable[..., Any] | None = None

    def __call__(self, pixels: Tensor, labels: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        inputs = pixels, labels, *(draws.to(pixels.device) for draws in (batch.offsets_B2, batch.flips_B))
        if self.step is None:
            self.step = self._record(inputs, batch)
        computed: tuple[Tensor, Tensor] = self.step(*inputs)
        return computed

    def _record(self, inputs: tuple[Tensor, ...], batch: Batch) -> Callable[..., Any]:
        if reason := _why_not_recorded(self.losses):
            raise RuntimeError(reason)
        step = _Step(self.losses, batch)
        before = {name: buffer.clone() for name, buffer in step.named_buffers()}
        owned = tuple(tensor.clone() for tensor in inputs)  # what a step is given is copied there
        if hasattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch"):
            torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)  # it has a stream of its own
        recorded = torch.cuda.make_graphed_callables(step, owned, allow_unused_input=True)
        for name, buffer in step.named_buffers():  # steps that were tried out for it count for no batch norm
            buffer.copy_(before[name])
        return recorded


class _Step(nn.Module):
    """What :class:`BatchLosses` computes, of tensors alone."""

    def __init__(self, losses: BatchLosses, batch: Batch) -> None:
        super().__init__()
        self.losses, self.batch, self.model = losses, batch, losses.model

    def forward(self, pixels: Tensor, labels: Tensor, offsets_B2: Tensor, flips_B: Tensor) -> tuple[Tensor, Tensor]:
        return self.losses.of_images(pixels, labels, replace(self.batch, offsets_B2=offsets_B2, flips_B=flips_B))
