"""PyTorch layers as operations of the allow-list, and back."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from moda_core.graph.operations import Attribute, Node
from moda_core.graph.token_layers import (
    Attention,
    ChannelNorm,
    ConcatTokens,
    Embedding,
    Positions,
    TokenLinear,
    WindowAttention,
)
from moda_core.modes import evaluating, is_random
from moda_core.units import ACTIVATIONS

Described = tuple[str, dict[str, Attribute]]

WEIGHT_HOOKS = (WeightNorm, SpectralNorm, prune.BasePruningMethod)  # they set the weight before each call

PLAIN = {  # layers without attributes
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "hardsigmoid": nn.Hardsigmoid,
    "identity": nn.Identity,
}
# Functions that do what a layer does, and take the layer's arguments after their input.
FUNCTIONS: dict[Callable[..., Any], type[nn.Module]] = {
    function: activation.module for activation in ACTIVATIONS.values() for function in activation.functions
} | {
    F.max_pool2d: nn.MaxPool2d,
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.adaptive_max_pool2d: nn.AdaptiveMaxPool2d,
    torch.clone: nn.Identity,
    F.hardsigmoid: nn.Hardsigmoid,
    F.sigmoid: nn.Sigmoid,
    F.tanh: nn.Tanh,
    torch.sigmoid: nn.Sigmoid,
    torch.tanh: nn.Tanh,
}
METHODS = {method: activation.module for activation in ACTIVATIONS.values() for method in activation.methods} | {
    "sigmoid": nn.Sigmoid,
    "sigmoid_": nn.Sigmoid,
    "tanh": nn.Tanh,
    "clone": nn.Identity,
}
ARITHMETIC: dict[Callable[..., Any] | str, str] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), "add"),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), "mul"),
    **dict.fromkeys((operator.sub, torch.sub, "sub"), "sub"),
    **dict.fromkeys((operator.truediv, torch.div, "div"), "div"),
}


def describe_module(module: nn.Module, size: tuple[int, ...] = ()) -> Described | None:
    """The operation and attributes of a layer, None if the allow-list has no such operation.

    Args:
        module: the layer.
        size: what follows the channels of its input.
    """
    if not _computes_as_its_class(module):
        return None
    for op, kind in PLAIN.items():
        if isinstance(module, kind):
            return op, {}
    match module:
        case nn.Conv2d() if module.padding_mode == "zeros" and (padding := _padding(module)) is not None:
            return "conv2d", {
                "kernel_size": _pair(module.kernel_size),
                "stride": _pair(module.stride),
                "padding": padding,
                "dilation": _pair(module.dilation),
                "groups": module.groups,
                "bias": module.bias is not None,
            }
        case nn.Linear():
            return "linear", {"bias": module.bias is not None}
        case nn.BatchNorm1d() | nn.BatchNorm2d() if module.running_mean is not None and module.momentum is not None:
            return "batch_norm", {
                "eps": module.eps,
                "momentum": module.momentum,
                "affine": module.affine,
                "dimensions": 2 if isinstance(module, nn.BatchNorm2d) else 1,
            }
        case nn.InstanceNorm2d() if not module.track_running_stats:
            return "group_norm", {"groups": module.num_features, "eps": module.eps, "affine": module.affine}
        case nn.GroupNorm():
            return "group_norm", {"groups": module.num_groups, "eps": module.eps, "affine": module.affine}
        case nn.LayerNorm():
            affine = module.elementwise_affine
            return "layer_norm", {"eps": module.eps, "affine": affine, "bias": affine and module.bias is not None}
        case nn.LeakyReLU():
            return "leaky_relu", {"negative_slope": module.negative_slope}
        case nn.GELU():
            return "gelu", {"tanh": module.approximate == "tanh"}
        case nn.MaxPool2d() if _pair(module.dilation) == [1, 1] and not module.return_indices:
            return "max_pool2d", _pool(module)
        case nn.AvgPool2d() if module.divisor_override is None:
            return "avg_pool2d", _pool(module) | {"count_include_pad": module.count_include_pad}
        case nn.AdaptiveAvgPool2d() if module.output_size is not None and None not in _pair(module.output_size):
            return "adaptive_avg_pool2d", {"output_size": _pair(module.output_size)}
        case nn.AdaptiveMaxPool2d() if not module.return_indices and len(size) == 2:
            return _even_windows(module, size)
        case nn.Dropout() | nn.Dropout2d():
            return "dropout", {"p": module.p}
        case _ if is_random(module) and _passes_through(module):
            return "identity", {}  # it draws in training alone, and a cut network is in eval mode
        case _:
            return None


def describe_function(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], size: tuple[int, ...] = ()
) -> Described | None:
    """As :func:`describe_module`, of a function called with ``args`` after its input."""
    layer = FUNCTIONS.get(function)
    if layer is None or (layer is nn.MaxPool2d and len(args) > 4):  # where its order differs from the layer's
        return None
    try:
        return describe_module(layer(*args, **kwargs), size)
    except TypeError:  # arguments that the layer does not take
        return None


def build_module(node: Node, tensors: Mapping[str, Tensor], *, inputs: int, outputs: int) -> nn.Module:
    """Build the layer for ``node``, from ``inputs`` to ``outputs`` channels, with the weights in ``tensors``.

    ``node`` is any operation but ``input``, ``select``, ``concat``, additions, products and a grouped convolution.
    """
    options: dict[str, Any] = {key: _tuple(value) for key, value in node.attributes.items()}
    module: nn.Module
    match node.op:
        case "conv2d":
            module = nn.Conv2d(inputs, outputs, device="meta", **options)
        case "linear":
            kind = TokenLinear if node.size else nn.Linear
            module = kind(inputs, outputs, device="meta", **options)
        case "batch_norm":
            norm = nn.BatchNorm2d if options.pop("dimensions") == 2 else nn.BatchNorm1d
            module = norm(outputs, device="meta", **options)
            module.num_batches_tracked = torch.zeros((), dtype=torch.int64, device=tensors["running_mean"].device)
        case "group_norm":
            groups = outputs * options.pop("groups") // node.channels
            module = nn.GroupNorm(groups, outputs, device="meta", **options)
        case "channel_norm":
            affine = options.pop("affine")
            module = ChannelNorm(outputs, elementwise_affine=affine, device="meta", **options)
        case "attention":
            module = Attention(outputs * node.groups // node.channels, options["scale"])
        case "window_attention":
            module = WindowAttention(outputs * node.groups // node.channels, node.attributes)
        case "embedding":
            module = Embedding(next(iter(node.tensors())), (outputs, *node.size), **options)
        case "positions":
            module = Positions(options["index"], node.size)
        case "concat_tokens":
            module = ConcatTokens()
        case "layer_norm":
            affine = options.pop("affine")
            module = nn.LayerNorm((outputs, *node.size), elementwise_affine=affine, device="meta", **options)
        case "leaky_relu":
            module = nn.LeakyReLU(**options)
        case "gelu":
            module = nn.GELU("tanh" if options["tanh"] else "none")
        case "max_pool2d":
            module = nn.MaxPool2d(**options)
        case "avg_pool2d":
            module = nn.AvgPool2d(**options)
        case "adaptive_avg_pool2d":
            module = nn.AdaptiveAvgPool2d(**options)
        case "dropout":
            module = nn.Dropout(**options)
        case "scale":
            module = Scale(next(iter(node.tensors())), outputs, len(node.size), **options)
        case "shift":
            module = Shift(next(iter(node.tensors())), outputs, len(node.size), **options)
        case "scale_shift":
            module = ScaleShift(**options)
        case "reshape":
            module = Reshape(node.size)
        case "flatten":
            module = nn.Flatten()
        case _:
            module = PLAIN[node.op]()
    if tensors:
        module.load_state_dict(dict(tensors), strict=False, assign=True)
    return module


class ScaleShift(nn.Module):
    """factor * x + offset."""

    def __init__(self, factor: float, offset: float) -> None:
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, values: Tensor) -> Tensor:
        return values * self.factor + self.offset


class _PerChannel(nn.Module):
    """Holds one number per channel, as a parameter or as a buffer."""

    def __init__(self, name: str, channels: int, rank: int, *, trains: bool) -> None:
        super().__init__()
        self.name, self.rank = name, rank
        values_C = torch.empty(channels, device="meta")
        if trains:
            self.register_parameter(name, nn.Parameter(values_C))
        else:
            self.register_buffer(name, values_C)

    def per_channel(self) -> Tensor:
        values_C: Tensor = getattr(self, self.name)
        return values_C.view(1, -1, *[1] * self.rank)


class Scale(_PerChannel):
    """Multiplies every channel by a number of its own."""

    def forward(self, values: Tensor) -> Tensor:
        return values * self.per_channel()


class Shift(_PerChannel):
    """Adds a number of its own to every channel."""

    def forward(self, values: Tensor) -> Tensor:
        return values + self.per_channel()


def per_channel(op: str, numbers_C: Tensor, size: tuple[int, ...]) -> nn.Module:
    """Build a "scale" or "shift" by one number per channel, which does not train; ``size`` is the shape after the
    channels.
    """
    node = Node("numbers", op, ("channels",), len(numbers_C), size, {"trains": False})
    return build_module(node, dict.fromkeys(node.tensors(), numbers_C), inputs=len(numbers_C), outputs=len(numbers_C))


class Reshape(nn.Module):
    """Gives what follows the channels another shape of as many elements."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size

    def forward(self, values: Tensor) -> Tensor:
        return values.reshape(*values.shape[:2], *self.size)


def _passes_through(module: nn.Module) -> bool:
    """Whether a module gives what it is given, in eval mode."""
    with evaluating(module):
        images = torch.arange(96.0).view(2, 3, 4, 4)
        return torch.equal(module(images), images)


def _computes_as_its_class(module: nn.Module) -> bool:
    """Whether a module is one of PyTorch's own layers (maybe parametrised) with nothing hung on to its forward."""
    kind = type(module)
    if parametrize.is_parametrized(module):
        kind = kind.__bases__[0]
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    changed = [hook for hook in hooks if not isinstance(hook, WEIGHT_HOOKS)]
    known = kind.__module__.startswith("torch.nn.modules.") or is_random(module)
    return known and not changed and "forward" not in vars(module)


def _padding(module: nn.Conv2d) -> list[int] | None:
    """Zeros on each side, None if the sides differ."""
    if not isinstance(module.padding, str):
        return _pair(module.padding)
    if module.padding == "valid":
        return [0, 0]
    total = [step * (kernel - 1) for step, kernel in zip(module.dilation, module.kernel_size, strict=True)]
    return None if any(zeros % 2 for zeros in total) else [zeros // 2 for zeros in total]


def _pair(value: int | tuple[int, ...] | Any) -> list[int]:
    return [value, value] if not isinstance(value, tuple | list) else list(value)


def _tuple(value: Attribute) -> Attribute | tuple[int, ...]:
    return tuple(value) if isinstance(value, list) else value


def _even_windows(module: nn.AdaptiveMaxPool2d, size: tuple[int, ...]) -> Described | None:
    """An adaptive pool as one of windows, where they all are of one size."""
    sides = [side if wanted is None else wanted for wanted, side in zip(_pair(module.output_size), size, strict=True)]
    if any(side % wanted for wanted, side in zip(sides, size, strict=True)):
        return None
    window = [side // wanted for wanted, side in zip(sides, size, strict=True)]
    return "max_pool2d", {"kernel_size": window, "stride": window, "padding": [0, 0], "ceil_mode": False}


def _pool(module: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Attribute]:
    stride = module.stride if module.stride is not None else module.kernel_size
    return {
        "kernel_size": _pair(module.kernel_size),
        "stride": _pair(stride),
        "padding": _pair(module.padding),
        "ceil_mode": module.ceil_mode,
    }
