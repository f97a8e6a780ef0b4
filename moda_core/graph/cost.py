"""What one image costs in a channel graph, and how much of it a graph may ask for.

A small manifest can name large numbers. These limits are some times what the largest usual networks need, so that
nothing that runs a graph from elsewhere takes more than seconds and gibibytes.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from moda_core.errors import GraphError
from moda_core.graph.operations import ATTENDING, Node

# Of one image. In brackets what a ResNet50 without a stem that makes images smaller takes at 224 px, the costliest of
# moda_core.models.
LARGEST_NUMBERS = 2**32  # of all nodes' outputs (2^29.2); one node's are limited too, in moda_core.graph.graph
LARGEST_WINDOWS = 2**31  # what convolutions and pools read, an overlap read again (2^28.3)
LARGEST_OPERATIONS = 2**38  # multiply-adds (2^35.9; VGG16 2^33.8)
LARGEST_GROUPS = 2**19  # of all convolutions, which are cut group by group: an EfficientNet-B7 has 2^17

WINDOW_INDEX = 8  # numbers for each pair of tokens of a window, from which biases by relative position are taken

LIMITS = {
    "numbers": LARGEST_NUMBERS,
    "windows": LARGEST_WINDOWS,
    "operations": LARGEST_OPERATIONS,
    "groups": LARGEST_GROUPS,
}


@dataclass(frozen=True)
class Cost:
    """Of one image: numbers that are given, numbers that windows read, multiply-adds; and of the node: its groups."""

    numbers: int
    windows: int
    operations: int
    groups: int


def check_cost(nodes: Sequence[Node]) -> None:
    """Refuse nodes that together cost more than the limits.

    Raises:
        GraphError: which limit, and the node that passes it.
    """
    by_name: dict[str, Node] = {}
    total = dict.fromkeys(LIMITS, 0)
    for node in nodes:
        cost = cost_of(node, [by_name[name] for name in node.inputs])
        by_name[node.name] = node
        for what, amount in asdict(cost).items():
            total[what] += amount
            if total[what] > LIMITS[what]:
                raise GraphError(
                    f"up to node {node.name!r} one image costs {total[what]} {what}; at most {LIMITS[what]} are"
                    " allowed: use smaller images or a smaller network"
                )


def cost_of(node: Node, inputs: Sequence[Node]) -> Cost:
    """What a node costs for one image."""
    pixels = math.prod(node.size)
    numbers = node.channels * pixels
    if node.op in ("conv2d", "linear"):
        source = inputs[0]
        kernel = math.prod(node.kernel())
        windows = source.channels * kernel * pixels
        return Cost(numbers, windows, windows * (node.channels // node.groups), node.groups)
    if node.op in ATTENDING:
        query, key, value = inputs[:3]
        pairs = math.prod(query.size) * node.keys_of_token(math.prod(key.size))
        window = node.keys_of_token(0)
        of_windows = pairs + WINDOW_INDEX * window**2 if window else 0
        return Cost(numbers + node.groups * pairs + of_windows, 0, pairs * (query.channels + value.channels), 0)
    if node.op in ("max_pool2d", "avg_pool2d"):
        kernel_size: list[int] = node.attributes["kernel_size"]  # type: ignore[assignment]
        return Cost(numbers, numbers * math.prod(kernel_size), 0, 0)
    if node.op == "adaptive_avg_pool2d":  # windows of neighbours overlap by less than one row and column
        sides = zip(inputs[0].size, node.size, strict=True)
        return Cost(numbers, node.channels * math.prod(have + made for have, made in sides), 0, 0)
    return Cost(numbers, 0, 0, 0)
