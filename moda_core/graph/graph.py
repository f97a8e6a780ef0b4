"""A network as operations on channels, checked: what masks run through and cut networks are built from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from moda_core.errors import GraphError, listed
from moda_core.graph.cost import check_cost
from moda_core.graph.operations import ATTENDING, BROADCASTING, Node

LARGEST_CHANNELS = 2**24  # of all nodes together: what is allocated to follow masks through a graph
LARGEST_IMAGE = 2**28  # channels x pixels of a node
WINDOWED = frozenset({"conv2d", "max_pool2d", "avg_pool2d"})


@dataclass(frozen=True)
class ChannelGraph:
    """A network as operations on channels. The first node is the input, and the last one returns the logits.

    Attributes:
        nodes: in order of execution.
        widths: units of each unit layer.
    """

    nodes: tuple[Node, ...]
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.nodes or not self.widths:
            raise GraphError(f"a graph of {len(self.nodes)} nodes and {len(self.widths)} unit layers is not a network")
        if sum(node.channels for node in self.nodes) > LARGEST_CHANNELS:
            raise GraphError(f"the nodes have more than {LARGEST_CHANNELS} channels together")
        read = sum(len(node.inputs) * node.channels for node in self.nodes)
        if read > LARGEST_CHANNELS:
            raise GraphError(f"the nodes read more than {LARGEST_CHANNELS} channels together")
        seen: dict[str, Node] = {}
        for node in self.nodes:
            if node.name in seen:
                raise GraphError(f"node name {node.name!r} stands twice")
            if (node.op == "input") != (node is self.nodes[0]):
                raise GraphError(f"node {node.name!r}: the first node, and only it, is the input")
            unknown = [name for name in node.inputs if name not in seen]
            if unknown:
                raise GraphError(f"node {node.name!r} reads {listed(unknown)}, which no earlier node gives")
            _check_channels(node, [seen[name] for name in node.inputs])
            _check_size(node, [seen[name] for name in node.inputs])
            _check_unit_layer(node, self.widths)
            if node.shares is not None:
                _check_shared(node, seen)
            seen[node.name] = node
        layers = sorted(node.unit_layer for node in self.nodes if node.unit_layer is not None)
        if layers != list(range(len(self.widths))):
            raise GraphError(f"{len(self.widths)} unit layers are declared, the nodes are layers {listed(layers)}")
        if self.output.unit_layer is not None:
            raise GraphError(f"node {self.output.name!r}: the logits are a unit layer; masks would drop classes")
        check_cost(self.nodes)

    @property
    def output(self) -> Node:
        """The node that returns the logits."""
        return self.nodes[-1]

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """The nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def calls(self) -> dict[str, list[Node]]:
        """The nodes that use a node's tensors, itself first, by its name."""
        calls: dict[str, list[Node]] = {node.name: [node] for node in self.nodes if node.shares is None}
        for node in self.nodes:
            if node.shares is not None:
                calls[node.shares].append(node)
        return calls


def _check_channels(node: Node, inputs: list[Node]) -> None:
    have = [source.channels for source in inputs]
    expected = node.channels
    if node.op == "conv2d":
        if have[0] % node.groups:
            raise GraphError(f"node {node.name!r}: {have[0]} input channels do not split into {node.groups} groups")
    elif node.op == "concat":
        expected = sum(have)
    elif node.op == "flatten":
        expected = have[0] * math.prod(inputs[0].size)
    elif node.op == "select":
        index: list[int] = node.attributes["index"]  # type: ignore[assignment]
        expected = len(index)
        if max(index, default=0) >= have[0]:
            raise GraphError(f"node {node.name!r} selects channel {max(index)} of {have[0]}")
    elif node.op in ATTENDING:
        query, key, expected, *biases = have
        if query != key or query % node.groups:
            raise GraphError(f"node {node.name!r}: {query} and {key} channels are not those of {node.groups} heads")
        if any(channels != node.groups for channels in biases):
            raise GraphError(f"node {node.name!r}: biases of {listed(biases)} channels are not those of its heads")
    elif node.op not in ("input", "embedding", "linear"):
        expected = have[0]
        if any(channels != expected for channels in have):
            raise GraphError(f"node {node.name!r}: {node.op} of {listed(have)} channels; expected equal ones")
    if node.channels != expected:
        raise GraphError(f"node {node.name!r} has {node.channels} channels; its inputs make {expected}")


def _check_size(node: Node, inputs: list[Node]) -> None:
    sizes = [source.size for source in inputs]
    right = node.channels * math.prod(node.size) <= LARGEST_IMAGE
    if node.op == "attention":
        query, key, value = sizes
        right = right and query == node.size and key == value and len(query) == len(key) == 1
    elif node.op == "window_attention":
        right = right and all(size == node.size for size in sizes[:3]) and _is_of_windows(node, sizes[3])
    elif node.op == "concat_tokens":
        right = right and all(len(size) == 1 for size in sizes) and node.size == (sum(size[0] for size in sizes),)
    elif node.op == "positions":
        index: list[int] = node.attributes["index"]  # type: ignore[assignment]
        right = right and len(index) == math.prod(node.size) and max(index) < math.prod(sizes[0]) and sizes[0] != ()
    elif node.op == "flatten":
        right = right and node.size == ()
    elif node.op == "reshape":
        right = right and math.prod(node.size) == math.prod(sizes[0])
    elif node.op in BROADCASTING:
        right = right and len({len(size) for size in sizes}) == 1
        right = right and node.size == tuple(max(sides) for sides in zip(*sizes, strict=True))
        right = right and all(have in (1, side) for size in sizes for have, side in zip(size, node.size, strict=True))
    elif node.op in WINDOWED:
        right = right and len(sizes[0]) == 2 and node.size == _windows(node, sizes[0])
        right = right and (node.op == "conv2d" or _is_pool(node))
    elif node.op == "adaptive_avg_pool2d":
        right = right and len(sizes[0]) == 2 and list(node.size) == node.attributes["output_size"]
    elif node.op == "batch_norm":
        right = right and sizes == [node.size] and node.attributes["dimensions"] == (2 if len(node.size) == 2 else 1)
        right = right and len(node.size) <= 2
    elif node.op not in ("input", "embedding"):
        right = right and all(size == node.size for size in sizes)
    if not right:
        raise GraphError(
            f"node {node.name!r}: {node.op} of sizes {listed(sizes)} does not make {node.channels} x {node.size}"
        )


def _is_of_windows(node: Node, biases: tuple[int, ...]) -> bool:
    """Whether a node's tokens are those of its windows, shifted by less than one, and so many biases belong to them."""
    grid, window, shift = ([*map(int, node.attributes[key])] for key in ("grid", "window", "shift"))  # type: ignore[arg-type]
    is_shifted_less = all(step < side for step, side in zip(shift, window, strict=True))
    relative = math.prod(2 * side - 1 for side in window)
    return is_shifted_less and node.size == (math.prod(grid) * math.prod(window),) and biases == (relative,)


def _is_pool(node: Node) -> bool:
    """Whether a pool pads by at most half of its windows, as PyTorch wants it."""
    kernel, padding = node.attributes["kernel_size"], node.attributes["padding"]
    return all(2 * pad <= side for pad, side in zip(padding, kernel, strict=True))  # type: ignore[arg-type]


def _windows(node: Node, size: tuple[int, ...]) -> tuple[int, ...]:
    """Height and width of what a convolution or pool makes of an image of a size, as PyTorch counts them."""
    sides = []
    for axis, side in enumerate(size):
        kernel, stride, padding, dilation = (
            int(node.attributes.get(key, [1, 1])[axis])  # type: ignore[index]
            for key in ("kernel_size", "stride", "padding", "dilation")
        )
        room = side + 2 * padding - dilation * (kernel - 1) - 1
        count = room // stride + 1
        if node.attributes.get("ceil_mode") and room % stride and count * stride < side + padding:
            count += 1  # a last window that begins inside the image or its left padding
        sides.append(count)
    return tuple(sides)


def _check_unit_layer(node: Node, widths: tuple[int, ...]) -> None:
    if node.unit_layer is None:
        return
    if not 0 <= node.unit_layer < len(widths):
        raise GraphError(f"node {node.name!r}: there is no unit layer {node.unit_layer}")
    units = node.groups if node.op in ATTENDING else node.channels
    if widths[node.unit_layer] != units:
        what = "heads" if node.op in ATTENDING else "channels"
        raise GraphError(f"node {node.name!r} has {units} {what}, its layer {widths[node.unit_layer]} units")


def _check_shared(node: Node, seen: Mapping[str, Node]) -> None:
    first = seen.get(str(node.shares))
    if first is None or first.shares is not None or not first.tensors():
        raise GraphError(f"node {node.name!r} shares the tensors of {node.shares!r}, which has none of its own")
    same = (first.op, first.channels, dict(first.attributes)) == (node.op, node.channels, dict(node.attributes))
    sources = [[seen[name].channels for name in call.inputs] for call in (first, node)]
    if not same or sources[0] != sources[1] or (node.op in ("layer_norm", "embedding") and first.size != node.size):
        raise GraphError(f"node {node.name!r} shares the tensors of {node.shares!r}, which is another operation")
