"""A rule of one's own: units are channels of convolutions, before batch norm and the residual addition.

A class keeps the channels whose mean strength on its images reaches a share of the strongest class's. Kept channels are
multiplied by the mean over the images of the target classes of a soft gate, tanh of the strength, and each logit gets
the logarithm of its class's share of the images.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, fx, nn

from moda_core import Decomposition, Parameter, Scales, UnitLayers, unit_sites, watch_units
from moda_core.choosing import check_parameters
from moda_core.modes import evaluating


class StrengthRule:
    name = "strength"
    parameters = (Parameter("share", "share of the strongest class", 0.0, 1.0, grid=(0.25, 0.5, 0.75, 0.9)),)

    def sites(self, network: nn.Module, example_input: Tensor) -> UnitLayers:
        return unit_sites(network, example_input, is_convolution)

    def check(self, sites: UnitLayers, grid: Mapping[str, Sequence[float]]) -> None:
        for value in grid["share"]:
            self.parameters[0].check(value)

    def count(
        self,
        network: nn.Module,
        sites: UnitLayers,
        batches: Iterable[tuple[Tensor, Tensor]],
        *,
        num_classes: int,
        grid: Mapping[str, Sequence[float]],
        group: dist.ProcessGroup | None = None,
    ) -> dict[str, Tensor]:
        watched = watch_units(network, sites)
        strengths_CN = torch.zeros(num_classes, sum(sites.widths), dtype=torch.float64)
        gates_CN, sizes_C = torch.zeros_like(strengths_CN), torch.zeros(num_classes, dtype=torch.float64)
        with evaluating(network):
            for images, labels in batches:
                units_BN = torch.cat(watched(images)[1], dim=1).cpu().double()
                one_hot_CB = nn.functional.one_hot(labels.cpu(), num_classes).T.double()
                strengths_CN += one_hot_CB @ units_BN
                gates_CN += one_hot_CB @ units_BN.tanh()
                sizes_C += one_hot_CB.sum(1)
        if group is not None:
            for sums in (strengths_CN, gates_CN, sizes_C):
                dist.all_reduce(sums, group=group)
        widths = torch.tensor(sites.widths)
        return {"strengths": strengths_CN, "gates": gates_CN, "sizes": sizes_C, "widths": widths}

    def choose(
        self, counts: Mapping[str, Tensor], parameters: Mapping[str, float], *, floor: float = 0.0
    ) -> Decomposition:
        check_parameters(self, parameters)
        sizes_C, widths = counts["sizes"], counts["widths"].tolist()
        mean_CN = counts["strengths"] / sizes_C[:, None]
        keep = []
        for strength_CN in (mean_CN / mean_CN.amax(0).clamp(min=1e-12)).split(widths, dim=1):
            strongest = strength_CN.argsort(dim=1, descending=True)[:, : max(1, int(floor * strength_CN.shape[1]))]
            keep.append((strength_CN >= parameters["share"]).scatter(1, strongest, True))
        scales = Scales(tuple(counts["gates"].split(widths, dim=1)), sizes_C)
        return Decomposition(keep, scales, bias_C=(sizes_C / sizes_C.sum()).log())


def is_convolution(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a call is one of a convolution."""
    return isinstance(module, nn.Conv2d)
