"""Losses of batches that workers share, exact under DDP, which averages the workers' gradients.

Shapes: B samples of a worker's part of a batch, C classes.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from moda_core.methods.method import Workers


def cross_entropy(logits: Tensor, labels: Tensor, *, size: int, workers: Workers) -> Tensor:
    """Compute a worker's part of the cross-entropy, in float32 or wider. The mean over workers is the cross-entropy of
    the global batch.

    Args:
        logits: (B, C) of this worker's samples, of which there may be none.
        labels: (B,) class ids.
        size: samples of the global batch.
        workers: who shares it.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    return F.cross_entropy(logits.to(wide), labels, reduction="sum") * (workers.world / size)


def added_up(term: Tensor, workers: Workers) -> Tensor:
    """Return a term of the whole batch with a gradient that DDP averages to the exact one.

    Every worker knows the term itself, and contributes the gradient of its own samples.
    :func:`~moda_core.methods.modular_losses` with the workers' group returns such terms.
    """
    if workers.world == 1:
        return term
    scaled: Tensor = _ScaledGradient.apply(term, workers.world)  # type: ignore[no-untyped-call]
    return scaled


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, term: Tensor, factor: int) -> Tensor:
        ctx.factor = factor
        return term.view_as(term)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return ctx.factor * grad_outputs[0], None
