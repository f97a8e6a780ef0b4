"""Folding gates: modules scale each kept unit by what its gate is where it is open, on images of their classes.

Sums and counts of each class are kept, so that a module of several classes has the exact mean over them, and a slice of
a module set is the module of its classes.

Shapes: C classes, N units of all gates together, N_l units of site l.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from moda_core.choosing.decomposition import Decomposition, Scales
from moda_core.choosing.gate_names import GATE_OPENS, GATE_SIZES, GATE_SUMS
from moda_core.units import UnitLayers

RARE = 0.05  # a gate that is open on fewer of a class's images says little of its size there


@dataclass(frozen=True, eq=False)
class FoldedGates:
    """The open gates of a network as scales, a part of every decomposition of it.

    Attributes:
        sites: those of a rule and those of the gates, in order of execution.
        places: of each of the rule's sites among them.
        scales: of all sites; 1 where there is no gate.
    """

    sites: UnitLayers
    places: tuple[int, ...]
    scales: Scales

    @classmethod
    def join(cls, own: UnitLayers, gates: UnitLayers, counts: Mapping[str, Tensor]) -> "FoldedGates":
        """Join a rule's sites with those of the gates.

        Args:
            own: the rule's sites.
            gates: where the gates act, in the same network.
            counts: what :data:`moda_core.choosing.GATE_COUNTS` names, the gates' sites side by side.
        """
        order = {node.name: place for place, node in enumerate(own.graph.nodes)}
        by_node = {site.node: site for site in (*gates, *own)}
        sites = UnitLayers(own.graph, tuple(sorted(by_node.values(), key=lambda site: order[site.node])))
        place_of = {site.node: place for place, site in enumerate(sites)}
        sizes_C = counts[GATE_SIZES]
        sums = [sizes_C.double()[:, None].expand(-1, site.units).contiguous() for site in sites]
        means_CN = open_means(counts)
        for site, mean_CN in zip(gates, means_CN.split(gates.widths, dim=1), strict=True):
            sums[place_of[site.node]] = sizes_C.double()[:, None] * mean_CN
        return cls(sites, tuple(place_of[site.node] for site in own), Scales(tuple(sums), sizes_C))

    def extend(self, chosen: Decomposition) -> Decomposition:
        """Return what a rule chose at its own sites as a decomposition at all of them, with the gates as scales. At
        sites of gates where the rule does not choose, all units are kept.

        Raises:
            ValueError: a rule that scales units itself, which has no place beside the gates.
        """
        if chosen.scales is not None:
            raise ValueError("a rule that scales units cannot choose in a network with gates, which scale them already")
        keep = [torch.ones(sums_CN.shape, dtype=torch.bool) for sums_CN in self.scales.sums]
        for place, mask_CN in zip(self.places, chosen.keep, strict=True):
            keep[place] = mask_CN
        return Decomposition(keep, self.scales, chosen.bias_C, chosen.floored)


def open_means(counts: Mapping[str, Tensor]) -> Tensor:
    """Return the mean of each gate over the images of each class on which it is above 0: (C, N) float64.

    Where it is open on fewer than 5 % of a class's images, the mean is that over all classes' images on which it is
    open, and 0 of a gate that never is.
    """
    opens_CN, sums_CN = counts[GATE_OPENS].double(), counts[GATE_SUMS]
    overall_N = sums_CN.sum(0) / opens_CN.sum(0).clamp(min=1)
    is_rare_CN = opens_CN < RARE * counts[GATE_SIZES][:, None]
    return torch.where(is_rare_CN, overall_N, sums_CN / opens_CN.clamp(min=1))
