"""Operations that work in place on what somebody else reads.

A mask takes the place of an activation's result, and a cut network computes without side effects: who reads the memory
that a call overwrites, and not what the call returns, would see neither.
"""

import operator

import torch
from torch import fx, nn

from moda_core.errors import NetworkError
from moda_core.modes import is_random
from moda_core.units.calls import argument
from moda_core.units.movement import holds_tensor, is_movement

IN_PLACE = (operator.iadd, operator.imul)
SAME_MEMORY = (getattr, "detach", "to", "float", "double", "type", "type_as", torch.detach)

SHAPED_AS = ("view_as", "reshape_as", "expand_as", "type_as")  # of their second tensor they read no number


def mark_in_place(graph: fx.Graph, modules: dict[str, nn.Module]) -> None:
    """Leave in ``node.meta["overwrites"]`` who else reads what a node overwrites."""
    for node in graph.nodes:
        if _works_in_place(node, modules):
            node.meta["overwrites"] = _other_readers(node, modules)


def refuse_in_place(node: fx.Node) -> None:
    """Refuse a node that overwrites what other nodes read.

    Raises:
        NetworkError: the node and its readers.
    """
    readers = node.meta.get("overwrites")
    if readers:
        raise NetworkError(
            f"node {node.name!r} works in place on what {readers[:5]} read too; make it inplace=False (of x.relu_() or"
            " F.relu_(x) write x = F.relu(x))"
        )


def _other_readers(node: fx.Node, modules: dict[str, nn.Module]) -> list[str]:
    overwritten = _overwritten(node)
    if overwritten is None:
        return []
    while _is_alias(overwritten, modules) and overwritten.all_input_nodes:  # to whom the memory belongs
        overwritten = overwritten.all_input_nodes[0]
    readers, aliases = [], [overwritten]
    for alias in aliases:
        for user in alias.users:
            if user is node or (user.target in SHAPED_AS and user.all_input_nodes[0] is not alias):
                continue
            if _is_alias(user, modules):
                aliases.append(user)
            elif user.op == "output" or holds_tensor(user.meta["value"]):
                readers.append(user.name)
    return readers


def _overwritten(node: fx.Node) -> fx.Node | None:
    out = node.kwargs.get("out")
    return out if isinstance(out, fx.Node) else next(iter(node.all_input_nodes), None)


def _works_in_place(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        module = modules[str(node.target)]
        return bool(getattr(module, "inplace", False)) and not isinstance(module, nn.modules.dropout._DropoutNd)
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    if node.op != "call_function":
        return False
    named = str(getattr(node.target, "__name__", ""))
    in_place = bool(argument(node, "inplace")) or node.target in IN_PLACE or node.kwargs.get("out") is not None
    return in_place or (named.endswith("_") and not named.endswith("__"))


def _is_alias(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node's result may share its input's memory."""
    if node.op == "call_module":
        module = modules[str(node.target)]
        if isinstance(module, nn.Identity | nn.modules.dropout._DropoutNd) or is_random(module):
            return True
    if node.op in ("call_function", "call_method") and node.target in SAME_MEMORY:
        return bool(node.all_input_nodes) and holds_tensor(node.meta["value"])
    return is_movement(node, modules) or _works_in_place(node, modules)
