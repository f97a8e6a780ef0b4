"""Gates: numbers that a trained network multiplies its units by, one per unit and image.

The masks of a mask generator are gates. A network with gates is counted with them. Its modules have none, and scale
their units in place of them (:mod:`moda_core.choosing.folding`).

Shapes: B samples, N_l units of site l.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from moda_core.units import UnitLayers, along, gate_source


class Gate(nn.Module):
    """Makes the gates of one site: called with what the site's layer reads, it returns (B, N_l) numbers of at least 0,
    in float32 or wider.
    """


@dataclass(frozen=True, eq=False)
class Gated:
    """A network with gates.

    Attributes:
        network: the network without them, which is what is saved and cut.
        sites: where the gates act, outputs of layers of the network (:func:`gate_sites`).
        gates: a :class:`Gate` for each site, all on the network's device; None where only the sites are asked for.
        folds: whether modules scale kept units as their open gates do; False: kept units are taken as they are.
    """

    network: nn.Module
    sites: UnitLayers
    gates: nn.ModuleList | None = None
    folds: bool = True

    def model(self) -> fx.GraphModule:
        """Return the network with gates: from images to logits, with shared parameters and in the network's mode."""
        graph, _ = self._insert(self.sites.graph, detached=False)
        return self._root(graph)

    def watched_model(self, *, first_as_ones: bool = False) -> fx.GraphModule:
        """Return the network with gates whose call returns ``(logits, gates)``, the gates as a list of (B, N_l).

        Args:
            first_as_ones: whether ones are returned in place of the first site's gates, which multiply all the same.
        """
        graph, made = self._insert(self.sites.graph, detached=False)
        output = next(node for node in graph.nodes if node.op == "output")
        if first_as_ones:
            with graph.inserting_before(output):
                made[0] = graph.call_function(torch.ones_like, (made[0],))
        output.args = ((output.args[0], made),)
        return self._root(graph)

    def counted(self, layers: UnitLayers) -> tuple[fx.GraphModule, UnitLayers]:
        """Return the network with gates, and sites of the network in its graph, for what counts units.

        Gradients do not pass through the gates, which are constants in modules.

        Args:
            layers: any sites of the network.
        """
        graph, _ = self._insert(layers.graph, detached=True)
        return self._root(graph), UnitLayers(graph, layers.layers)

    def _insert(self, plain: fx.Graph, *, detached: bool) -> tuple[fx.Graph, list[fx.Node]]:
        """Copy a graph of the network with the product with the gate after each site; also the gates' nodes."""
        place_of = {site.node: place for place, site in enumerate(self.sites)}
        modules, prefix = dict(self.network.named_modules()), self._prefix
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        made: list[fx.Node] = []
        for node in plain.nodes:
            copies[node] = graph.node_copy(node, lambda original: copies[original])
            assert copies[node].name == node.name  # by which sites are found
            if (place := place_of.get(node.name)) is not None:
                source, _ = gate_source(node, modules)
                made.append(graph.call_module(f"{prefix}.{place}", (copies[source],)))
                gate = graph.call_method("detach", (made[-1],)) if detached else made[-1]
                copies[node] = graph.call_function(_gate_units, (copies[node], gate, self.sites[place].dimension))
        return graph, made

    def _root(self, graph: fx.Graph) -> fx.GraphModule:
        assert self.gates is not None
        named = [str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")]
        parts: dict[str, Any] = {f"{self._prefix}.{place}": gate for place, gate in enumerate(self.gates)}
        parts |= {name: operator.attrgetter(name)(self.network) for name in named if name not in parts}
        model = fx.GraphModule(parts, graph)
        model.training = self.network.training
        return model

    @property
    def _prefix(self) -> str:
        """A name that the network does not use."""
        prefix = "gates"
        while hasattr(self.network, prefix):
            prefix += "_"
        return prefix


def watch_gates(network: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """Return the network of a graph whose call returns its gates, a list of (B, N_l) in order of execution.

    Args:
        network: from :meth:`Gated.counted`.
        graph: of the sites that came with it.

    Raises:
        ValueError: a network without gates.
    """
    gates = [
        node
        for node in graph.nodes
        if node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), Gate)
    ]
    if not gates:
        raise ValueError(f"{type(network).__name__} has no gates; train it by a method with mask generators")
    copy, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    copy.graph_copy(graph, copies)
    copy.output([copies[node] for node in gates])
    watched = fx.GraphModule(network, copy)
    watched.graph.eliminate_dead_code()
    watched.recompile()
    return watched


def _gate_units(activation: Tensor, gate_BN: Tensor, dimension: int) -> Tensor:
    return activation * along(gate_BN, activation, dimension)
