"""What a node of a traced graph calls, and with which arguments."""

from collections.abc import Sequence
from functools import cache
from inspect import Signature, signature
from typing import Any

from torch import fx


def argument(node: fx.Node, name: str) -> Any:
    """Return the named argument of a call, whether it is given by position, by name or by default; None if the call has
    no such argument.
    """
    if name in node.kwargs:
        return node.kwargs[name]
    if node.op != "call_function":
        return None
    parameters = list(_signature(node.target).parameters.values())
    for parameter, value in zip(parameters, node.args, strict=False):
        if parameter.name == name:
            return value
    defaults = [parameter.default for parameter in parameters if parameter.name == name]
    return defaults[0] if defaults and defaults[0] is not Signature.empty else None


def arguments(node: fx.Node, names: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a call of a function that is written in C by name, None where one is not given.

    Args:
        node: the call.
        names: of the function's parameters, in order.
    """
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    return {name: given.get(name) for name in names}


@cache
def _signature(function: Any) -> Signature:
    try:
        return signature(function)
    except (TypeError, ValueError):  # written in C
        return Signature()
