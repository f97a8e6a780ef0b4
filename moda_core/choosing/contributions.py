"""Another rule for the units a class keeps: what each contributes to the class's own logit, to first order.

The contribution of a unit on a sample is |sum over its pixels of activation x d(logit of the sample's class) /
d(activation)|: by how much that logit would change if the unit were dropped. A class keeps the units whose mean
contribution over its training samples reaches a level, one level for the whole network. One pass, forward and
backward; no exact zeros are needed. At equal reuse accuracy its modules were smaller than those of the activation rate
on every network that was tried (docs/results.md).

Shapes: B samples, C classes, N units of all layers together, N_l units of layer l.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, fx, nn
from torch.nn import functional as F

from moda_core.choosing.frequency import check_evaluating, check_sizes
from moda_core.choosing.masked import row_masked_graph
from moda_core.modes import device_of, evaluating
from moda_core.units import UnitLayers

BATCH = 128  # at most so many images pass at once: the backward pass needs every activation of the forward pass


@dataclass(frozen=True)
class Contributions:
    """Mean contributions of units to the classes' logits.

    Attributes:
        means_CN: float64, of each unit to its class's logit, over the class's samples; the layers side by side.
        widths: N_l of each layer.
        may_be_empty: of each layer, whether a class may keep none of its units; () for no layer.
    """

    means_CN: Tensor
    widths: tuple[int, ...]
    may_be_empty: tuple[bool, ...] = ()


def count_contributions(
    network: nn.Module,
    layers: UnitLayers,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    num_classes: int,
    group: dist.ProcessGroup | None = None,
) -> Contributions:
    """Compute the mean contribution of every unit to every class's logit over the class's samples.

    Args:
        network: the trained network, in eval mode.
        layers: its unit layers.
        batches: (images, labels) on the network's device.
        num_classes: C.
        group: the workers that the batches are shared out to; None for one worker. Each gives its own share (which may
            hold no batch) and the same network; all return the means of all batches.

    Raises:
        ValueError: a network in training mode, or a class without samples.
    """
    check_evaluating(network)
    scaled = fx.GraphModule(network, row_masked_graph(layers))
    device = device_of(network)
    sums_CN = torch.zeros(num_classes, sum(layers.widths), dtype=torch.float64, device=device)
    sizes_C = torch.zeros(num_classes, dtype=torch.float64, device=device)
    with evaluating(network):
        for images, labels in _parts(batches):
            # The derivative by a factor on a unit is the sum over its pixels of activation x gradient.
            factors = [torch.ones(len(images), n, device=device, requires_grad=True) for n in layers.widths]
            with torch.enable_grad():
                logits_BC = scaled(images, *factors)
                own = logits_BC.gather(1, labels[:, None]).sum()
                terms = torch.autograd.grad(own, factors, materialize_grads=True)  # 0 where a logit needs no such unit
            one_hot_CB = F.one_hot(labels, num_classes).T.double()
            sums_CN += one_hot_CB @ torch.cat(terms, dim=1).abs().double()
            sizes_C += one_hot_CB.sum(1)
    if group is not None:
        dist.all_reduce(sums_CN, group=group)
        dist.all_reduce(sizes_C, group=group)
    check_sizes(sizes_C)
    return Contributions((sums_CN / sizes_C[:, None]).cpu(), tuple(layers.widths), layers.may_be_empty)


def contribution_masks(contributions: Contributions, level: float) -> list[Tensor]:
    """Keep for each class the units whose mean contribution is at least ``level``, and the largest one of each layer
    that may not be empty.

    Args:
        contributions: from :func:`count_contributions`.
        level: at least 0, in logits; higher means smaller modules. Useful values lie around 0.1 to 1.

    Returns:
        L boolean tensors of (C, N_l), indexed by class id.
    """
    if not 0 <= level < float("inf"):
        raise ValueError(f"level={level} must be a finite number of at least 0")
    masks = []
    may_be_empty = contributions.may_be_empty or (False,) * len(contributions.widths)
    means = contributions.means_CN.split(contributions.widths, dim=1)
    for mean_CN, is_free in zip(means, may_be_empty, strict=True):
        mask_CN = mean_CN >= level
        largest_C = mean_CN.argmax(1, keepdim=True)
        masks.append(mask_CN if is_free else mask_CN.scatter(1, largest_C, True))
    return masks


def _parts(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    for images, labels in batches:
        yield from zip(images.split(BATCH), labels.split(BATCH), strict=True)
