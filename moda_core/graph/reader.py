"""What was read of a traced graph so far: the nodes of the channel graph, their tensors, and what moved where.

The channel graph has its channels in dimension 1, whatever a traced node has there: a linear layer over tokens reads
the last dimension, and transposes between such layers are nowhere in the channel graph.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from moda_core.errors import NetworkError
from moda_core.graph.operations import UNIT_CALLS, Attribute, Node
from moda_core.units import ACTIVATIONS, UnitLayers, channel_dimensions, decode, run_movement

REMEDIES = {
    ("linear", "conv2d", "batch_norm", "layer_norm", "group_norm"): "make it a layer (nn.Conv2d, ...) in __init__",
    ("pad", "ZeroPad2d", "ReflectionPad2d", "ReplicationPad2d"): "give the convolution or pool behind it its padding",
    ("softmax", "log_softmax", "Softmax", "LogSoftmax"): (
        "return the logits, of channels keep sigmoid gates, and write attention as F.scaled_dot_product_attention"
    ),
    ("scaled_dot_product_attention", "MultiheadAttention"): (
        "it knows self-attention of 4 dimensions (batch_first=True, need_weights=False) without mask or dropout"
    ),
    ("elu", "selu", "celu", "mish", "prelu", "softplus", "ELU", "SELU", "CELU", "Mish", "PReLU", "Softplus"): (
        f"use an activation that it knows ({', '.join(ACTIVATIONS)})"
    ),
    ("rsub",): "write b - a",
    ("stack",): "write torch.cat, or add one by one",
    ("einsum", "matmul", "bmm"): (
        "use layers, pools and F.scaled_dot_product_attention; the masked network still works"
    ),
}


class Reader:
    """Collects the nodes of a channel graph from those of a traced graph."""

    def __init__(self, network: nn.Module, layers: UnitLayers, graph: fx.Graph) -> None:
        self.graph = graph
        self.names = {node.name for node in graph.nodes}
        self.network = network
        self.modules = dict(network.named_modules())
        self.widths = tuple(layers.widths)
        self.layers = layers
        self.layer_of = {layer.node: index for index, layer in enumerate(layers)}
        self.dimensions = channel_dimensions(graph, self.modules)
        self.nodes: dict[str, Node] = {}
        self.state: dict[str, Tensor] = {}
        self.called: dict[int, str] = {}  # id of a module or parameter -> the node of its first call
        self.owner: dict[int, tuple[str, Tensor]] = {}  # id of a parameter -> the node that holds it, and itself
        self.plain: dict[fx.Node, tuple[str, int]] = {}  # a traced node -> what computes it, where its channels lie
        self.read: dict[tuple[fx.Node, int], str] = {}  # a moved node, and where its channels lie -> what computes it
        self.expanded: dict[tuple[fx.Node, int], str] = {}  # the same for what was expanded, before it was
        self.moved: dict[fx.Node, tuple[str, Any]] = {}  # a traced node -> whose numbers it moves, and their labels
        self.constants: dict[fx.Node, tuple[str, Any]] = {}  # the same of the network's own parameters and buffers

    def add(
        self,
        node: fx.Node,
        op: str,
        attributes: dict[str, Attribute],
        inputs: list[str],
        tensors: Mapping[str, Tensor] | None = None,
        root: nn.Module | Tensor | None = None,
        *,
        dimension: int = 1,
    ) -> None:
        """Add the operation that a traced node is.

        Args:
            node: the traced node.
            op: of the allow-list.
            attributes: of the operation.
            inputs: names of nodes.
            tensors: the operation's tensors; None for those of its module.
            root: what a second operation with the same tensors would share; None for its module.
            dimension: where the traced node has its channels.
        """
        shape = node.meta["value"].shape
        if len(shape) < 2:
            raise unknown(node, self.modules)
        dimension %= len(shape)
        size = tuple(side for axis, side in enumerate(shape) if axis not in (0, dimension))
        added = Node(node.name, op, tuple(inputs), shape[dimension], size, attributes)
        if added.tensors():
            root = self.modules[str(node.target)] if root is None else root
            if id(root) in self.called:
                added = replace(added, shares=self.called[id(root)])
            else:
                self.called[id(root)] = added.name
                if tensors is None:
                    tensors = {name: getattr(root, name) for name in added.tensors()}
                self.own(added, tensors.values() if isinstance(root, nn.Module) else [root])
                self.state |= {f"{added.name}.{name}": tensor.detach() for name, tensor in tensors.items()}
        self.nodes[node.name] = added
        self.plain[node] = node.name, dimension

    def add_to_origin(self, node: fx.Node, op: str, attributes: dict[str, Attribute], source: fx.Node) -> None:
        """Add what computes number by number, whatever dimensions the channels lie in, before its input was moved."""
        origin, labels = self.labels(source)
        image = self.nodes[origin]
        computed = self.put(node.name, op, image, image.channels, image.size, **attributes)
        self.moved[node] = computed.name, labels

    def mark_units(self, node: fx.Node) -> None:
        """Make the node that a traced node is a unit layer, if it is one.

        Of an activation it is the node itself, of anything else an identity after it: what is masked is not what the
        node computes (a norm computes dropped channels for its statistics), but what others read of it.
        """
        layer = self.layer_of.get(node.name)
        if layer is None:
            return
        computed = self.nodes.get(node.name)
        if computed is None or computed.op not in UNIT_CALLS:
            dimension = self.layers[layer].dimension % node.meta["value"].ndim
            computed = self.nodes[self.input(node, node.name, dimension=dimension)]
            computed = self.put(f"{node.name}_units", "identity", computed, computed.channels, computed.size)
            self.moved.pop(node, None)
            self.plain[node] = computed.name, dimension
        self.nodes[computed.name] = replace(computed, unit_layer=layer)

    def dimension(self, node: fx.Node) -> int:
        """The dimension in which a traced node has its channels; 1 where they do not lie in a single one."""
        return self.dimensions.get(node) or 1

    def own(self, node: Node, tensors: Iterable[Tensor]) -> None:
        """Note whose tensors these are.

        Raises:
            NetworkError: another node's.
        """
        for tensor in tensors:
            owner, _ = self.owner.setdefault(id(tensor), (node.name, tensor))
            if owner != node.name:
                raise NetworkError(
                    f"node {node.name!r} has a tensor of shape {tuple(tensor.shape)} that {owner!r} has too; cutting"
                    " knows a layer that is called again, not one parameter in two layers"
                )

    def add_constant(self, node: fx.Node) -> None:
        """Follow the numbers of a parameter or a buffer."""
        value = node.meta["value"]
        if isinstance(value, Tensor):
            self.constants[node] = str(node.target), torch.arange(value.numel()).view(value.shape)

    def put(
        self, name: str, op: str, source: Node | None, channels: int, size: tuple[int, ...], **attributes: Attribute
    ) -> Node:
        """Add an operation that no traced node is, under a name that no node has."""
        name = self._free_name(name)
        self.nodes[name] = Node(name, op, () if source is None else (source.name,), channels, size, attributes)
        return self.nodes[name]

    def _free_name(self, wanted: str) -> str:
        """A name that no node has."""
        while wanted in self.names or wanted in self.nodes:
            wanted += "_"
        return wanted

    def follows(self, node: fx.Node) -> bool:
        """Whether a node's first input is something whose numbers are followed."""
        source = next(iter(node.all_input_nodes), None)
        return source in self.moved or source in self.plain or source in self.constants

    def labels(self, source: fx.Node) -> tuple[str, Any]:
        """Whose numbers a traced node has, and the number of each."""
        if source in self.constants:
            return self.constants[source]
        if source in self.moved:
            return self.moved[source]
        name, dimension = self.plain[source]
        return name, in_order(source.meta["value"].shape, dimension)

    def move(self, node: fx.Node) -> None:
        """Follow a call that only moves numbers about."""
        source = node.all_input_nodes[0]
        origin, labels = self.labels(source)

        def known(other: fx.Node) -> Any:
            return labels if other is source else other.meta.get("constant", other.meta["value"])

        results = self.constants if source in self.constants else self.moved
        results[node] = origin, run_movement(node, self.modules, known)

    def input(self, node: fx.Node, reader: str, *, dimension: int = 1, broadcast: bool = False) -> str:
        """The name of the node that gives what ``node`` is; what moved numbers about is added now.

        Args:
            node: the traced node.
            reader: who reads it, for errors.
            dimension: where it has its channels.
            broadcast: whether the reader broadcasts.
        """
        value = node.meta["value"]
        dimension %= value.ndim if isinstance(value, Tensor) else 2
        if node in self.plain and self.plain[node][1] == dimension:
            return self.plain[node][0]
        key = node, dimension
        found = self.read.get(key) or (self.expanded.get(key) if broadcast else None)
        if found is not None:
            return found
        if node not in self.moved and node not in self.plain:
            raise NetworkError(
                f"node {reader!r} reads {node.name!r} ({node.op} {node.target}), which cutting does not know to follow"
                " a channel through; the masked network still works"
            )
        origin, labels = self.labels(node)
        if not isinstance(labels, Tensor):
            raise unknown(node, self.modules)
        labels = labels.movedim(dimension, 1)
        found = self.moved_node(node.name, origin, labels, broadcast=broadcast)
        whole = self.nodes[found].size == tuple(labels.shape[2:])
        (self.read if whole else self.expanded)[key] = found
        return found

    def moved_node(self, name: str, origin_name: str, labels: Tensor, *, broadcast: bool = False) -> str:
        """The name of the node that gives the numbers ``labels``, (2, channels, ...), of another node."""
        origin = self.nodes[origin_name]
        movement = decode(name, labels, origin.channels, origin.size, broadcast=broadcast)
        index_C, source = movement.index_C, origin
        if not torch.equal(index_C, torch.arange(origin.channels)):
            source = self.put(f"{name}_select", "select", origin, len(index_C), origin.size, index=index_C.tolist())
        if movement.step is not None:  # every second row and column, say
            step = list(movement.step)
            window: dict[str, Attribute] = {
                "kernel_size": [1, 1],
                "stride": step,
                "padding": [0, 0],
                "ceil_mode": False,
            }
            return self.put(f"{name}_step", "max_pool2d", source, source.channels, movement.size, **window).name
        if movement.positions is not None:
            index = movement.positions.tolist()
            return self.put(f"{name}_positions", "positions", source, source.channels, movement.size, index=index).name
        if not movement.flattened and movement.size == origin.size:
            return source.name
        op = "flatten" if movement.flattened else "reshape"
        channels = labels.shape[1] if movement.flattened else len(index_C)
        name = name if name not in self.nodes else self._free_name(name)
        self.nodes[name] = Node(name, op, (source.name,), channels, movement.size)
        return name

    def finish(self, logits: fx.Node) -> None:
        """Make the node that gives the logits the last one."""
        last = self.input(logits, "the output")
        if last != next(reversed(self.nodes)):
            self.put(f"{last}_last", "identity", self.nodes[last], self.nodes[last].channels, self.nodes[last].size)


def in_order(shape: torch.Size, dimension: int) -> Tensor:
    """The number of each number of a traced value whose channels lie in a dimension, counted channel by channel."""
    others = [side for axis, side in enumerate(shape) if axis not in (0, dimension)]
    return torch.arange(shape.numel()).view(shape[0], shape[dimension], *others).movedim(1, dimension)


def unknown(node: fx.Node, modules: dict[str, nn.Module]) -> NetworkError:
    """That a node's operation is not on the allow-list, and what to write instead."""
    if node.op == "call_module":
        what, name = str(modules[str(node.target)]), type(modules[str(node.target)]).__name__
    else:
        name = str(getattr(node.target, "__name__", node.target))
        what = f"{name} with {node.args[1:]}"
    text = " ".join(what.split())
    remedy = next((remedy for names, remedy in REMEDIES.items() if name in names), "the masked network still works")
    return NetworkError(f"node {node.name!r}: cutting does not know the operation {text[:200]}; {remedy}")
