"""What Transformers call besides layers, as operations of the allow-list: attention, class tokens, linear functions.

Shapes: B images (two of them in a trace), H heads, T tokens, d numbers of a head.
"""

import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

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
    source = given.pop("input")
    tensors: dict[str, Tensor] = {}
    for name, constant in given.items():
        if constant is None:
            continue
        if not isinstance(constant, fx.Node) or constant.op != "get_attr":
            return False
        tensors[name] = operator.attrgetter(str(constant.target))(reader.network)
    if source in reader.constants or not all(isinstance(tensor, nn.Parameter) for tensor in tensors.values()):
        return False
    dimension = node.meta["value"].ndim - 1
    inputs = [reader.input(source, node.name, dimension=dimension)]
    attributes: dict[str, Attribute] = {"bias": "bias" in tensors}
    reader.add(node, "linear", attributes, inputs, tensors, tensors["weight"], dimension=dimension)
    reader.own(reader.nodes[node.name], tensors.values())
    return True
