"""Counting gates over the training images: how often each is above 0, and their sums.

Shapes: B samples, C classes, N units of all sites together, N_l units of site l.
"""

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from moda_core.choosing import GATE_OPENS, GATE_SIZES, GATE_SUMS, check_evaluating, check_sizes, watch_gates
from moda_core.modes import device_of, evaluating
from moda_core.units import UnitLayers


def count_gates(
    network: nn.Module,
    sites: UnitLayers,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    num_classes: int,
    group: dist.ProcessGroup | None = None,
) -> dict[str, Tensor]:
    """Count as :meth:`moda_core.rules.gate_rule.GateRule.count`, whose arguments these are.

    Returns:
        What :data:`moda_core.choosing.GATE_COUNTS` names; and ``widths``, N_l of each site.
    """
    check_evaluating(network)
    watched, device = watch_gates(network, sites.graph), device_of(network)
    opens_CN = torch.zeros(num_classes, sum(sites.widths), dtype=torch.int64, device=device)
    sums_CN = torch.zeros_like(opens_CN, dtype=torch.float64)
    sizes_C = torch.zeros(num_classes, dtype=torch.int64, device=device)
    with evaluating(network):
        for images, labels in batches:
            gates_BN = torch.cat(watched(images), dim=1).double()
            one_hot_CB = F.one_hot(labels, num_classes).T
            opens_CN += (one_hot_CB.double() @ (gates_BN > 0).double()).long()
            sums_CN += one_hot_CB.double() @ gates_BN
            sizes_C += one_hot_CB.sum(1)
    if group is not None:
        for counts in (opens_CN, sums_CN, sizes_C):
            dist.all_reduce(counts, group=group)
    check_sizes(sizes_C)
    return {
        GATE_OPENS: opens_CN.to(torch.int32).cpu(),
        GATE_SUMS: sums_CN.cpu(),
        GATE_SIZES: sizes_C.cpu(),
        "widths": torch.tensor(sites.widths, dtype=torch.int64),
    }


def dead_sites(counts: Mapping[str, Tensor], sites: UnitLayers) -> list[str]:
    """Return the names of sites all of whose gates are 0 on every image: nothing passes them."""
    opens = counts[GATE_OPENS].split(sites.widths, dim=1)
    return [site.name for site, opens_CN in zip(sites, opens, strict=True) if not bool(opens_CN.any())]
