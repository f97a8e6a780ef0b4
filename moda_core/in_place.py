"""Operations that work in place: a cut network computes without side effects, so nobody may see one."""

import operator

from torch import fx, nn

from moda_core.movement import holds_tensor, is_movement
from moda_core.tracing import OPAQUE

IN_PLACE = (operator.iadd, operator.imul)


def refuse_in_place(node: fx.Node, modules: dict[str, nn.Module]) -> None:
    """A cut network computes without side effects, so nobody else may read what a node overwrites."""
    if not _works_in_place(node, modules):
        return
    overwritten = node.all_input_nodes[0]
    while _is_alias(overwritten, modules):  # to whom the memory belongs
        overwritten = overwritten.all_input_nodes[0]
    readers, aliases = [], [overwritten]
    for alias in aliases:
        for user in alias.users:
            if _is_alias(user, modules):
                aliases.append(user)
            elif user is not node and (user.op == "output" or holds_tensor(user.meta["value"])):
                readers.append(user.name)
    if readers:
        raise ValueError(f"node {node.name!r} works in place on what {readers} read too; make it inplace=False")


def _works_in_place(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        module = modules[str(node.target)]
        return bool(getattr(module, "inplace", False)) and not isinstance(module, nn.modules.dropout._DropoutNd)
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    named = str(getattr(node.target, "__name__", ""))
    in_place = bool(node.kwargs.get("inplace")) or node.target in IN_PLACE
    return node.op == "call_function" and (in_place or (named.endswith("_") and not named.endswith("__")))


def _is_alias(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node's result may share its input's memory."""
    if node.op == "call_module":
        module = modules[str(node.target)]
        if isinstance(module, nn.Identity | nn.modules.dropout._DropoutNd) or type(module).__module__ in OPAQUE:
            return True
    return is_movement(node, modules)
