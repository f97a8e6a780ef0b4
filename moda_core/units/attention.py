"""Attention, however it is written, as calls of ``F.scaled_dot_product_attention``, or of ``window_attention`` where it
is within windows: its heads are units.

``nn.MultiheadAttention`` is traced as what it computes. The plain form (a softmax of scaled products of queries and
keys, times the values) is given the function's name.

Shapes: B samples, H heads, T tokens, d numbers of a head, D = H x d channels.
"""

import operator
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from moda_core.units.calls import argument, arguments
from moda_core.units.windows import window_attention

HEADS = "heads"  # the kind of unit layer
ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
WINDOW_ARGUMENTS = ("query", "key", "value", "table", "grid", "window", "shift")
MATMULS = (torch.matmul, operator.matmul, "matmul", "__matmul__")
SOFTMAXES = (F.softmax, torch.softmax, "softmax")
PRODUCTS: tuple[Any, ...] = (operator.mul, torch.mul, "mul", operator.truediv, torch.div, "div")
QUOTIENTS: tuple[Any, ...] = PRODUCTS[3:]


def is_attention(node: fx.Node) -> bool:
    """Return whether a node is attention with heads in dimension 1: queries, keys and values of (B, H, T, d)."""
    if node.op != "call_function" or node.target not in (F.scaled_dot_product_attention, window_attention):
        return False
    query, value = attention_arguments(node)["query"], node.meta["value"]
    return isinstance(query, fx.Node) and value.ndim == query.meta["value"].ndim == 4


def attention_arguments(node: fx.Node) -> dict[str, Any]:
    """Return the arguments of a call of ``F.scaled_dot_product_attention`` or of
    :func:`moda_core.units.window_attention` by name, None where one is not given.
    """
    return arguments(node, WINDOW_ARGUMENTS if node.target is window_attention else ARGUMENTS)


def head_values(attended: Tensor) -> Tensor:
    """Return one value per head and sample, (B, H) in float32 or wider, of (B, H, T, d): the mean over tokens of the
    norm of what a head gives a token.
    """
    wide = torch.promote_types(attended.dtype, torch.float32)
    values_BH: Tensor = torch.linalg.vector_norm(attended, dim=-1, dtype=wide).mean(-1)
    return values_BH


def is_plain_attention(module: nn.Module) -> bool:
    """Return whether a module is PyTorch's self-attention over (B, T, D), which drops nothing and has no hooks."""
    hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    return (
        type(module) is nn.MultiheadAttention
        and module.batch_first
        and module._qkv_same_embed_dim
        and module.bias_k is None
        and not (module.add_zero_attn or module.dropout or hooks)
        and "forward" not in vars(module)
    )


def is_self_attention(arguments: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Return whether a call of ``nn.MultiheadAttention`` is of one value alone, and wants no weights."""
    given = dict(zip(("query", "key", "value", "key_padding_mask", "need_weights"), arguments, strict=False)) | options
    is_one = len(arguments) <= 5 and given.get("query") is given.get("key") is given.get("value")
    plain = given.get("key_padding_mask") is None and given.get("attn_mask") is None and not given.get("is_causal")
    return is_one and plain and given.get("need_weights") is False


def attend(module: nn.MultiheadAttention, tokens: Any) -> tuple[Any, None]:
    """Compute what ``module(tokens, tokens, tokens, need_weights=False)`` does, call by call: (B, T, D)."""
    projected = F.linear(tokens, module.in_proj_weight, module.in_proj_bias)
    query, key, value = (
        part.unflatten(-1, (module.num_heads, module.head_dim)).transpose(1, 2) for part in projected.chunk(3, -1)
    )
    attended = F.scaled_dot_product_attention(query, key, value)
    return module.out_proj(attended.transpose(1, 2).flatten(2)), None


class _Found(NamedTuple):
    """Attention that was found in plain form, and the calls that it is made of, the last one first."""

    query: fx.Node
    key_transposed: fx.Node
    value: fx.Node
    scale: float
    calls: list[fx.Node]


def name_attention(graph: fx.Graph, modules: dict[str, nn.Module]) -> None:
    """Put a call of ``F.scaled_dot_product_attention`` in the place of each plain form of it."""
    for node in list(graph.nodes):
        found = _find(node, modules)
        if found is None:
            continue
        with graph.inserting_before(node):
            key = graph.call_method("transpose", (found.key_transposed, -2, -1))
            named = graph.call_function(
                F.scaled_dot_product_attention, (found.query, key, found.value), {"scale": found.scale}
            )
        key.meta = dict(node.meta) | {"runs": [run.mT for run in found.key_transposed.meta["runs"]]}
        named.meta = dict(node.meta)
        node.replace_all_uses_with(named)
        for call in found.calls:
            if not call.users:
                graph.erase_node(call)


def _find(node: fx.Node, modules: dict[str, nn.Module]) -> _Found | None:
    sides = _product(node)
    if sides is None or not isinstance(sides[0], fx.Node) or not isinstance(sides[1], fx.Node):
        return None
    weights, value = sides
    calls = [node]
    while _passes_on(weights, modules):
        calls.append(weights)
        weights = weights.all_input_nodes[0]
    if not _is_softmax(weights, modules):
        return None
    calls.append(weights)
    scores, scale = weights.all_input_nodes[0], 1.0
    while (factor := _factor(scores)) is not None:
        calls.append(scores)
        scale, scores = scale * factor, scores.all_input_nodes[0]
    sides = _product(scores)
    if sides is None:
        return None
    return _Found(*sides, value, scale, [*calls, scores])


def _product(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The two sides of a matrix product of each head."""
    called = node.op in ("call_function", "call_method") and node.target in MATMULS
    if not called or len(node.args) != 2 or node.kwargs:
        return None
    first, second = node.args
    if not isinstance(first, fx.Node) or not isinstance(second, fx.Node):
        return None
    runs = [side.meta["runs"][0] for side in (first, second)]
    is_right = all(isinstance(run, Tensor) and run.ndim == 4 for run in runs)
    return (first, second) if is_right and runs[0].shape[:2] == runs[1].shape[:2] else None


def _passes_on(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node gives the weights that it is given: a dropout of nothing, or another type of numbers."""
    if node.op == "call_module":
        module = modules[str(node.target)]
        return isinstance(module, nn.Identity) or (isinstance(module, nn.Dropout) and module.p == 0)
    if node.op == "call_function":
        return node.target is F.dropout and argument(node, "p") == 0
    return node.op == "call_method" and node.target in ("to", "type_as", "float") and _is_floating(node)


def _is_floating(node: fx.Node) -> bool:
    run = node.meta["runs"][0]
    return isinstance(run, Tensor) and run.is_floating_point()


def _is_softmax(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node is a softmax over the last of four dimensions."""
    if node.op == "call_module":
        module = modules[str(node.target)]
        return type(module) is nn.Softmax and module.dim in (-1, 3)
    if node.op not in ("call_function", "call_method") or node.target not in SOFTMAXES:
        return False
    dimension = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    return dimension in (-1, 3) and _is_floating(node)


def _factor(node: fx.Node) -> float | None:
    """The number by which a node multiplies a tensor, None for anything else."""
    if node.op not in ("call_function", "call_method") or node.target not in PRODUCTS or len(node.args) != 2:
        return None
    first, second = node.args
    is_quotient = node.target in QUOTIENTS
    if isinstance(first, int | float) and not is_quotient:
        first, second = second, first
    if not isinstance(first, fx.Node) or not isinstance(second, int | float) or node.kwargs:
        return None
    return 1 / second if is_quotient else float(second)
