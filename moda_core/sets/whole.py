"""The whole network that a module set was cut from, as far as its manifest tells: its layers, not their weights."""

import math

import torch
from torch import Tensor, fx

from moda_core.choosing import Decomposition
from moda_core.cutting import cut_graph, stored_shape
from moda_core.sets.module_file import ModuleSet, held_union


def whole_network(modules: ModuleSet) -> fx.GraphModule:
    """Build the network whose units a module set holds a part of, in eval mode on the CPU, to measure what it costs.

    Its weights are drawn, so its logits mean nothing: a set does not hold what no module of it needs.
    """
    graph = modules.graph
    every = Decomposition([torch.ones(graph.output.channels, width, dtype=torch.bool) for width in graph.widths])
    held = held_union(graph, every)
    generator = torch.Generator().manual_seed(0)
    state = {
        f"{node.name}.{name}": _drawn(stored_shape(graph, node, name, held), generator)
        for node in (graph.by_name[call] for call in graph.calls)
        for name in node.tensors()
    }
    return cut_graph(graph, state, every, range(graph.output.channels), held=held).eval()


def _drawn(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Weights under which numbers keep their size, and variances above 0."""
    if len(shape) == 1:
        return 0.5 + torch.rand(shape, generator=generator)
    return torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))
