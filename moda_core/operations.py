"""The operations that a cut network may be made of: an allow-list, each with its attributes and its tensors.

What an operation does to channels is one of four kinds:

- *mixing* (convolution, linear): every output channel reads every input channel;
- *per channel* (batch norm, ReLU, pools, addition ...): output channel k reads channel k of its inputs;
- ``flatten``: channel k becomes the features k * H * W ... (k + 1) * H * W - 1;
- ``input``: the images.

A tensor's axes are spelled "oi" (output x input channels, then the kernel) or "o": slicing a tensor, counting its
elements and checking its shape all read that one spelling.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Attribute = int | float | bool | list[int]

MIXING = frozenset({"conv2d", "linear"})
PER_CHANNEL = frozenset(
    {"add", "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "dropout", "identity", "max_pool2d", "relu"}
)

# Attribute kinds: "pair" two whole numbers, "whole" one, "number" finite, "flag" true or false.
ATTRIBUTES: dict[str, dict[str, str]] = {
    "input": {},
    "conv2d": {"kernel_size": "pair", "stride": "pair", "padding": "pair", "dilation": "pair", "bias": "flag"},
    "linear": {"bias": "flag"},
    "batch_norm": {"eps": "number", "momentum": "number", "affine": "flag", "dimensions": "whole"},
    "relu": {},
    "max_pool2d": {"kernel_size": "pair", "stride": "pair", "padding": "pair", "ceil_mode": "flag"},
    "avg_pool2d": {"kernel_size": "pair", "stride": "pair", "padding": "pair", "ceil_mode": "flag"},
    "adaptive_avg_pool2d": {"output_size": "pair"},
    "dropout": {"p": "number"},
    "identity": {},
    "flatten": {"repeat": "whole"},
    "add": {},
}
INPUTS = {"input": 0, "add": 2}  # every other operation has one
TRAINABLE = ("weight", "bias")
LARGEST_NUMBER = 1_000_000  # of any attribute or channel count: what a manifest may ask for is capped
LARGEST_PAIR = 1024  # of a kernel, a stride, a padding ...


@dataclass(frozen=True)
class Node:
    """One operation of a channel graph.

    Attributes:
        name: unique, an identifier.
        op: a key of :data:`ATTRIBUTES`.
        inputs: names of earlier nodes.
        channels: size of dimension 1 of its output in the full network.
        attributes: as the allow-list says.
        unit_layer: index of the unit layer that this node is, None for any other.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    channels: int
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    unit_layer: int | None = None

    def __post_init__(self) -> None:
        if self.op not in ATTRIBUTES:
            raise ValueError(f"node {self.name!r}: operation {self.op!r} is not one of {sorted(ATTRIBUTES)}")
        expected = ATTRIBUTES[self.op]
        if not isinstance(self.attributes, Mapping) or set(self.attributes) != set(expected):
            raise ValueError(f"node {self.name!r}: {self.op} takes {sorted(expected)}, not {self.attributes!r:.200}")
        for key, kind in expected.items():
            if not _is_kind(self.attributes[key], kind):
                raise ValueError(f"node {self.name!r}: {key}={self.attributes[key]!r} is no {kind}")
        if len(self.inputs) != INPUTS.get(self.op, 1):
            raise ValueError(f"node {self.name!r}: {self.op} does not take {len(self.inputs)} inputs")
        if not _is_kind(self.channels, "whole") or self.channels < 1:
            raise ValueError(f"node {self.name!r}: channels={self.channels!r} is no positive whole number")

    def tensors(self) -> dict[str, str]:
        """The node's tensors: name -> axes."""
        if self.op in MIXING:
            return {"weight": "oi"} | ({"bias": "o"} if self.attributes["bias"] else {})
        if self.op == "batch_norm":
            running = {"running_mean": "o", "running_var": "o"}
            return running | ({"weight": "o", "bias": "o"} if self.attributes["affine"] else {})
        return {}

    def kernel(self) -> tuple[int, ...]:
        """The trailing dimensions of the weight: (kH, kW) of a convolution, none of a linear layer."""
        size = self.attributes.get("kernel_size") if self.op == "conv2d" else None
        return tuple(size) if isinstance(size, list) else ()

    def shape(self, axes: str, outputs: int, inputs: int) -> tuple[int, ...]:
        """The shape of a tensor of the given axes for so many output and input channels."""
        return (outputs, inputs, *self.kernel()) if axes == "oi" else (outputs,)


def _is_kind(value: object, kind: str) -> bool:
    match kind:
        case "flag":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER
        case "pair":
            return (
                isinstance(value, list)
                and len(value) == 2
                and all(_is_kind(one, "whole") and one <= LARGEST_PAIR for one in value)
            )
        case _:
            return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER


def describe_module(module: nn.Module) -> tuple[str, dict[str, Attribute]] | None:
    """The operation and attributes of a layer, None if the allow-list has no such operation."""
    match module:
        case nn.Conv2d() if module.groups == 1 and module.padding_mode == "zeros" and module.padding != "same":
            padding = [0, 0] if isinstance(module.padding, str) else _pair(module.padding)
            return "conv2d", {
                "kernel_size": _pair(module.kernel_size),
                "stride": _pair(module.stride),
                "padding": padding,
                "dilation": _pair(module.dilation),
                "bias": module.bias is not None,
            }
        case nn.Linear():
            return "linear", {"bias": module.bias is not None}
        case nn.BatchNorm1d() | nn.BatchNorm2d() if module.track_running_stats and module.momentum is not None:
            return "batch_norm", {
                "eps": module.eps,
                "momentum": module.momentum,
                "affine": module.affine,
                "dimensions": 2 if isinstance(module, nn.BatchNorm2d) else 1,
            }
        case nn.ReLU():
            return "relu", {}
        case nn.MaxPool2d() if _pair(module.dilation) == [1, 1] and not module.return_indices:
            return "max_pool2d", _pool(module)
        case nn.AvgPool2d() if module.count_include_pad and module.divisor_override is None:
            return "avg_pool2d", _pool(module)
        case nn.AdaptiveAvgPool2d() if module.output_size is not None and None not in _pair(module.output_size):
            return "adaptive_avg_pool2d", {"output_size": _pair(module.output_size)}
        case nn.Dropout() | nn.Dropout2d():
            return "dropout", {"p": module.p}
        case nn.Identity():
            return "identity", {}
        case nn.Flatten() if module.start_dim == 1 and module.end_dim == -1:
            return "flatten", {}
        case _:
            return None


def build_module(node: Node, tensors: Mapping[str, Tensor], *, inputs: int, outputs: int) -> nn.Module:
    """A layer that does what ``node`` does, from ``inputs`` to ``outputs`` channels, holding ``tensors``."""
    options: dict[str, Any] = {key: _tuple(value) for key, value in node.attributes.items()}
    module: nn.Module
    match node.op:
        case "conv2d":
            module = nn.Conv2d(inputs, outputs, device="meta", **options)
        case "linear":
            module = nn.Linear(inputs, outputs, device="meta", **options)
        case "batch_norm":
            kind = nn.BatchNorm2d if options.pop("dimensions") == 2 else nn.BatchNorm1d
            module = kind(outputs, device="meta", **options)
            module.num_batches_tracked = torch.zeros((), dtype=torch.int64, device=tensors["running_mean"].device)
        case "relu":
            module = nn.ReLU()
        case "max_pool2d":
            module = nn.MaxPool2d(**options)
        case "avg_pool2d":
            module = nn.AvgPool2d(**options)
        case "adaptive_avg_pool2d":
            module = nn.AdaptiveAvgPool2d(**options)
        case "dropout":
            module = nn.Dropout(**options)
        case "identity":
            module = nn.Identity()
        case _:
            assert node.op == "flatten", node.op
            module = nn.Flatten()
    if tensors:
        module.load_state_dict(dict(tensors), strict=False, assign=True)
    return module


def _pair(value: int | tuple[int, ...] | Any) -> list[int]:
    return [value, value] if not isinstance(value, tuple | list) else list(value)


def _tuple(value: Attribute) -> Attribute | tuple[int, ...]:
    return tuple(value) if isinstance(value, list) else value


def _pool(module: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Attribute]:
    return {
        "kernel_size": _pair(module.kernel_size),
        "stride": _pair(module.stride),
        "padding": _pair(module.padding),
        "ceil_mode": module.ceil_mode,
    }
