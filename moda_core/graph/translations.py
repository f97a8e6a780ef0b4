"""Calls of a traced graph as operations of the allow-list, where they are more than one layer each."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from moda_core.graph.layers import ARITHMETIC, METHODS, Described, describe_function, describe_module
from moda_core.graph.operations import BROADCASTING, POINTWISE, Node
from moda_core.graph.parameters import add_parameters
from moda_core.graph.reader import Reader
from moda_core.graph.reductions import REDUCTIONS, reduce
from moda_core.graph.tokens import attention, concat_tokens, layer_norm, linear, windows
from moda_core.units import argument, window_attention

Translation = Callable[[Reader, fx.Node], bool]


def translate(reader: Reader, node: fx.Node) -> bool:
    """Add the operations that a traced node is; False if the allow-list has none such."""
    called = node.op in ("call_function", "call_method")
    if called and node.target in ARITHMETIC:
        return _arithmetic(reader, node)
    translation = CALLS.get(node.target) if called else None
    if translation is not None:
        return translation(reader, node)
    described = _describe(reader, node)
    if described is None or len(node.all_input_nodes) != 1:
        return False
    _add(reader, node, described, node.all_input_nodes[0])
    return True


def _add(reader: Reader, node: fx.Node, described: Described, source: fx.Node) -> None:
    """Add an operation of one input, whose channels lie where those of the result do."""
    op, attributes = described
    if op in (*POINTWISE, "identity", "dropout") and reader.dimensions.get(node) is None and source in reader.moved:
        reader.add_to_origin(node, op, attributes, source)
        return
    dimension = reader.dimension(node)
    reader.add(node, op, attributes, [reader.input(source, node.name, dimension=dimension)], dimension=dimension)


def _describe(reader: Reader, node: fx.Node) -> Described | None:
    """The operation of a node of one input."""
    source = next(iter(node.all_input_nodes), None)
    shape = source.meta["value"].shape if source is not None and isinstance(source.meta["value"], Tensor) else ()
    if node.op == "call_module":
        module = reader.modules[str(node.target)]
        described = describe_module(module, tuple(shape[2:]))
        if isinstance(module, nn.LayerNorm) and described and module.normalized_shape != tuple(shape[1:]):
            is_of_channels = len(module.normalized_shape) == 1 and reader.dimension(node) == len(shape) - 1
            return ("channel_norm", described[1]) if is_of_channels else None
        return described
    if any(isinstance(value, fx.Node) for value in (*node.args[1:], *node.kwargs.values())):
        return None
    if node.op == "call_method" and node.target in METHODS:
        return describe_module(METHODS[str(node.target)]())
    if node.op == "call_function":
        return describe_function(node.target, node.args[1:], dict(node.kwargs), tuple(shape[2:]))  # type: ignore[arg-type]
    return None


def _concat(reader: Reader, node: fx.Node) -> bool:
    parts = node.args[0] if node.args else node.kwargs.get("tensors")
    dimension = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
    if not isinstance(parts, list | tuple) or not isinstance(dimension, int):
        return False
    channels, rank = reader.dimension(node), node.meta["value"].ndim
    nodes = [part for part in parts if isinstance(part, fx.Node)]
    if dimension % rank != channels:
        return concat_tokens(reader, node, nodes)
    inputs = [reader.input(part, node.name, dimension=channels) for part in nodes]
    reader.add(node, "concat", {}, inputs, dimension=channels)
    return True


def _pad(reader: Reader, node: fx.Node) -> bool:
    """Channels of one number before and after those of an image; pixels are padded by whoever reads them."""
    pads, mode, value = argument(node, "pad"), argument(node, "mode"), argument(node, "value") or 0.0
    source = node.args[0] if node.args else node.kwargs.get("input")
    rank = node.meta["value"].ndim
    whole = isinstance(pads, list | tuple) and all(isinstance(side, int) for side in pads)
    if not whole or not isinstance(source, fx.Node) or mode != "constant" or len(pads) != 2 * (rank - 1):
        return False
    if any(pads[:-2]) or min(pads[-2:]) < 0:
        return False
    image = reader.nodes[reader.input(source, node.name)]
    before, after = (_constant(reader, f"{node.name}_pad", image, count, float(value)) for count in pads[-2:])
    reader.add(node, "concat", {}, [*before, image.name, *after])
    return True


def _constant(reader: Reader, name: str, like: Node, channels: int, value: float) -> list[str]:
    """So many channels of one number, of an image's size; none for none."""
    if channels == 0:
        return []
    some = reader.put(f"{name}_of", "select", like, channels, like.size, index=[0] * channels)
    return [reader.put(name, "scale_shift", some, channels, like.size, factor=0.0, offset=value).name]


def _zeros(reader: Reader, node: fx.Node) -> bool:
    """Zeros of an image's size: a padding by channels is made of them."""
    source = node.all_input_nodes[0]
    image = reader.nodes[reader.input(source, node.name)]
    shape = tuple(node.meta["value"].shape)
    if len(shape) < 2 or shape[0] != source.meta["value"].shape[0] or shape[2:] != image.size:
        return False
    some = image
    if shape[1] != image.channels:
        some = reader.put(f"{node.name}_of", "select", image, shape[1], image.size, index=[0] * shape[1])
    reader.add(node, "scale_shift", {"factor": 0.0, "offset": 0.0}, [some.name])
    return True


def _same(reader: Reader, node: fx.Node) -> bool:
    """A conversion to the type that a tensor has anyway."""
    source, value = node.all_input_nodes[0], node.meta["value"]
    if source.meta["value"].dtype != value.dtype:
        return False
    _add(reader, node, ("identity", {}), source)
    return True


def _dropout(reader: Reader, node: fx.Node) -> bool:
    """A dropout of nothing; of anything else it follows no mode and is refused where networks are traced."""
    _add(reader, node, ("identity", {}), node.all_input_nodes[0])
    return True


def _arithmetic(reader: Reader, node: fx.Node) -> bool:
    if len(node.args) != 2 or node.kwargs:
        return False
    op = ARITHMETIC[node.target]
    numbers = [side for side in node.args if isinstance(side, int | float)]
    tensors = [side for side in node.args if isinstance(side, fx.Node) and isinstance(side.meta["value"], Tensor)]
    if len(tensors) == 2:
        if any(side in reader.constants for side in tensors):
            return add_parameters(reader, node, op)
        return op in (*BROADCASTING, "sub") and _broadcast(reader, node, op, tensors)
    if len(numbers) != 1 or len(tensors) != 1:
        return False
    number, is_first = float(numbers[0]), node.args[0] is numbers[0]
    if op == "div" and (number == 0 or is_first):
        return False
    factor = {"mul": number, "div": 1 / (number or 1.0)}.get(op, 1.0)
    offset = {"add": number, "sub": -number}.get(op, 0.0)
    if op == "sub" and is_first:
        factor, offset = -1.0, number
    _add(reader, node, ("scale_shift", {"factor": factor, "offset": offset}), tensors[0])
    return True


def _broadcast(reader: Reader, node: fx.Node, op: str, tensors: list[fx.Node]) -> bool:
    dimension = reader.dimension(node)
    if dimension != 1 and any(side.meta["value"].ndim != node.meta["value"].ndim for side in tensors):
        return False
    inputs = [reader.nodes[reader.input(side, node.name, dimension=dimension, broadcast=True)] for side in tensors]
    channels = max(side.channels for side in inputs)
    if op == "mul":  # one gate for all channels
        inputs = [
            reader.put(f"{node.name}_gate", "select", side, channels, side.size, index=[0] * channels)
            if side.channels == 1 < channels
            else side
            for side in inputs
        ]
    if op == "sub":
        last = inputs[1]
        name = f"{node.name}_negative"
        inputs[1] = reader.put(name, "scale_shift", last, last.channels, last.size, factor=-1.0, offset=0.0)
        op = "add"
    reader.add(node, op, {}, [side.name for side in inputs], dimension=dimension)
    return True


def _negative(reader: Reader, node: fx.Node) -> bool:
    _add(reader, node, ("scale_shift", {"factor": -1.0, "offset": 0.0}), node.all_input_nodes[0])
    return True


CALLS: dict[Any, Translation] = {
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _concat),
    **dict.fromkeys(REDUCTIONS, reduce),
    F.pad: _pad,
    F.dropout: _dropout,
    F.layer_norm: layer_norm,
    F.linear: linear,
    F.scaled_dot_product_attention: attention,
    window_attention: windows,
    **dict.fromkeys((operator.neg, torch.neg, torch.negative, "neg", "negative"), _negative),
    **dict.fromkeys((torch.zeros_like, "new_zeros"), _zeros),
    **dict.fromkeys(("to", "type", "type_as", "float", "double"), _same),
}
