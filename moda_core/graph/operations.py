"""The operations that a cut network may be made of: an allow-list, each with its attributes and its tensors.

What an operation does to channels (dimension 1) is of one kind:

- *mixing* (convolution, linear): an output channel reads every input channel, or every one of its group;
- *normalising* (group norm, layer norm, channel norm): an output channel reads its group's input channels, itself among
  them;
- *attending* (attention, also within windows): an output channel reads itself of the values, and its head of the
  queries, of the keys, and of the biases by relative position, one channel for each head;
- *gathering* (all others): output channel k reads one channel of each input, :meth:`Node.gathers` says which;
- ``input``: the images; ``embedding``: numbers of its own for every channel and position.

Tokens are what follows the channels, as pixels are: a network over (images, tokens, channels) is read as one over
(images, channels, tokens).

A tensor's axes are spelled "oi" (output x input channels, then the kernel), "p" (the pairs of an output and an input
channel of its group, in order, then the kernel), "o", or "os" (output channels, then the node's size): slicing a
tensor, counting its elements and checking its shape all read that one spelling.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from moda_core.errors import GraphError
from moda_core.units import ACTIVATIONS

Attribute = int | float | bool | list[int]

MIXING = frozenset({"conv2d", "linear"})
NORMALISING = frozenset({"group_norm", "layer_norm", "channel_norm"})
BROADCASTING = frozenset({"add", "mul"})
POINTWISE = frozenset(
    {"relu", "relu6", "leaky_relu", "hardswish", "silu", "gelu", "tanh", "sigmoid", "hardsigmoid", "scale_shift"}
)
ATTENDING = frozenset({"attention", "window_attention"})  # whose units are their heads
UNIT_CALLS = ATTENDING | set(ACTIVATIONS)
UNIT_LAYERS = UNIT_CALLS | {"identity"}

KIND_TEXTS = {
    "flag": "true or false",
    "number": "a finite number",
    "pair": "two whole numbers",
    "positive": "a number of at least 0",
    "share": "a number from 0 to 1",
    "sides": "two whole numbers of at least 1",
    "whole": "a whole number",
    "wholes": "a list of whole numbers",
}
POOL = {"kernel_size": "sides", "stride": "sides", "padding": "pair", "ceil_mode": "flag"}
ATTRIBUTES: dict[str, dict[str, str]] = {
    "input": {},
    "conv2d": {
        "kernel_size": "sides",
        "stride": "sides",
        "padding": "pair",
        "dilation": "sides",
        "groups": "whole",
        "bias": "flag",
    },
    "linear": {"bias": "flag"},
    "batch_norm": {"eps": "positive", "momentum": "number", "affine": "flag", "dimensions": "whole"},
    "group_norm": {"groups": "whole", "eps": "positive", "affine": "flag"},
    "layer_norm": {"eps": "positive", "affine": "flag", "bias": "flag"},
    "channel_norm": {"eps": "positive", "affine": "flag", "bias": "flag"},
    "attention": {"heads": "whole", "scale": "number"},
    "window_attention": {"heads": "whole", "grid": "sides", "window": "sides", "shift": "pair"},
    "embedding": {"trains": "flag"},
    "relu": {},
    "relu6": {},
    "leaky_relu": {"negative_slope": "number"},
    "hardswish": {},
    "silu": {},
    "gelu": {"tanh": "flag"},
    "tanh": {},
    "sigmoid": {},
    "hardsigmoid": {},
    "scale_shift": {"factor": "number", "offset": "number"},
    "scale": {"trains": "flag"},
    "shift": {"trains": "flag"},
    "max_pool2d": POOL,
    "avg_pool2d": POOL | {"count_include_pad": "flag"},
    "adaptive_avg_pool2d": {"output_size": "sides"},
    "dropout": {"p": "share"},
    "identity": {},
    "reshape": {},
    "flatten": {},
    "select": {"index": "wholes"},
    "positions": {"index": "wholes"},
    "concat": {},
    "concat_tokens": {},
    "add": {},
    "mul": {},
}
INPUTS = {"input": 0, "embedding": 0, "add": 2, "mul": 2, "attention": 3, "window_attention": 4}  # every other one,
ANY_INPUTS = frozenset({"concat", "concat_tokens"})  # but these any number
INDEXED = frozenset({"select", "flatten", "concat"})  # gathering, and not channel k from channel k
ZERO_TO_CONSTANT = frozenset(
    {"batch_norm", "sigmoid", "hardsigmoid", "shift"}
)  # a channel of zeros becomes another constant
TRAINABLE = ("weight", "bias")
LARGEST_NUMBER = 1_000_000  # of any attribute or channel count: what a manifest may ask for is capped
LARGEST_PAIR = 1024  # of a kernel, a stride, a padding ...
LARGEST_PIXELS = 2**24
LONGEST_NAME = 500


@dataclass(frozen=True)
class Node:
    """One operation of a channel graph.

    Attributes:
        name: unique, an identifier.
        op: a key of :data:`ATTRIBUTES`.
        inputs: names of earlier nodes.
        channels: dimension 1 of its output in the full network.
        size: the dimensions after it.
        attributes: as the allow-list says.
        unit_layer: index of the unit layer that this node is, None for any other: an activation, attention, or an
            identity after a site of another kind.
        shares: the earlier node whose tensors this one uses (a layer that is called again); None: it has its own.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    channels: int
    size: tuple[int, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    unit_layer: int | None = None
    shares: str | None = None

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or len(name) > LONGEST_NAME:
            raise GraphError(f"node name {name!r:.200} is not an ASCII identifier of at most {LONGEST_NAME} characters")
        if not isinstance(self.op, str) or self.op not in ATTRIBUTES:
            raise GraphError(f"node {self.name!r:.60}: operation {self.op!r:.60} is not one of {sorted(ATTRIBUTES)}")
        expected = ATTRIBUTES[self.op]
        if not isinstance(self.attributes, Mapping) or set(self.attributes) != set(expected):
            raise GraphError(f"node {self.name!r}: {self.op} takes {sorted(expected)}, not {self.attributes!r:.200}")
        for key, kind in expected.items():
            if not _is_kind(self.attributes[key], kind):
                raise GraphError(f"node {self.name!r}: {key}={self.attributes[key]!r:.200} must be {KIND_TEXTS[kind]}")
        count = len(self.inputs)
        if count == 0 if self.op in ANY_INPUTS else count != INPUTS.get(self.op, 1):
            raise GraphError(f"node {self.name!r}: {self.op} does not take {count} inputs")
        if not _is_kind(self.channels, "whole") or self.channels < 1:
            raise GraphError(f"node {self.name!r}: channels={self.channels!r:.60} is not a positive whole number")
        if (
            len(self.size) > 4
            or not _is_kind(list(self.size), "wholes")
            or not 0 < math.prod(self.size) <= LARGEST_PIXELS
        ):
            raise GraphError(f"node {self.name!r}: size={self.size!r:.200} has not 1 to {LARGEST_PIXELS} pixels")
        if self.shares is not None and not isinstance(self.shares, str):
            raise GraphError(f"node {self.name!r}: shares={self.shares!r:.200} is not a name")
        if self.unit_layer is not None and not _is_kind(self.unit_layer, "whole"):
            raise GraphError(f"node {self.name!r}: unit_layer={self.unit_layer!r:.200} is not a whole number")
        if self.unit_layer is not None and self.op not in UNIT_LAYERS:
            raise GraphError(
                f"node {self.name!r}: {self.op} is neither an activation nor an identity nor attention, so it cannot"
                " be a unit layer"
            )
        if self.op in ("conv2d", "group_norm", *ATTENDING) and (self.groups < 1 or self.channels % self.groups):
            raise GraphError(f"node {self.name!r}: {self.channels} channels do not split into {self.groups} groups")

    @property
    def groups(self) -> int:
        """Groups of channels that do not read each other's, of attention its heads: 1 unless an attribute says so."""
        return int(self.attributes.get("groups", self.attributes.get("heads", 1)))  # type: ignore[arg-type]

    def keys_of_token(self, tokens: int) -> int:
        """Return how many of so many tokens each token attends to."""
        window = self.attributes.get("window")
        return math.prod(window) if isinstance(window, list) else tokens

    @property
    def padded(self) -> bool:
        """Whether zeros are added around the image, so that a constant channel does not stay constant."""
        if self.op == "avg_pool2d" and not self.attributes["count_include_pad"]:
            return False
        return self.op in ("conv2d", "avg_pool2d") and self.attributes["padding"] != [0, 0]

    @property
    def makes_constants(self) -> bool:
        """Whether a channel of zeros becomes a channel of another constant."""
        return self.op in ZERO_TO_CONSTANT or (self.op == "scale_shift" and self.attributes["offset"] != 0)

    def tensors(self) -> dict[str, str]:
        """Return the node's tensors: name -> axes."""
        bias = {"bias": "o"} if self.attributes.get("bias") else {}
        match self.op:
            case "conv2d" | "linear":
                return {"weight": "oi" if self.groups == 1 else "p"} | bias
            case "batch_norm":
                running = {"running_mean": "o", "running_var": "o"}
                return running | ({"weight": "o", "bias": "o"} if self.attributes["affine"] else {})
            case "scale":
                return {"weight" if self.attributes["trains"] else "factor": "o"}
            case "shift":
                return {"bias" if self.attributes["trains"] else "offset": "o"}
            case "group_norm" if self.attributes["affine"]:
                return {"weight": "o", "bias": "o"}
            case "layer_norm" if self.attributes["affine"]:
                return {"weight": "os"} | ({"bias": "os"} if bias else {})
            case "channel_norm" if self.attributes["affine"]:
                return {"weight": "o"} | bias
            case "embedding":
                return {"weight" if self.attributes["trains"] else "numbers": "os"}
            case _:
                return {}

    def kernel(self) -> tuple[int, ...]:
        """Return the trailing dimensions of the weight: (kH, kW) of a convolution, none of a linear layer."""
        size = self.attributes.get("kernel_size") if self.op == "conv2d" else None
        return tuple(size) if isinstance(size, list) else ()

    def spread(self, values_KN: Tensor) -> Tensor:
        """Return for every channel of a unit layer what its unit has: (K, channels), of a head all its channels."""
        return values_KN.repeat_interleave(self.channels // values_KN.shape[-1], dim=-1)

    def gathers(self, inputs: Sequence[int]) -> list[Tensor]:
        """For each input (of so many channels) of a gathering node: the channel that each output channel reads.

        -1 where an output channel reads none of that input.
        """
        own = torch.arange(self.channels)
        if self.op == "select":
            return [torch.from_numpy(np.array(self.attributes["index"], dtype=np.int64))]  # 20 times as fast
        if self.op == "flatten":
            return [own // (self.channels // inputs[0])]
        if self.op == "concat":
            ends = torch.tensor(inputs).cumsum(0)
            return [
                torch.where((own < end) & (own >= end - count), own - (end - count), -1)
                for end, count in zip(ends.tolist(), inputs, strict=True)
            ]
        return [own] * len(inputs)


def _is_kind(value: object, kind: str) -> bool:
    match kind:
        case "flag":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER
        case "positive" | "share":
            most = 1 if kind == "share" else LARGEST_NUMBER
            return _is_kind(value, "number") and 0 <= value <= most  # type: ignore[operator]
        case "wholes":
            return isinstance(value, list) and all(_is_kind(number, "whole") for number in value)
        case "pair" | "sides":
            least = 1 if kind == "sides" else 0
            return (
                isinstance(value, list)
                and len(value) == 2
                and all(_is_kind(number, "whole") and least <= number <= LARGEST_PAIR for number in value)
            )
        case _:
            return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER
