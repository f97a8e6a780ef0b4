"""How often each class activates each unit: one pass for the means, one for exact counts (docs/method.md).

A unit k of layer l is active on a sample when a_l^k > threshold x (mean of a_l^k over all samples); threshold 0 is the
published rule. Statistics stream: whatever the number of samples, what is kept is thresholds x classes x units, and up
to 64 MiB of the first pass's values, which the second pass then need not compute again.

Shapes: T thresholds, C classes, B samples, N = units of all layers together, N_l units of layer l.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from moda_core.modes import device_of, evaluating
from moda_core.units import UnitLayers, watch_units

Batches = Iterable[tuple[Tensor, Tensor]]
KEPT_BYTES = 64 * 2**20  # of the first pass's unit values, so that the second need not compute them again
DEFAULT_THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Frequencies:
    """Exact counts of active samples: everything that a mask at any tau needs, without the samples.

    Attributes:
        thresholds: the grid, ascending.
        counts_TCN: int32, samples of class c on which a unit was active at a threshold.
        class_sizes_C: int64, samples of each class.
        means_N: float64, each unit's mean over all samples.
        widths: N_l of each layer; the last dimension of the tensors is the layers side by side.
    """

    thresholds: tuple[float, ...]
    counts_TCN: Tensor
    class_sizes_C: Tensor
    means_N: Tensor
    widths: tuple[int, ...]

    def counts(self, threshold: float) -> list[Tensor]:
        """Return the counts at one threshold of the grid: L tensors of (C, N_l)."""
        if threshold not in self.thresholds:
            raise ValueError(f"threshold={threshold} was not counted; counted: {list(self.thresholds)}")
        return list(self.counts_TCN[self.thresholds.index(threshold)].split(self.widths, dim=1))

    def rates(self, threshold: float) -> list[Tensor]:
        """Return f_c(l, k) at one threshold of the grid: L float64 tensors of (C, N_l), each rate in [0, 1].

        A class without samples activates no unit.
        """
        size_C1 = self.class_sizes_C[:, None].clamp(min=1)
        return [count_CN.double() / size_C1 for count_CN in self.counts(threshold)]


def count_frequencies(
    network: nn.Module,
    layers: UnitLayers,
    batches: Batches,
    *,
    num_classes: int,
    thresholds: Sequence[float] = DEFAULT_THRESHOLDS,
    group: dist.ProcessGroup | None = None,
) -> Frequencies:
    """Count, for every class and unit, the samples on which the unit is active.

    Args:
        network: the trained network, in eval mode.
        layers: its unit layers.
        batches: (images, labels) on the network's device; iterated twice, so a list or a loader and no generator.
        num_classes: C.
        thresholds: the grid; each at least 0.
        group: the workers that the batches are shared out to; None for one worker. Each gives its own share (which may
            hold no batch) and the same network, running statistics included; all return the frequencies of all batches.

    Raises:
        ValueError: a bad threshold, or 0 where an activation has no exact zeros; a network in training mode; a class
            without samples; batches that can be read only once.
    """
    grid = tuple(sorted(set(thresholds)))
    check_thresholds(layers, grid)
    check_evaluating(network)
    if isinstance(batches, Iterator):
        raise ValueError("batches can be read only once; counting needs two passes, give a list or a loader")
    passes = _Passes(watch_units(network, layers), batches)
    widths = tuple(layers.widths)
    with evaluating(network):
        device = device_of(network)  # a worker without batches has no images to ask
        sizes_C, means_N = _means(passes, num_classes, sum(widths), device, group)
        check_sizes(sizes_C)
        counts_TCN = _counts(passes, num_classes, means_N, grid, group)
    return Frequencies(grid, counts_TCN.to(torch.int32).cpu(), sizes_C.cpu(), means_N.cpu(), widths)


def check_thresholds(layers: UnitLayers, thresholds: Sequence[float]) -> None:
    """Refuse thresholds that are not numbers of at least 0, and 0 where an activation has no exact zeros."""
    if not thresholds or not all(0 <= threshold < float("inf") for threshold in thresholds):
        raise ValueError(f"thresholds={list(thresholds)} must be one or more finite numbers of at least 0")
    without = [layer for layer in layers if not layer.activation.exact_zeros]
    if 0 in thresholds and without:
        raise ValueError(
            f"thresholds={list(thresholds)} holds 0 (active is what is not zero), but {without[0].kind} at"
            f" {without[0].name!r} is never exactly zero; choose thresholds above 0"
        )


def check_evaluating(network: nn.Module) -> None:
    """Refuse to count a network in training mode."""
    if network.training:
        raise ValueError(f"{type(network).__name__} is in training mode; call its eval() before counting")


def check_sizes(sizes_C: Tensor) -> None:
    """Refuse classes without samples."""
    if (missing := (sizes_C == 0).nonzero().flatten().tolist()) != []:
        raise ValueError(f"classes {missing} have no samples to count; every class needs at least one")


def active_units(units_BN: Tensor, means_N: Tensor, threshold: float) -> Tensor:
    """Return which units are active on which samples: boolean (B, N)."""
    return units_BN > (threshold * means_N).to(units_BN.dtype)


class _Passes:
    """All batches' unit values (B, N) and labels, pass after pass; the first ones are kept as far as there is room."""

    def __init__(self, watched: nn.Module, batches: Batches) -> None:
        self.watched, self.batches = watched, batches
        self.kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self.room = KEPT_BYTES

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        kept = iter(self.kept)
        for images, labels in self.batches:
            mark = images.sum(dtype=torch.float64)  # a loader that shuffles gives other batches the next time
            before = next(kept, None)
            if before is not None and torch.equal(before[2], mark) and torch.equal(before[1], labels):
                units_BN = before[0]
            else:
                units_BN = torch.cat(self.watched(images)[1], dim=1)
            self.room -= units_BN.nbytes
            if self.room >= 0:
                self.kept.append((units_BN, labels, mark))
            yield units_BN, labels
        self.room = -1  # what is kept are the first pass's


def _means(
    passes: _Passes, num_classes: int, units: int, device: torch.device, group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor]:
    sizes_C = torch.zeros(num_classes, dtype=torch.int64, device=device)
    sums_N = torch.zeros(units, dtype=torch.float64, device=device)
    for units_BN, labels in passes:
        sizes_C += torch.bincount(labels, minlength=num_classes)
        sums_N += units_BN.sum(0, dtype=torch.float64)
    if group is not None:
        dist.all_reduce(sizes_C, group=group)
        dist.all_reduce(sums_N, group=group)
    if not sizes_C.any():
        raise ValueError("there are no batches to count")
    return sizes_C, sums_N / sizes_C.sum()


def _counts(
    passes: _Passes,
    num_classes: int,
    means_N: Tensor,
    grid: tuple[float, ...],
    group: dist.ProcessGroup | None,
) -> Tensor:
    counts_TCN = torch.zeros(len(grid), num_classes, len(means_N), dtype=torch.int64, device=means_N.device)
    for units_BN, labels in passes:
        one_hot_CB = F.one_hot(labels, num_classes).T.float()  # 0/1 sums of a batch are exact in float32
        for row, threshold in enumerate(grid):
            counts_TCN[row] += (one_hot_CB @ active_units(units_BN, means_N, threshold).float()).long()
    if group is not None:
        dist.all_reduce(counts_TCN, group=group)
    return counts_TCN
