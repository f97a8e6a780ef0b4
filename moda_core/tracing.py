"""The symbolic graph of a network, with the shape of everything in it."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn import functional as F

from moda_core.modes import evaluating

DROPOUT_FUNCTIONS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)
OPAQUE = ("torchvision.ops.stochastic_depth",)  # modules that draw at random in training: tracing would freeze them


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__ in OPAQUE or bool(super().is_leaf_module(m, module_qualified_name))


class _Recorder(fx.Interpreter):
    """Runs a graph once and leaves every node's value in ``node.meta["value"]``; of tensors only type and shape."""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        n.meta["value"] = map_aggregate(result, lambda one: one.to("meta") if isinstance(one, Tensor) else one)
        return result


def trace_with_shapes(network: nn.Module, example_input: Tensor) -> fx.Graph:
    """The network's symbolic graph, run once: every node's value (of a tensor its shape) in ``node.meta["value"]``."""
    try:
        graph = _Tracer().trace(network)
    except Exception as error:  # whatever a network's own code raises when it is given a proxy
        raise ValueError(f"{type(network).__name__} cannot be traced by torch.fx: {error}") from error
    placeholders = [node.name for node in graph.nodes if node.op == "placeholder"]
    if len(placeholders) != 1:
        raise ValueError(f"{type(network).__name__} takes {placeholders}; a network of one input is needed")
    for node in graph.nodes:
        if node.op == "call_function" and _is_frozen(node):
            raise ValueError(f"node {node.name!r}: tracing freezes {node.target}; use a module such as nn.Dropout")
    images = torch.cat([example_input[:1], example_input[-1:]])
    with evaluating(network):
        try:
            _Recorder(fx.GraphModule(network, graph)).run(images)
        except (RuntimeError, ValueError, TypeError) as error:
            shape = tuple(example_input.shape[1:])
            raise ValueError(f"{type(network).__name__} does not take images of shape {shape}: {error}") from error
    return graph


def _is_frozen(node: fx.Node) -> bool:
    """Whether a function drops at random in training and was traced in one mode only."""
    shares = [value for key, value in node.kwargs.items() if key == "p" or "dropout" in key]
    if "training" in node.kwargs and shares and not any(shares):
        return False  # it drops nothing
    return "training" in node.kwargs or node.target in DROPOUT_FUNCTIONS
