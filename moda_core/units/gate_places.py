"""The sites of methods with mask generators: outputs of later convolutions, after batch norm, and in a Transformer of
the linear layers over tokens of later blocks.
"""

import functools
from collections.abc import Mapping

from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from moda_core.errors import NetworkError
from moda_core.units.attention import attention_arguments, is_attention
from moda_core.units.layers import UnitLayers, unit_sites
from moda_core.units.movement import holds_tensor


def gate_sites(network: nn.Module, example_input: Tensor) -> UnitLayers:
    """Return the outputs that a method with mask generators multiplies by masks, as sites: those of every convolution
    but the first one in order of execution, and of every linear layer over tokens in every block but the first.

    The site of a convolution is its batch norm where there is one that alone reads it, else the convolution: before
    the activation, and before a residual addition. A convolution of a shortcut is one like any other. A block is what
    runs from the linear layers that one attention reads to those that the next one reads. Which convolution or block
    is the first is decided by its place in the graph, and no number of channels plays a part.

    Args:
        network: any network that ``torch.fx`` can trace symbolically.
        example_input: one batch, for the shapes; its values do not matter.

    Raises:
        NetworkError: as :func:`unit_sites`; or a network with neither two convolutions nor two blocks of attention.
    """
    modules = dict(network.named_modules())
    later_linears = functools.cache(lambda graph: _later_linears(graph, modules))
    convolutions: list[fx.Node] = []
    is_wanted: list[bool] = []

    def is_site(node: fx.Node, module: nn.Module | None) -> bool:
        if isinstance(module, nn.Conv2d):
            convolutions.append(node)
            is_wanted.append(len(convolutions) > 1 and _batch_norm(node, modules) is None)
        else:
            source = next(iter(node.all_input_nodes), None)
            is_norm = source in convolutions[1:] and _batch_norm(source, modules) is node
            is_wanted.append(is_norm or node in later_linears(node.graph))
        return is_wanted[-1]

    try:
        return unit_sites(network, example_input, is_site)
    except NetworkError as error:
        if any(is_wanted) or not is_wanted:  # it is another error
            raise
        raise NetworkError(
            f"{type(network).__name__} has neither a convolution after a first one nor linear layers in a second block"
            " of attention, which mask generators need; choose another model or another method"
        ) from error


def gate_source(site: fx.Node, modules: Mapping[str, nn.Module]) -> tuple[fx.Node, int]:
    """Return what the layer of a site reads, and in which dimension it has its channels: 1 of a convolution, -1 (the
    last one) of a linear layer.

    Args:
        site: the node of a site of :func:`gate_sites`, in any graph of the same network.
        modules: the network's modules by name.
    """
    if _is_linear(site, modules):
        return site.all_input_nodes[0], -1
    is_convolution = site.op == "call_module" and isinstance(modules[str(site.target)], nn.Conv2d)
    convolution = site if is_convolution else site.all_input_nodes[0]
    return convolution.all_input_nodes[0], 1


def _later_linears(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> set[fx.Node]:
    """The linear layers over tokens from the first one on that the second attention reads."""
    attentions = [node for node in graph.nodes if is_attention(node)]
    if len(attentions) < 2:
        return set()
    given = attention_arguments(attentions[1])
    projections = [_projection(given[side], modules) for side in ("query", "key", "value")]
    nodes = list(graph.nodes)
    start = min(nodes.index(projection) for projection in projections)
    return {node for node in nodes[start:] if _is_linear(node, modules) and node.meta["value"].ndim > 2}


def _projection(side: fx.Node, modules: Mapping[str, nn.Module]) -> fx.Node:
    """The linear layer that gives what attention reads, or what it reads if it is not one layer's alone."""
    while not _is_linear(side, modules):
        sources = [source for source in side.all_input_nodes if holds_tensor(source.meta["value"])]
        if len(sources) != 1:
            break
        side = sources[0]
    return side


def _is_linear(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], nn.Linear)
    return node.op == "call_function" and node.target is F.linear


def _batch_norm(convolution: fx.Node, modules: Mapping[str, nn.Module]) -> fx.Node | None:
    """The batch norm that alone reads a convolution."""
    readers = list(convolution.users)
    if len(readers) != 1 or readers[0].op != "call_module":
        return None
    return readers[0] if isinstance(modules[str(readers[0].target)], _BatchNorm) else None
