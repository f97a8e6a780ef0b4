"""The modules that tuning begins from: cut ones, maybe with a head that the method puts on all logits, or others that
the method makes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moda_core import Decomposition, UnitLayers
from moda_core.cutting import cut_graph
from moda_core.graph import ChannelGraph
from moda_core.methods import Method


@dataclass(frozen=True)
class TuningStarts:
    """Makes the modules that tuning begins from.

    Attributes:
        method: that trained the network.
        network: trained.
        sites: of the units.
        graph: the channel graph with these sites.
        state: the graph's tensors.
        seed: of heads that are drawn.
    """

    method: Method
    network: nn.Module
    sites: UnitLayers
    graph: ChannelGraph
    state: Mapping[str, Tensor]
    seed: int

    def module(self, units: Decomposition, subset: Sequence[int]) -> nn.Module:
        """Return the module of a class subset, with a logit for each of its classes."""
        every = range(self.graph.output.channels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = self._made(units, subset)
            head = self.method.tuning_head(len(every), len(subset)) if made is None else None
        if made is not None:
            return made
        if head is None:
            return cut_graph(self.graph, self.state, units, subset)
        wide = cut_graph(self.graph, self.state, units.share(subset), every)
        return nn.Sequential(wide, head.to(next(iter(self.state.values())).device))

    def sizes(self, units: Decomposition) -> dict[str, float]:
        """Return the columns of sizes that are of modules which the method makes; none where tuning begins from cut
        ones.
        """
        with torch.random.fork_rng(devices=[]):
            modules = [self._made(units, [class_id]) for class_id in range(units.classes)]
        made = [module for module in modules if module is not None]
        if not made:
            return {}
        return {
            "cut_size": sum(map(_parameters, made)) / len(made) / _parameters(self.network),
            "linear_retention": sum(map(_linear_weights, made)) / len(made) / _linear_weights(self.network),
        }

    def composed_sizes(self, modules: Mapping[tuple[int, ...], nn.Module]) -> dict[tuple[int, ...], float]:
        """Return the parameters of such modules / those of the network, by subset."""
        return {subset: _parameters(module) / _parameters(self.network) for subset, module in modules.items()}

    def _made(self, units: Decomposition, subset: Sequence[int]) -> nn.Module | None:
        return self.method.tuning_module(self.network, self.sites, units.merge(subset).keep, len(subset))


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _linear_weights(module: nn.Module) -> int:
    return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Linear))
