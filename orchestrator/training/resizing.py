"""Weights of a Transformer that was trained on images of another size, or for other classes.

Shapes: K class tokens, G x G patches, D channels.
"""

import math
import re

import torch
from torch import Tensor
from torch.nn import functional as F

POSITIONS = ("positions", "encoder.pos_embedding")  # of moda_core.models and of torchvision
HEADS = re.compile(r"heads\.(head|\d+)\.(weight|bias)")


def is_head(name: str) -> bool:
    """Return whether a tensor of a Transformer's state belongs to a layer that gives logits."""
    return HEADS.fullmatch(name) is not None


def resize(name: str, found: Tensor, expected: Tensor) -> Tensor | None:
    """Return what a tensor of another shape becomes in the network, None where that is not known.

    Embeddings of positions are interpolated; a layer that gives logits of other classes stays as the network drew it.

    Args:
        name: in the network's state.
        found: in the file.
        expected: in the network's state.
    """
    if is_head(name) and found.ndim == expected.ndim and found.shape[1:] == expected.shape[1:]:
        return expected
    if name in POSITIONS and found.ndim == 3 and found.is_floating_point() and found.shape[::2] == expected.shape[::2]:
        return _interpolate(found, expected.shape[1])
    return None


def _interpolate(found_1TD: Tensor, tokens: int) -> Tensor | None:
    """Embeddings of so many tokens, class tokens first, as torchvision resizes them: bicubic, corners on corners."""
    for class_tokens in (1, 2, 0):
        sides = [math.isqrt(max(count - class_tokens, 0)) for count in (found_1TD.shape[1], tokens)]
        if min(sides) > 0 and [side**2 + class_tokens for side in sides] == [found_1TD.shape[1], tokens]:
            break
    else:
        return None
    own_1KD, patches_1PD = found_1TD[:, :class_tokens], found_1TD[:, class_tokens:]
    grid_1DGG = patches_1PD.mT.unflatten(2, (sides[0], sides[0])).to(torch.float32)
    resized_1DGG = F.interpolate(grid_1DGG, size=(sides[1], sides[1]), mode="bicubic", align_corners=True)
    return torch.cat([own_1KD, resized_1DGG.flatten(2).mT.to(found_1TD.dtype)], 1)
