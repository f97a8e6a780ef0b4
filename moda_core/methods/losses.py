"""Affinity, dispersion and compactness from per-class sums (docs/method.md; arXiv 2411.01074).

The pair means need no pairs: with s_c the sum of the normalised units over class c, s over the batch and q the sum of
the squared norms, the same-class pairs sum to (sum_c |s_c|^2 - q) / 2 and all pairs to (|s|^2 - q) / 2. A layer costs
O(B N_l) instead of O(B^2 N_l), and sums of several workers simply add up. All layers lie side by side in one matrix,
and what is summed over the units of each layer is a product with the matrix of who belongs to which: a step has as many
operations for 50 layers as for one.

Shapes: B samples, C classes, L layers, N_l units of layer l, N units in all.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-12  # floor of a unit vector's norm, so that a sample with no active unit counts as the zero vector
_LAYERS: dict[tuple[tuple[int, ...], torch.device, torch.dtype], Tensor] = {}  # of networks so far


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
    unit_BN = torch.cat(list(units), 1)
    of_layer_NL = _layers_of(tuple(unit_BN.shape[1] for unit_BN in units), unit_BN.device, unit_BN.dtype)
    one_hot_BC = F.one_hot(labels, num_classes).to(unit_BN.dtype)
    sums = _UnitSums.apply(unit_BN, one_hot_BC, of_layer_NL)  # type: ignore[no-untyped-call]
    flat = torch.cat([one_hot_BC.sum(0), one_hot_BC.new_full((1,), labels.shape[0]), *sums])
    if group is not None:
        flat = _SumOverWorkers.apply(flat, group)  # type: ignore[no-untyped-call]
    weights_L = None if layer_weights is None else flat.new_tensor(layer_weights)
    return _from_sums(flat, num_classes, of_layer_NL, weights_L)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _layers_of(widths: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """(N, L) 1 where a unit is of a layer, else 0. It is made once for a network: on a GPU making it in every step
    would wait for it."""
    key = (widths, device, dtype)
    if key not in _LAYERS:
        with torch.inference_mode(False):
            layer_N = torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths))
            _LAYERS[key] = F.one_hot(layer_N, len(widths)).to(device, dtype)
    return _LAYERS[key]


def _from_sums(flat: Tensor, num_classes: int, of_layer_NL: Tensor, weights_L: Tensor | None) -> ModularLosses:
    units, layers = of_layer_NL.shape
    count_C, batch, sums, norms_L, absolute_L = flat.split([num_classes, 1, num_classes * units, layers, layers])
    sum_CN = sums.view(num_classes, units)
    same_pairs = (count_C * (count_C - 1)).sum() / 2
    different_pairs = batch[0] * (batch[0] - 1) / 2 - same_pairs
    by_class_L, all_L = torch.stack([sum_CN.square().sum(0), sum_CN.sum(0).square()]) @ of_layer_NL
    compact_L = absolute_L / (batch * of_layer_NL.sum(0)).clamp(min=1)
    if weights_L is not None:
        compact_L = compact_L * weights_L
    zero = torch.zeros_like(same_pairs)
    affinity = 1 - ((by_class_L - norms_L) / 2).mean() / same_pairs.clamp(min=1)
    dispersion = ((all_L - by_class_L) / 2).mean() / different_pairs.clamp(min=1)
    return ModularLosses(
        torch.where(same_pairs > 0, affinity, zero),
        torch.where(different_pairs > 0, dispersion, zero),
        compact_L.mean(),
    )


class _UnitSums(torch.autograd.Function):
    """What the losses take of the units: sum_CN (flat) of the normalised ones, and by layer the sum of their squares
    and of the absolute units.

    Nothing of their size but the units is kept for the gradient; the normalised ones are made again.
    """

    @staticmethod
    def forward(ctx: Any, unit_BN: Tensor, one_hot_BC: Tensor, of_layer_NL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        length_BL = (unit_BN.square() @ of_layer_NL).sqrt()
        scale_BL = 1 / length_BL.clamp(min=EPSILON)
        ctx.save_for_backward(unit_BN, one_hot_BC, of_layer_NL, length_BL)
        sum_CN = one_hot_BC.T @ (unit_BN * (scale_BL @ of_layer_NL.T))
        return sum_CN.flatten(), (length_BL * scale_BL).square().sum(0), unit_BN.abs().sum(0) @ of_layer_NL

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        unit_BN, one_hot_BC, of_layer_NL, length_BL = ctx.saved_tensors
        by_class, square_L, absolute_L = grad_outputs
        scale_BL = 1 / length_BL.clamp(min=EPSILON)
        by_normal_BN = one_hot_BC @ by_class.view(one_hot_BC.shape[1], -1)
        # A unit vector does not change along itself, unless it is so short that only the floor divides it.
        along_BL = scale_BL * ((by_normal_BN * unit_BN) @ of_layer_NL)
        own_BL = torch.where(length_BL > EPSILON, -along_BL, 2 * square_L) * scale_BL.square()
        gradient_BN = by_normal_BN.mul_(scale_BL @ of_layer_NL.T).addcmul_(unit_BN, own_BL @ of_layer_NL.T)
        return gradient_BN.addcmul_(unit_BN.sign(), of_layer_NL @ absolute_L), None, None


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
