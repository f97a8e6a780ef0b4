"""What Transformers call besides layers, as operations of the allow-list: attention, class tokens, linear functions.

Shapes: B images (two of them in a trace), H heads, T tokens, d numbers of a head.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from moda_core.graph.layers import Described
from moda_core.graph.operations import Attribute, Node
from moda_core.graph.parameters import embedding
from moda_core.graph.reader import Reader
from moda_core.units import arguments, attention_arguments, is_attention


def attention(reader: Reader, node: fx.Node) -> bool:
    """Add attention of queries, keys and values of (B, H, T, d); False if it masks or drops anything."""
    given = attention_arguments(node)
    if not is_attention(node) or given["attn_mask"] is not None or given["is_causal"] or given["enable_gqa"]:
        return False
    if given["dropout_p"]:
        return False
    sides = [given[name] for name in ("query", "key", "value")]
    if any(side in reader.constants for side in sides):
        return False
    _, heads, tokens, numbers = node.meta["value"].shape
    scale = given["scale"]
    if scale is None:
        scale = 1 / math.sqrt(sides[0].meta["value"].shape[-1])
    attributes: dict[str, Attribute] = {"heads": heads, "scale": float(scale)}
    inputs = tuple(_side_by_side(reader, side) for side in sides)
    added = Node(node.name, "attention", inputs, heads * numbers, (tokens,), attributes)
    reader.nodes[added.name] = added
    reader.moved[node] = added.name, torch.arange(2 * added.channels * tokens).view(2, heads, numbers, tokens).mT
    return True


def windows(reader: Reader, node: fx.Node) -> bool:
    """Add attention within windows, whose biases by relative position are an embedding with a channel for each head."""
    given = attention_arguments(node)
    table = given["table"]
    if not is_attention(node) or table not in reader.constants:
        return False
    _, heads, tokens, numbers = node.meta["value"].shape
    path, labels = reader.constants[table]
    tensor = operator.attrgetter(path)(reader.network)
    if not isinstance(tensor, nn.Parameter) or labels.shape != tensor.shape:
        return False
    biases = reader.put(f"{node.name}_biases", "embedding", None, heads, (len(tensor),), trains=True)
    reader.own(biases, [tensor])
    reader.state[f"{biases.name}.weight"] = tensor.detach().T.contiguous()
    sides = [_side_by_side(reader, given[name]) for name in ("query", "key", "value")]
    attributes: dict[str, Attribute] = {"heads": heads}
    attributes |= {name: list(given[name]) for name in ("grid", "window", "shift")}
    added = Node(node.name, "window_attention", (*sides, biases.name), heads * numbers, (tokens,), attributes)
    reader.nodes[added.name] = added
    reader.moved[node] = added.name, torch.arange(2 * added.channels * tokens).view(2, heads, numbers, tokens).mT
    return True


def _side_by_side(reader: Reader, side: fx.Node) -> str:
    """The name of the node that gives (B, H, T, d) as the channels of all heads, (B, H x d, T)."""
    origin, labels = reader.labels(side)
    return reader.moved_node(side.name, origin, labels.mT.flatten(1, 2))


def concat_tokens(reader: Reader, node: fx.Node, parts: Sequence[fx.Node]) -> bool:
    """Add a concatenation of tokens, among them class tokens, which are parameters; False if it is of anything else."""
    if node.meta["value"].ndim != 3:
        return False
    dimension = reader.dimension(node)
    inputs = []
    for part in parts:
        name: str | None
        if part in reader.constants:
            name = embedding(reader, part, dimension)
        else:
            name = reader.input(part, node.name, dimension=dimension)
        if name is None:
            return False
        inputs.append(name)
    reader.add(node, "concat_tokens", {}, inputs, dimension=dimension)
    return True


def linear(reader: Reader, node: fx.Node) -> bool:
    """Add ``F.linear`` by parameters as the linear layer that it is; False if they are anything else."""
    given = arguments(node, ("input", "weight", "bias"))
    tensors = _parameters(reader, given)
    if tensors is None:
        return False
    dimension = node.meta["value"].ndim - 1
    _add_by_parameters(reader, node, ("linear", {"bias": "bias" in tensors}), given["input"], tensors, dimension)
    return True


def layer_norm(reader: Reader, node: fx.Node) -> bool:
    """Add ``F.layer_norm`` over the channels by parameters, or by none; False if it is of anything else."""
    given = arguments(node, ("input", "normalized_shape", "weight", "bias", "eps"))
    tensors, shape = _parameters(reader, given), node.meta["value"].shape
    is_of_channels = list(given["normalized_shape"]) == [shape[-1]] and reader.dimension(node) == len(shape) - 1 > 1
    if tensors is None or not is_of_channels or list(tensors) == ["bias"]:
        return False
    eps = 1e-5 if given["eps"] is None else float(given["eps"])
    attributes: dict[str, Attribute] = {"eps": eps, "affine": bool(tensors), "bias": "bias" in tensors}
    _add_by_parameters(reader, node, ("channel_norm", attributes), given["input"], tensors, len(shape) - 1)
    return True


def _parameters(reader: Reader, given: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The weight and the bias of a function's arguments that are given; None where one is no whole parameter."""
    tensors: dict[str, Tensor] = {}
    for name in ("weight", "bias"):
        constant = given[name]
        if constant is None:
            continue
        if not isinstance(constant, fx.Node) or constant.op != "get_attr":
            return None
        tensors[name] = operator.attrgetter(str(constant.target))(reader.network)
    return tensors if all(isinstance(tensor, nn.Parameter) for tensor in tensors.values()) else None


def _add_by_parameters(
    reader: Reader, node: fx.Node, described: Described, source: fx.Node, tensors: dict[str, Tensor], dimension: int
) -> None:
    """Add an operation whose weights are parameters of the network and not of a layer."""
    op, attributes = described
    inputs = [reader.input(source, node.name, dimension=dimension)]
    reader.add(node, op, attributes, inputs, tensors, tensors.get("weight"), dimension=dimension)
    reader.own(reader.nodes[node.name], tensors.values())
