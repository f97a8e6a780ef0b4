"""Affinity, dispersion and compactness from per-class sums (docs/method.md; arXiv 2411.01074).

The pair means need no pairs: with s_c the sum of the normalised units over class c, s over the batch and q the sum of
the squared norms, the same-class pairs sum to (sum_c |s_c|^2 - q) / 2 and all pairs to (|s|^2 - q) / 2. A layer costs
O(B N_l) instead of O(B^2 N_l), and sums of several workers simply add up.

Shapes: B samples, C classes, L layers, N_l units of layer l.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-12  # floor of a unit vector's norm, so that a sample with no active unit counts as the zero vector


class ModularLosses(NamedTuple):
    """The three modular losses, each a scalar, before their coefficients."""

    affinity: Tensor
    dispersion: Tensor
    compactness: Tensor


def modular_losses(
    units: Sequence[Tensor],
    labels: Tensor,
    *,
    num_classes: int,
    group: dist.ProcessGroup | None = None,
    layer_weights: Sequence[float] | None = None,
) -> ModularLosses:
    """Compute the three modular losses of a batch.

    Args:
        units: L tensors of (B, N_l), one value per unit and sample, in float32 or wider.
        labels: (B,) class ids below ``num_classes``.
        num_classes: C.
        group: the workers that the batch is spread over; None for one worker. Every worker then returns the loss of
            the whole batch, and its gradient flows through its own samples only: the workers' gradients *add up* to
            the exact one, so under DDP, which averages them, multiply the term by the number of workers.
        layer_weights: by which the layers' compactness is multiplied before its mean over layers; None for 1.

    Returns:
        Affinity in [0, 1] (1 - mean same-class cosine), dispersion in [0, 1] (mean cosine of different classes) and
        compactness >= 0 (mean absolute unit). A batch without same-class pairs has affinity 0, one without
        different-class pairs dispersion 0, one without samples compactness 0; never NaN.
    """
    one_hot_BC = F.one_hot(labels, num_classes).to(units[0].dtype)
    parts: list[Tensor] = [one_hot_BC.sum(0), one_hot_BC.new_full((1,), labels.shape[0])]
    for unit_BN in units:
        parts += _UnitSums.apply(unit_BN, one_hot_BC)  # type: ignore[no-untyped-call]
    flat = torch.cat(parts)
    if group is not None:
        flat = _SumOverWorkers.apply(flat, group)  # type: ignore[no-untyped-call]
    return _from_sums(flat, num_classes, [unit_BN.shape[1] for unit_BN in units], layer_weights)


def _from_sums(
    flat: Tensor, num_classes: int, widths: list[int], layer_weights: Sequence[float] | None
) -> ModularLosses:
    sizes = [num_classes, 1]
    for width in widths:
        sizes += [num_classes * width, 1, 1]
    count_C, batch, *layers = flat.split(sizes)
    same_pairs = (count_C * (count_C - 1)).sum() / 2
    different_pairs = batch[0] * (batch[0] - 1) / 2 - same_pairs
    same, different, compact = [], [], []
    for sums, norms, absolute, width in zip(layers[::3], layers[1::3], layers[2::3], widths, strict=True):
        sum_CN = sums.view(num_classes, width)
        by_class = sum_CN.square().sum()
        same.append((by_class - norms[0]) / 2)
        different.append((sum_CN.sum(0).square().sum() - by_class) / 2)
        compact.append(absolute[0] / (batch[0] * width).clamp(min=1))
    if layer_weights is not None:
        compact = [weight * mean for weight, mean in zip(layer_weights, compact, strict=True)]
    zero = torch.zeros_like(same_pairs)
    affinity = 1 - torch.stack(same).mean() / same_pairs.clamp(min=1)
    dispersion = torch.stack(different).mean() / different_pairs.clamp(min=1)
    return ModularLosses(
        torch.where(same_pairs > 0, affinity, zero),
        torch.where(different_pairs > 0, dispersion, zero),
        torch.stack(compact).mean(),
    )


class _UnitSums(torch.autograd.Function):
    """What a layer adds: sum_CN (flat) of the normalised units, the sum of their squares, and of the absolute units.

    Nothing but the units is kept for the gradient; the normalised ones are made again.
    """

    @staticmethod
    def forward(ctx: Any, unit_BN: Tensor, one_hot_BC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(unit_BN, one_hot_BC)
        normal_BN, _ = _normalised(unit_BN)
        sum_CN = one_hot_BC.T @ normal_BN
        return sum_CN.flatten(), normal_BN.square().sum().view(1), unit_BN.abs().sum().view(1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        unit_BN, one_hot_BC = ctx.saved_tensors
        by_class, square, absolute = grad_outputs
        normal_BN, length_B = _normalised(unit_BN)
        gradient_BN = one_hot_BC @ by_class.view(one_hot_BC.shape[1], -1)
        gradient_BN.add_(normal_BN * (2 * square))
        # A unit vector does not change along itself, unless it is so short that only the floor divides it.
        along_B = (gradient_BN * normal_BN).sum(1, keepdim=True) * (length_B > EPSILON)
        gradient_BN.sub_(normal_BN.mul_(along_B)).div_(length_B.clamp(min=EPSILON))
        return gradient_BN.add_(unit_BN.sign() * absolute), None


def _normalised(unit_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Each sample's units as a vector of length 1, and its length (B, 1)."""
    length_B = torch.linalg.vector_norm(unit_BN, dim=1, keepdim=True)
    return unit_BN / length_B.clamp(min=EPSILON), length_B


class _SumOverWorkers(torch.autograd.Function):
    """All-reduce whose gradient is that of the worker's own part: d(total) / d(own part) = 1."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: dist.ProcessGroup) -> Tensor:
        total = part.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0], None
