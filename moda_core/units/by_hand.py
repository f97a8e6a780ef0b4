"""Activations that are written out (``x * x.sigmoid()``, ``x.clamp(min=0)``) are given their names.

No formula is matched. What computes one value of another, number by number, is run on a grid of numbers and compared
with every activation that is known.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from torch.nn import functional as F

from moda_core.units.activations import KIND_OF_FUNCTION, KIND_OF_METHOD, KIND_OF_MODULE
from moda_core.units.movement import is_movement

LONGEST = 16  # calls of a formula
GRID = torch.linspace(-9, 9, 181, dtype=torch.float64)
CLOSE = 1e-6
NAMES = (
    *(
        "add",
        "sub",
        "mul",
        "div",
        "neg",
        "pow",
        "square",
        "exp",
        "erf",
        "sigmoid",
        "tanh",
        "clamp",
        "clip",
        "clamp_min",
    ),
    *("clamp_max", "maximum", "minimum", "max", "min", "where", "gt", "ge", "lt", "le", "float", "type_as", "to"),
    *("relu", "sigmoid_", "mul_", "div_", "add_", "clamp_", "clamp_min_"),
)
OPERATORS = ("add", "sub", "mul", "truediv", "neg", "pow", "gt", "ge", "lt", "le")
FUNCTIONS = {
    *(getattr(operator, name) for name in OPERATORS),
    *(getattr(torch, name) for name in NAMES if hasattr(torch, name)),
    *(F.sigmoid, F.tanh, F.hardsigmoid, F.hardtanh, F.threshold, F.softplus, *KIND_OF_FUNCTION),
}
MODULES = (nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Hardtanh, nn.Threshold, nn.Softplus, *KIND_OF_MODULE)
KNOWN: dict[str, tuple[Callable[..., Tensor], dict[str, Any]]] = {
    "relu": (F.relu, {}),
    "relu6": (F.relu6, {}),
    "hardswish": (F.hardswish, {}),
    "silu": (F.silu, {}),
    "gelu": (F.gelu, {}),
    "gelu_tanh": (F.gelu, {"approximate": "tanh"}),
}


def name_activations(graph: fx.Graph, modules: dict[str, nn.Module]) -> None:
    """Put a call of a known activation in the place of each formula that computes one."""
    order = {node: place for place, node in enumerate(graph.nodes)}
    for node in list(order):
        if not _is_pointwise(node, modules) or kind_of(node, modules) is not None:
            continue
        for source, formula in _formulas(node, modules, order):
            activation = _activation(source, formula, modules)
            if activation is not None:
                order[_replace(graph, source, formula, activation)] = order[node]
                break


def kind_of(node: fx.Node, modules: dict[str, nn.Module]) -> str | None:
    """Which of the known activations a node calls, None for any other node."""
    if node.op == "call_module":
        return KIND_OF_MODULE.get(type(modules[str(node.target)]))
    if node.op == "call_function":
        return KIND_OF_FUNCTION.get(node.target)  # type: ignore[arg-type]
    return KIND_OF_METHOD.get(str(node.target)) if node.op == "call_method" else None


def _is_pointwise(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return type(modules[str(node.target)]) in MODULES
    if node.op == "call_method":
        return node.target in NAMES
    return node.op == "call_function" and node.target in FUNCTIONS


def _number(node: fx.Node) -> Tensor | None:
    """What a node is, if it is one number that no training changes."""
    value = node.meta["runs"][0]
    if node.op.startswith("call_") and node.target in (torch.zeros_like, "new_zeros"):
        return torch.zeros((), dtype=GRID.dtype)
    is_constant = node.op == "get_attr" and isinstance(value, Tensor) and not isinstance(value, nn.Parameter)
    return value.detach().cpu() if is_constant and value.numel() == 1 else None


def _formulas(
    node: fx.Node, modules: dict[str, nn.Module], order: dict[fx.Node, int]
) -> list[tuple[fx.Node, list[fx.Node]]]:
    """Every value that ``node`` is computed of number by number, and the calls that do so in order."""
    formula, inputs = [node], set(node.all_input_nodes)
    found = []
    while len(formula) < LONGEST:
        variables = {value for value in inputs if _number(value) is None}
        if len(variables) == 1:
            found.append((next(iter(variables)), sorted(formula, key=order.__getitem__)))
        last = max(variables, key=order.__getitem__, default=node)
        if last is node or not _is_pointwise(last, modules):
            break
        formula.append(last)
        inputs = (inputs - {last}) | set(last.all_input_nodes)
    return found


def _activation(
    source: fx.Node, formula: list[fx.Node], modules: dict[str, nn.Module]
) -> tuple[Callable[..., Tensor], dict[str, Any]] | None:
    """The activation that a formula of one value computes, if nobody sees how."""
    value = source.meta["runs"][0]
    result = formula[-1].meta["runs"][0]
    if not isinstance(value, Tensor) or not isinstance(result, Tensor) or not value.is_floating_point():
        return None
    if result.shape != value.shape or not _is_unseen(source, formula, modules):
        return None
    values: dict[fx.Node, Any] = {source: GRID.clone()}
    for node in formula:
        for constant in node.all_input_nodes:
            values.setdefault(constant, _number(constant))
        args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
        try:
            values[node] = _run(node, modules, args, kwargs)
        except (RuntimeError, TypeError, ValueError):  # it computes with more than numbers, with a device say
            return None
    computed = values[formula[-1]]
    kinds = {kind_of(node, modules) for node in formula}
    for kind, (function, options) in KNOWN.items():
        same = isinstance(computed, Tensor) and computed.shape == GRID.shape
        if kind not in kinds and same and bool((computed.double() - function(GRID, **options)).abs().max() < CLOSE):
            return function, options
    return None


def _is_unseen(source: fx.Node, formula: list[fx.Node], modules: dict[str, nn.Module]) -> bool:
    """Whether what a formula overwrites is read by itself alone."""
    overwritten = [node.all_input_nodes[0] for node in formula if str(node.target).endswith("_")]
    alone = all(set(value.users) <= set(formula) for value in overwritten)
    return alone and not (source in overwritten and (source.op != "call_module" or is_movement(source, modules)))


def _run(node: fx.Node, modules: dict[str, nn.Module], args: Any, kwargs: Any) -> Any:
    if node.op == "call_module":
        return modules[str(node.target)](*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def _replace(
    graph: fx.Graph, source: fx.Node, formula: list[fx.Node], activation: tuple[Callable[..., Tensor], dict[str, Any]]
) -> fx.Node:
    function, options = activation
    last = formula[-1]
    with graph.inserting_before(last):
        named = graph.call_function(function, (source,), options)
    named.meta = dict(last.meta)
    last.replace_all_uses_with(named)
    for node in reversed(formula):
        if not node.users:
            graph.erase_node(node)
    return named
