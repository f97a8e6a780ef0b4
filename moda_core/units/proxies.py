"""The values that a network computes with while it is traced: symbolic, and run beside that on two batches.

Sizes that both batches agree on are plain numbers. The number of images, and whatever is computed from it, stays a node
of the graph, so that the graph is right for every batch.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from moda_core.errors import NetworkError
from moda_core.modes import is_random
from moda_core.units.attention import attend, is_plain_attention, is_self_attention
from moda_core.units.windows import (
    BIAS_FUNCTION,
    attend_in_windows,
    is_patch_merging,
    is_window_attention,
    merge_patches,
    window_attention,
)

SIZES = ("size", "dim", "ndimension", "numel", "nelement", "is_floating_point", "is_complex", "is_contiguous")
FACTS = ("ndim", "is_cuda", "is_sparse", "is_quantized", "is_mkldnn")
COMPARISONS: dict[Any, Callable[[int], bool]] = {  # of a difference to 0
    operator.eq: lambda difference: difference == 0,
    operator.ne: lambda difference: difference != 0,
    operator.lt: lambda difference: difference < 0,
    operator.le: lambda difference: difference <= 0,
    operator.gt: lambda difference: difference > 0,
    operator.ge: lambda difference: difference >= 0,
}
CONSTANT = "_tensor_constant"  # what torch.fx calls the attribute that keeps a tensor made in forward


class Shape(tuple[Any, ...]):
    """A tensor's shape in which the number of images is symbolic."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return Shape(part) if isinstance(index, slice) else part

    def numel(self) -> Any:
        """How many numbers a tensor of this shape has."""
        return math.prod(self)


class TracedValue(fx.Proxy):
    """A symbolic value that knows its sizes."""

    tracer: "ShapeTracer"

    def __getattr__(self, name: str) -> Any:
        values = [getattr(run, name) for run in self.node.meta["runs"]]
        if isinstance(values[0], torch.Size):
            return self.tracer.shape(self, values)
        if isinstance(values[0], Tensor):
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        return values[0] if name in FACTS else super().__getattr__(name)

    def __len__(self) -> int:
        lengths = {len(run) for run in self.node.meta["runs"]}
        if len(lengths) > 1:
            raise NetworkError("len() of a batch is a number that tracing would freeze; write x.size(0)")
        return lengths.pop()

    def _as_number(self) -> Any:
        raise NetworkError(
            "a Python number is made of the batch size or of a tensor's values, which tracing would freeze; compute it"
            " with tensor operations, or from sizes other than the batch's"
        )

    def __format__(self, format_spec: str) -> str:
        return repr(self)

    __int__ = __float__ = __index__ = __complex__ = _as_number


class ShapeTracer(fx.Tracer):
    """Traces a network and runs every call of it on two batches of different sizes (``node.meta["runs"]``)."""

    proxy_buffer_attributes = True  # a buffer is followed, not frozen

    def __init__(self, batches: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.batches = batches
        self.running = False  # while a call is run nothing is recorded

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        is_leaf = is_random(m) or bool(super().is_leaf_module(m, module_qualified_name))
        return is_leaf and not is_plain_attention(m)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """The network's one input; further parameters of ``forward`` have their defaults."""
        parameters = list(signature(root_fn).parameters.values())[1:]
        required = [
            parameter.name
            for parameter in parameters
            if parameter.default is Parameter.empty and parameter.kind != parameter.VAR_KEYWORD
        ]
        if len(required) != 1 or parameters[0].kind not in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
            raise NetworkError(f"its forward takes {required}; a network of one input is needed")
        return root_fn, [self.root, self.create_proxy("placeholder", parameters[0].name, (), {})]

    def proxy(self, node: fx.Node) -> TracedValue:
        return TracedValue(node, self)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **options: Any) -> Any:
        if kind == "call_method" and target in ("item", "tolist", "numpy"):
            raise NetworkError(
                f".{target}() makes Python numbers of a tensor's values, which tracing would freeze; go on with tensors"
            )
        if (kind == "call_method" and target in SIZES) or target is torch.numel:
            values = self._run(kind, target, self.create_arg(args), self.create_arg(kwargs))
            if isinstance(values[0], torch.Size):
                return self.shape(args[0], values)
            if values[0] == values[1]:
                return values[0]
        if kind == "call_function" and not self.running:
            called = self._of_swin(target, args, kwargs)
            if called is not None:
                return called
        return super().create_proxy(kind, target, args, kwargs, *more, **options)

    def _of_swin(self, function: Any, args: Any, kwargs: Any) -> Any:
        """What a call of torchvision's functions for Swin computes, call by call; None for any other call."""
        if is_window_attention(function, args, kwargs):
            bias = args[3] if len(args) > 3 else kwargs["relative_position_bias"]
            made_of = bias.node.args[0] if isinstance(bias, fx.Proxy) and bias.node.args else None
            if isinstance(made_of, fx.Node) and getattr(bias.node.target, "__name__", "") == BIAS_FUNCTION:
                call = functools.partial(self._call, window_attention)
                return attend_in_windows(args, kwargs, self.proxy(made_of), call)
        return merge_patches(args[0]) if is_patch_merging(function, args) else None

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.create_proxy("call_function", function, args, {})

    def create_node(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **options: Any) -> fx.Node:
        node = super().create_node(kind, target, args, kwargs, *more, **options)
        node.meta["runs"] = self.batches if kind == "placeholder" else self._run(kind, target, args, kwargs)
        return node

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Shape):
            a = tuple(a)
        if isinstance(a, Tensor) and not isinstance(a, nn.Parameter):
            for name, constant in vars(self.root).items():  # made anew whenever the network is traced
                if name.startswith(CONSTANT) and _is_same(constant, a):
                    return self.create_node("get_attr", name, (), {})
        return super().create_arg(a)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self.running:
            return forward(*args, **kwargs)
        if isinstance(m, nn.MultiheadAttention) and is_plain_attention(m):
            if not is_self_attention(args, kwargs):
                return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)
            return super().call_module(m, lambda tokens, *_, **__: attend(m, tokens), args, kwargs)
        if m in (self.submodule_paths or {}):
            return super().call_module(m, forward, args, kwargs)
        if any(True for _ in m.parameters()) or any(True for _ in m.buffers()):
            raise NetworkError(
                f"{type(m).__name__} is not a part of the network (made in forward, or kept in a plain list), so its"
                " weights would neither train nor be saved; make it in __init__, and of a list an nn.ModuleList"
            )
        return forward(*args, **kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self.running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        decided = _decided(obj.node)
        if decided is None:
            raise NetworkError(
                "a branch or an assertion depends on a tensor's values or on the number of images; write it with"
                " torch.where, or decide by sizes or by what the constructor was given"
            )
        return decided

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        return iter([obj[index] for index in range(len(obj))])  # type: ignore[index]

    def shape(self, value: fx.Proxy, runs: Any) -> Any:
        """The shape of a value: a size that differs between the batches is a node of the graph."""
        if runs[0] == runs[1]:
            return runs[0]
        every = zip(*runs, strict=True)
        return Shape(
            first
            if first == second
            else super(ShapeTracer, self).create_proxy("call_method", "size", (value, axis), {})
            for axis, (first, second) in enumerate(every)
        )

    def _run(self, kind: str, target: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """What a call gives for either batch."""
        self.running = True
        try:
            first, second = (_call(self.root, kind, target, *_of_run((args, kwargs), run)) for run in (0, 1))
        finally:
            self.running = False
        return first, second


def _of_run(arguments: Any, run: int) -> Any:
    return map_arg(arguments, lambda node: node.meta["runs"][run])


def _call(root: nn.Module, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
    match kind:
        case "call_function":
            return target(*args, **kwargs)
        case "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        case "call_module":
            return root.get_submodule(target)(*args, **kwargs)
        case "get_attr":
            return operator.attrgetter(target)(root)
        case _:
            return args[0]


def _decided(node: fx.Node) -> bool | None:
    """What a comparison of batch sizes gives for every batch of at least one image, None if that differs."""
    holds, sides = (COMPARISONS[node.target], node.args) if node.target in COMPARISONS else (bool, (node, 0))
    if not all(_is_linear(side) for side in sides):
        return None
    first, second = (operator.sub(*_of_run(sides, run)) for run in (0, 1))  # of batches of two and of three images
    step = second - first
    of_one = first - step
    if step == 0:
        return holds(first)
    if step * of_one > 0:  # it only grows away from 0
        return holds(of_one)
    return None


def _is_same(constant: Tensor, made: Tensor) -> bool:
    return (constant.dtype, constant.device) == (made.dtype, made.device) and torch.equal(constant, made)


def _is_linear(side: Any) -> bool:
    """Whether a number grows with the number of images by the same step."""
    if not isinstance(side, fx.Node):
        return isinstance(side, int)
    if side.target in (operator.add, operator.sub):
        return all(_is_linear(part) for part in side.args)
    if side.target is operator.mul:
        return all(_is_linear(part) for part in side.args) and any(isinstance(part, int) for part in side.args)
    return side.op == "call_method" and side.target in ("size", "numel", "nelement")
