"""Reuse accuracy: how well composed modules tell their own classes apart (docs/method.md).

The composed module of a class subset is tested on the images of its classes. Here a batch may mix subsets: every row
has its own unit mask and its own allowed logits, so a thousand small composed modules cost a few full batches.

Shapes: S subsets, C classes, P (image, subset) pairs, N_l units of layer l, I images.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, fx, nn

from moda_core.choosing import Decomposition, Masks, as_decomposition, row_masked_graph
from moda_core.modes import device_of, evaluating
from moda_core.units import UnitLayers


class Images(Protocol):
    """Images that an index tensor (B,) picks a (B, ch, H, W) batch of: a tensor is one."""

    def __getitem__(self, index: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class ReuseDraw:
    """A draw that says which images are tested in which composed modules.

    Attributes:
        subsets_SC: boolean, the classes of each subset.
        pair_image_P: index of the image of each pair.
        pair_subset_P: index of the subset of each pair.
        pair_label_P: class id of the image.
    """

    subsets_SC: Tensor
    pair_image_P: Tensor
    pair_subset_P: Tensor
    pair_label_P: Tensor

    @property
    def images(self) -> int:
        """How many different images take part."""
        return len(self.pair_image_P.unique())

    @cached_property
    def pair_subset_PC(self) -> Tensor:
        """The classes of each pair's subset, boolean."""
        return self.subsets_SC[self.pair_subset_P]

    def first(self, pairs: int) -> "ReuseDraw":
        """Return the draw of the first so many pairs."""
        return self._part(slice(pairs))

    def rest(self, pairs: int) -> "ReuseDraw":
        """Return the draw of the pairs after the first so many."""
        return self._part(slice(pairs, None))

    def _part(self, part: slice) -> "ReuseDraw":
        return ReuseDraw(self.subsets_SC, self.pair_image_P[part], self.pair_subset_P[part], self.pair_label_P[part])

    @cached_property
    def weight_P(self) -> Tensor:
        """A pair's weight in a mean: sizes weigh the same, so do a size's subsets, so do a subset's images; float64."""
        size_S = self.subsets_SC.sum(1)
        per_subset_S = torch.bincount(self.pair_subset_P, minlength=len(size_S)).double()
        subsets_of_size = torch.bincount(size_S[per_subset_S > 0])
        size_P = size_S[self.pair_subset_P]
        sizes = int((subsets_of_size > 0).sum())
        return 1 / (per_subset_S[self.pair_subset_P] * subsets_of_size[size_P] * sizes)

    def mean(self, values_P: Tensor) -> tuple[float, float]:
        """Return the weighted mean of a value for each pair, and its standard error over draws of images.

        An image that takes part in several pairs is one observation. Of the difference of two values on the same pairs
        this is the paired error.
        """
        mean = float((self.weight_P * values_P).sum())
        residual = torch.zeros(int(self.pair_image_P.max()) + 1, dtype=torch.float64)
        residual.index_add_(0, self.pair_image_P, self.weight_P * (values_P.double() - mean))
        images = self.images
        return mean, math.sqrt(float(residual.square().sum()) * images / max(1, images - 1))


@dataclass(frozen=True)
class ReuseAccuracy:
    """The reuse accuracy of composed modules.

    Attributes:
        mean: over subset sizes of the mean over that size's subsets.
        standard_error: of the mean over draws of images: an image tested in several subsets is one observation. At
            least 1 / images: that no image went wrong does not make the estimate certain.
        by_size: accuracy for each subset size.
    """

    mean: float
    standard_error: float
    by_size: Mapping[int, float]


def all_subsets(num_classes: int, sizes: Sequence[int] | None = None) -> list[tuple[int, ...]]:
    """Return every class subset of the given sizes; by default 2 to all of them (10 classes: 1,013 subsets)."""
    wanted = range(2, num_classes + 1) if sizes is None else sizes
    return [subset for size in wanted for subset in itertools.combinations(range(num_classes), size)]


def draw_subsets(
    num_classes: int, per_size: int, *, seed: int, sizes: Sequence[int] | None = None
) -> list[tuple[int, ...]]:
    """Draw ``per_size`` different subsets of each size (by default from 2 to all), by a seed; fewer if there are not so
    many."""
    if per_size < 1:
        raise ValueError(f"subsets a size = {per_size} must be at least 1")
    generator = torch.Generator().manual_seed(seed)
    drawn: list[tuple[int, ...]] = []
    for size in range(2, num_classes + 1) if sizes is None else sizes:
        chosen: set[tuple[int, ...]] = set()
        while len(chosen) < min(per_size, math.comb(num_classes, size)):
            order = torch.randperm(num_classes, generator=generator)[:size]
            chosen.add(tuple(sorted(order.tolist())))
        drawn += sorted(chosen)
    return drawn


def draw_pairs(
    labels: Tensor,
    subsets: Sequence[Sequence[int]],
    *,
    num_classes: int,
    images_per_size: int | None = None,
    seed: int = 0,
) -> ReuseDraw:
    """Pair each subset with the images of its classes.

    Args:
        labels: (I,) class ids of the images.
        subsets: the class subsets.
        num_classes: C.
        images_per_size: at most how many pairs to draw for each subset size: every subset has an equal share of them
            (at least one), or all its images where it has fewer; each size draws its own. None: all pairs.
        seed: of that draw.

    Raises:
        ValueError: no subset, or one none of whose classes has an image.
    """
    if not subsets:
        raise ValueError("there are no class subsets to test; reuse accuracy needs two classes or more")
    generator = torch.Generator().manual_seed(seed)
    subsets_SC = torch.zeros(len(subsets), num_classes, dtype=torch.bool)
    for row, subset in enumerate(subsets):
        subsets_SC[row, list(subset)] = True
    labels = labels.cpu()
    images, rows = [], []
    for size in sorted({len(subset) for subset in subsets}):
        same_size = [row for row, subset in enumerate(subsets) if len(subset) == size]
        for place, row in enumerate(same_size):
            own = subsets_SC[row][labels].nonzero().flatten()
            if len(own) == 0:
                raise ValueError(f"there is no image of the classes {list(subsets[row])} to test their module on")
            if images_per_size is not None:
                share = images_per_size // len(same_size) + (place < images_per_size % len(same_size))
                own = own[torch.randperm(len(own), generator=generator)[: max(1, share)]]
            images.append(own)
            rows.append(torch.full_like(own, row))
    pair_image_P = torch.cat(images)
    return ReuseDraw(subsets_SC, pair_image_P, torch.cat(rows), labels[pair_image_P])


def reuse_accuracy(
    network: nn.Module,
    layers: UnitLayers,
    masks: Masks | None,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    subsets: Sequence[Sequence[int]],
) -> ReuseAccuracy:
    """Measure the reuse accuracy of the composed modules of ``subsets`` over all their images in ``batches``.

    Arguments are those of :func:`estimate_reuse`; ``batches`` gives (images, labels).
    """
    listed = list(batches)
    if not listed:
        raise ValueError("there are no batches to test composed modules on")
    images, labels = (torch.cat(parts) for parts in zip(*listed, strict=True))
    with evaluating(network):
        num_classes = network(images[:1]).shape[1]
    return estimate_reuse(network, layers, masks, images, draw_pairs(labels, subsets, num_classes=num_classes))


def estimate_reuse(
    network: nn.Module,
    layers: UnitLayers,
    masks: Masks | None,
    images: Images,
    draw: ReuseDraw,
    *,
    batch_size: int = 512,
) -> ReuseAccuracy:
    """Estimate the reuse accuracy of composed modules over a draw of (image, subset) pairs, by masking.

    Args:
        network: the trained network.
        layers: its unit layers.
        masks: L boolean tensors of (C, N_l), or a decomposition; None for the baseline: the whole network, logits
            restricted.
        images: where the draw's images are, on the network's device.
        draw: which images are tested in which subsets.
        batch_size: rows of one forward pass.
    """
    parts = [
        logits_BC.masked_fill(~in_subset_BC, -torch.inf).argmax(1).cpu()
        for logits_BC, in_subset_BC in _logits_by_batch(network, layers, masks, images, draw, batch_size)
    ]
    return summarize_reuse(torch.cat(parts) == draw.pair_label_P, draw)


def reuse_logits(
    network: nn.Module,
    layers: UnitLayers,
    masks: Masks | None,
    images: Images,
    draw: ReuseDraw,
    *,
    batch_size: int = 512,
) -> Tensor:
    """Compute the logits of composed modules on a draw, by masking, for :func:`correct_pairs` and :func:`fit_bias`.

    Arguments are those of :func:`estimate_reuse`.

    Returns:
        (P, C) on the CPU, the bias of a decomposition included; those of classes outside a pair's subset mean nothing.
    """
    return torch.cat([logits.cpu() for logits, _ in _logits_by_batch(network, layers, masks, images, draw, batch_size)])


def _logits_by_batch(
    network: nn.Module, layers: UnitLayers, masks: Masks | None, images: Images, draw: ReuseDraw, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The logits (B, C) of each batch of pairs, and which of the classes are in their subsets, on the device."""
    device = device_of(network)
    subsets_SC = draw.subsets_SC.to(device)
    decomposition = None if masks is None else as_decomposition(masks)
    factors = [] if decomposition is None else _factors(decomposition, subsets_SC)
    bias_C = None if decomposition is None or decomposition.bias_C is None else decomposition.bias_C.to(device)
    masked = network if decomposition is None else fx.GraphModule(network, row_masked_graph(layers))
    with evaluating(network):
        for image_B, subset_B in zip(
            draw.pair_image_P.to(device).split(batch_size), draw.pair_subset_P.to(device).split(batch_size), strict=True
        ):
            logits_BC = masked(images[image_B], *(factor_SN[subset_B] for factor_SN in factors))
            yield logits_BC if bias_C is None else logits_BC + bias_C.to(logits_BC.dtype), subsets_SC[subset_B]


def correct_pairs(logits_PC: Tensor, draw: ReuseDraw, bias: Tensor | None = None) -> Tensor:
    """Return for which pairs the largest logit of the subset is the image's class, boolean (P,).

    Args:
        logits_PC: from :func:`reuse_logits`.
        draw: the draw that they are of.
        bias: (C,), or (P, C) for a bias of each pair, added to the logits.
    """
    biased_PC = logits_PC if bias is None else logits_PC.double() + bias
    return biased_PC.masked_fill(~draw.pair_subset_PC, -torch.inf).argmax(1) == draw.pair_label_P


def reuse_by_composing(
    compose: Callable[[Sequence[int]], nn.Module], images: Images, draw: ReuseDraw, *, batch_size: int = 512
) -> ReuseAccuracy:
    """Measure reuse accuracy over a draw by composing a network for each subset; :func:`estimate_reuse` does it by
    masking.

    Args:
        compose: gives the network of some class ids, its logits in their order: cut in memory, or loaded from a set.
        images: where the draw's images are, on the networks' device.
        draw: which images are tested in which subsets; all of them, for confirmed points.
        batch_size: images of one forward pass.
    """
    correct_P = torch.zeros(len(draw.pair_image_P), dtype=torch.bool)
    for row in draw.pair_subset_P.unique().tolist():
        classes = draw.subsets_SC[row].nonzero().flatten()
        own_P = (draw.pair_subset_P == row).nonzero().flatten()
        network = compose(classes.tolist())
        with evaluating(network):
            for part in own_P.split(batch_size):
                found = network(images[draw.pair_image_P[part]]).argmax(1).cpu()
                correct_P[part] = classes[found] == draw.pair_label_P[part]
    return summarize_reuse(correct_P, draw)


def _factors(decomposition: Decomposition, subsets_SC: Tensor) -> list[Tensor]:
    """By how much each subset multiplies each unit: L tensors of (S, N_l)."""
    unions = [_union(subsets_SC, mask_CN.to(subsets_SC.device)) for mask_CN in decomposition.keep]
    if decomposition.scales is None:
        return unions
    scales = decomposition.scales.of_subsets(subsets_SC)
    return [union_SN * scale_SN for union_SN, scale_SN in zip(unions, scales, strict=True)]


def _union(subsets_SC: Tensor, mask_CN: Tensor) -> Tensor:
    """The union mask of each subset: (S, N_l), as a float factor."""
    return ((subsets_SC.float() @ mask_CN.float()) > 0).float()


def summarize_reuse(correct_P: Tensor, draw: ReuseDraw) -> ReuseAccuracy:
    """Return the reuse accuracy of pairs that are correct or not."""
    mean, spread = draw.mean(correct_P)
    size_P = draw.pair_subset_PC.sum(1)
    by_size = {}
    for size in size_P.unique().tolist():
        chosen = size_P == size
        by_size[size] = float((draw.weight_P * correct_P)[chosen].sum() / draw.weight_P[chosen].sum())
    return ReuseAccuracy(mean, max(spread, 1 / draw.images), by_size)
