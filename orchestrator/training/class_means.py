"""Accuracies by class: their mean, in which each class counts alike, and the worst one."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moda_core import ReuseDraw
from moda_core.modes import evaluating
from orchestrator.training.data import ImageSet


@dataclass(frozen=True)
class ClassMeans:
    """A mean for each class that has any images, with its standard error over draws of images.

    Attributes:
        means: of these classes.
        errors: likewise.
    """

    means: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def balanced(self) -> float:
        """The mean over classes."""
        return math.fsum(self.means) / len(self.means)

    @property
    def balanced_error(self) -> float:
        """Its standard error: classes have different images."""
        return math.hypot(*self.errors) / len(self.errors)

    @property
    def worst(self) -> float:
        """The least mean."""
        return min(self.means)

    @property
    def worst_error(self) -> float:
        """The standard error of that class's mean; that another class may be the worst of all images is not in it."""
        return self.errors[self.means.index(self.worst)]


def reuse_by_class(correct_P: Tensor, draw: ReuseDraw) -> ClassMeans:
    """The reuse accuracy of each class's images.

    A pair weighs as it does in the reuse accuracy of all, among those of its class.

    Args:
        correct_P: (P,) bool, which pairs of the draw are correct.
        draw: the pairs.
    """
    _, label_P = draw.pair_label_P.unique(return_inverse=True)
    _, image_P = draw.pair_image_P.unique(return_inverse=True)
    weight_P, value_P = draw.weight_P, correct_P.double()
    weight_P = weight_P / torch.bincount(label_P, weight_P)[label_P]
    mean_C = torch.bincount(label_P, weight_P * value_P)
    residual_I = torch.bincount(image_P, weight_P * (value_P - mean_C[label_P]))
    label_I = torch.empty(len(residual_I), dtype=torch.long).scatter_(0, image_P, label_P)  # an image has one class
    images_C = torch.bincount(label_I)
    variance_C = torch.bincount(label_I, residual_I.square()) * images_C / (images_C - 1).clamp(min=1)
    error_C = torch.maximum(variance_C.sqrt(), 1 / images_C.double())
    return ClassMeans(tuple(mean_C.tolist()), tuple(error_C.tolist()))


def accuracy_by_class(network: nn.Module, images: ImageSet) -> tuple[Tensor, Tensor]:
    """How many images each class has, and how many of them the network gets right: int64 (C,) each."""
    counts: list[Tensor] = []
    with evaluating(network):
        for batch, labels in images.batches():
            logits_BC = network(batch)
            is_right = logits_BC.argmax(1) == labels
            counts.append(
                torch.stack([torch.bincount(part, minlength=logits_BC.shape[1]) for part in (labels, labels[is_right])])
            )
    of_class, right = torch.stack(counts).sum(0).cpu()
    return of_class, right
