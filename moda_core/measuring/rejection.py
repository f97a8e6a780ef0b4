"""Which images are of none of a composed module's classes, by the largest logit (Hendrycks et al., "Scaling
out-of-distribution detection for real-world settings", ICML 2022).

A threshold belongs to a class and is the same in every module with it, so that slices of a set need no new ones.

Shapes: P (image, subset) pairs, C classes.
"""

import torch
from torch import Tensor

from moda_core.measuring.reuse import ReuseDraw, draw_pairs

ACCEPTED = 0.95  # of a class's own images


def draw_outside(
    labels: Tensor, draw: ReuseDraw, *, num_classes: int, images_per_size: int, seed: int = 0
) -> ReuseDraw:
    """Pair the subsets of a draw with images of other classes than theirs; subsets of all classes are left out.

    Args:
        labels: (I,) class ids of the images.
        draw: whose subsets.
        num_classes: C.
        images_per_size: pairs for each number of classes, as for :func:`draw_pairs`.
        seed: of the draw.
    """
    others = [tuple((~inside_C).nonzero().flatten().tolist()) for inside_C in draw.subsets_SC]
    others = [subset for subset in others if subset]
    drawn = draw_pairs(labels, others, num_classes=num_classes, images_per_size=images_per_size, seed=seed)
    return ReuseDraw(~drawn.subsets_SC, drawn.pair_image_P, drawn.pair_subset_P, drawn.pair_label_P)


def least_logits(logits_PC: Tensor, draw: ReuseDraw, *, accepted: float = ACCEPTED) -> Tensor:
    """Return the logit of its own class that a share of a class's images reaches in the modules of a draw.

    Args:
        logits_PC: from :func:`moda_core.reuse_logits`, the bias included.
        draw: pairs of images with subsets that hold their class, of one class too.
        accepted: the share.

    Returns:
        float64 (C,); for a class without images the least of the others.

    Raises:
        ValueError: no pair.
    """
    if not len(logits_PC):
        raise ValueError("there are no images by which logits could be judged")
    own_P = logits_PC.double().gather(1, draw.pair_label_P[:, None])[:, 0]
    least_C = torch.full((logits_PC.shape[1],), torch.inf, dtype=torch.float64)
    for class_id in draw.pair_label_P.unique().tolist():
        least_C[class_id] = torch.quantile(own_P[draw.pair_label_P == class_id], 1 - accepted, interpolation="lower")
    return torch.where(least_C.isinf(), least_C.min(), least_C)


def accepted_share(logits_PC: Tensor, draw: ReuseDraw, least_C: Tensor) -> float:
    """Return the share of a draw's pairs whose largest logit in their subset reaches its class's least one."""
    largest_P, class_P = logits_PC.double().masked_fill(~draw.pair_subset_PC, -torch.inf).max(1)
    return draw.mean((largest_P >= least_C[class_P]).double())[0]
