"""A training's step, compiled by PyTorch.

All of a step but reading the images and the optimizer is compiled, for whole batches; the last, smaller one of an epoch
runs as it is. What is compiled shares every parameter with the network, which stays what is saved, counted and cut.
"""

import logging
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from orchestrator.training.batch_losses import BatchLosses
from orchestrator.training.batches import Batch

LOG = logging.getLogger("moda")
MODES = {"kernels": None, "cuda_graphs": "reduce-overhead"}  # of torch.compile

Compute = Callable[[Batch], tuple[Tensor, Tensor]]


def compiled(losses: BatchLosses, compiling: str) -> Compute:
    """Return what computes the losses of batches: ``losses`` itself, or compiled as asked for.

    Args:
        losses: of a training.
        compiling: ``training.compile``.
    """
    return losses if compiling == "none" else _Compiled(losses, compiling)


def forget_compiled() -> None:
    """Forget what this process compiled for trials before: PyTorch compiles a function for a few networks only."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


class _Compiled:
    """Computes losses of batches that have as many images as the first one by compiled code, and those of others, or of
    all if it cannot be compiled, without."""

    def __init__(self, losses: BatchLosses, compiling: str) -> None:
        self.losses, self.compiling = losses, compiling
        self.compiled = torch.compile(losses.of_images, dynamic=False, mode=MODES[compiling])
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
