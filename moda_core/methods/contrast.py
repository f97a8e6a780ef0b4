"""NeMo's contrast of masks: those of one class should be alike, those of different classes should not.

With S_ij the cosine of the masks of samples i and j, P_ij whether they are of one class, and t the temperature,

    pos_i = sum over all j of exp(P_ij S_ij / t),  neg_i = sum over all j of exp((1 - P_ij) S_ij / t)
    contrast = mean over layers and i of -log((pos_i + 1e-8) / (pos_i + neg_i + 1e-8))

so a sample is its own positive, and a pair that a sum leaves out adds exp(0) = 1 to it.

Every pair has an exponential of its own, so sums per class do not do. Each worker computes the rows of its samples
against the masks of all workers, which are gathered; of the rows of others it needs two numbers a row and layer.

Shapes: b samples of this worker, B of all workers, L layers, N_l units of layer l.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

SMALLEST = 1e-8  # beside both sums
EPSILON = 1e-12  # floor of a mask's norm
PADDING = -1  # label of rows that only fill up a worker's part


def contrastive_loss(
    masks: Sequence[Tensor],
    labels: Tensor,
    *,
    temperature: float,
    size: int | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Compute the contrast of a batch, a scalar of at least 0; finite also where a batch has no pairs of a kind.

    Args:
        masks: L tensors of (b, N_l) in float32 or wider.
        labels: (b,) class ids.
        temperature: t, above 0.
        size: B; needed for several workers, among which the batch is shared out as evenly as it can be.
        group: the workers; None for one. Every worker then returns the contrast of the whole batch, and its gradient
            flows through its own samples only: the workers' gradients add up to the exact one.
    """
    widths = tuple(mask_bN.shape[1] for mask_bN in masks)
    loss: Tensor = _Contrast.apply(torch.cat(list(masks), dim=1), labels, widths, temperature, size, group)  # type: ignore[no-untyped-call]
    return loss


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        masks_bN: Tensor,
        labels_b: Tensor,
        widths: tuple[int, ...],
        temperature: float,
        size: int | None,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        parts = masks_bN.split(widths, dim=1)
        lengths = [torch.linalg.vector_norm(part, dim=1, keepdim=True) for part in parts]
        own_bN = torch.cat([part / length.clamp(min=EPSILON) for part, length in zip(parts, lengths, strict=True)], 1)
        all_BN, labels_B, is_row = _gather_masks(own_bN, labels_b, size, group)
        same_bB = labels_b[:, None] == labels_B
        powers, positives, negatives = [], [], []
        for own, other in zip(own_bN.split(widths, dim=1), all_BN.split(widths, dim=1), strict=True):
            power_bB = (own @ other.T / temperature).exp()
            powers.append(power_bB)
            positives.append(torch.where(same_bB, power_bB, 1.0).sum(1))
            negatives.append(torch.where(same_bB, 1.0, power_bB).sum(1))
        positive_bL, negative_bL = torch.stack(positives, 1) + SMALLEST, torch.stack(negatives, 1)
        both_bL = positive_bL + negative_bL
        # By pos and by neg: the derivatives of a row, which the columns of other workers need too.
        by_same_bL, by_other_bL = 1 / both_bL - 1 / positive_bL, 1 / both_bL
        rows_bL = (both_bL / positive_bL).log()
        gathered = _gather_rows(torch.cat([by_same_bL, by_other_bL, rows_bL], 1), is_row, group)
        all_same_BL, all_other_BL, all_rows_BL = gathered.tensor_split(3, dim=1)
        ctx.widths, ctx.divisor = widths, temperature * max(1, all_rows_BL.numel())
        ctx.save_for_backward(own_bN, all_BN, same_bB, by_same_bL, by_other_bL, all_same_BL, all_other_BL)
        ctx.powers, ctx.lengths = powers, lengths
        return all_rows_BL.mean() if all_rows_BL.numel() else all_rows_BL.sum()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        own_bN, all_BN, same_bB, by_same_bL, by_other_bL, all_same_BL, all_other_BL = ctx.saved_tensors
        gradients = []
        split = own_bN.split(ctx.widths, dim=1), all_BN.split(ctx.widths, dim=1)
        for layer, (own, other) in enumerate(zip(*split, strict=True)):
            as_same_bB = by_same_bL[:, layer, None] + all_same_BL[:, layer]  # of the row and of the column
            as_other_bB = by_other_bL[:, layer, None] + all_other_BL[:, layer]
            pulls_bB = ctx.powers[layer] * torch.where(same_bB, as_same_bB, as_other_bB)
            gradient = (pulls_bB @ other).mul_(grad_outputs[0] / ctx.divisor)
            length_b1 = ctx.lengths[layer]
            # A unit vector does not change along itself, unless it is so short that only the floor divides it.
            along_b1 = (gradient * own).sum(1, keepdim=True) * (length_b1 > EPSILON)
            gradients.append((gradient - own * along_b1) / length_b1.clamp(min=EPSILON))
        return torch.cat(gradients, 1), None, None, None, None, None


def _gather_masks(
    own_bN: Tensor, labels_b: Tensor, size: int | None, group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The masks and labels of all workers, in the order of their ranks, and which of the rows that are gathered are
    samples: each worker's part is filled up to the length of the longest. Labels travel as a last column."""
    if group is None:
        return own_bN, labels_b, torch.ones_like(labels_b, dtype=torch.bool)
    assert size is not None
    longest = -(-size // dist.get_world_size(group))
    gathered = _gather_filled(torch.cat([own_bN, labels_b[:, None].to(own_bN)], 1), longest, group)
    labels = gathered[:, -1].round().long()
    is_row = labels != PADDING
    return gathered[is_row, :-1], labels[is_row], is_row


def _gather_rows(own_bK: Tensor, is_row: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The numbers of each row of all workers."""
    if group is None:
        return own_bK
    return _gather_filled(own_bK, len(is_row) // dist.get_world_size(group), group)[is_row]


def _gather_filled(own: Tensor, longest: int, group: dist.ProcessGroup) -> Tensor:
    """So many rows of each worker."""
    filled = own.new_full((longest, own.shape[1]), PADDING)
    filled[: len(own)] = own
    parts = [torch.empty_like(filled) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, filled, group=group)
    return torch.cat(parts)
