"""From a network to its channel graph: every call of the traced graph as an operation of the allow-list, or refused."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from moda_core.graph import ChannelGraph
from moda_core.in_place import refuse_in_place
from moda_core.layers import ARITHMETIC, METHODS, Described, describe_function, describe_module
from moda_core.movement import decode, holds_tensor, is_movement, run_movement
from moda_core.operations import BROADCASTING, Attribute, Node
from moda_core.tracing import trace_with_shapes
from moda_core.units import UnitLayers

CONCAT = (torch.cat, torch.concat, torch.concatenate)
MEAN = (torch.mean, "mean")


def channel_graph(
    network: nn.Module, layers: UnitLayers, example_input: Tensor
) -> tuple[ChannelGraph, dict[str, Tensor]]:
    """The network's channel graph and its tensors, named ``node.tensor`` (the network's own: nothing is copied).

    Raises:
        ValueError: an operation that the allow-list does not know, by node and name.
    """
    last_dimension = [layer.name for layer in layers if layer.dimension != 1]
    if last_dimension:
        more = f" and {len(last_dimension) - 1} more" if len(last_dimension) > 1 else ""
        raise ValueError(
            f"cutting knows units in dimension 1; those of {last_dimension[0]!r}{more} lie in the last one (tokens);"
            " the masked network still works"
        )
    graph = trace_with_shapes(network, example_input)
    if _calls(graph) != _calls(layers.graph):
        raise ValueError(
            f"{type(network).__name__} does not run as it did when its unit layers were found (in another mode?); call"
            " unit_layers again"
        )
    logits = next(node.args[0] for node in graph.nodes if node.op == "output")
    if not isinstance(logits, fx.Node):
        raise ValueError(
            f"{type(network).__name__} returns {logits}; a network that returns its logits alone is needed"
        )
    found, state = _Reader(network, layers, graph).read(logits)
    if not state:
        raise ValueError(f"{type(network).__name__} has no layer with weights that could be cut")
    return found, state


def _calls(graph: fx.Graph) -> list[tuple[str, str]]:
    return [(node.op, str(node.target)) for node in graph.nodes]


class _Reader:
    """Reads a traced graph node by node."""

    def __init__(self, network: nn.Module, layers: UnitLayers, graph: fx.Graph) -> None:
        self.graph = graph
        self.names = {node.name for node in graph.nodes}
        self.modules = dict(network.named_modules())
        self.widths = tuple(layers.widths)
        self.layer_of = {layer.node: index for index, layer in enumerate(layers)}
        self.nodes: dict[str, Node] = {}
        self.state: dict[str, Tensor] = {}
        self.called: dict[int, str] = {}  # id of a module -> the node of its first call
        self.owner: dict[int, tuple[str, Tensor]] = {}  # id of a parameter -> the node that holds it, and itself
        self.plain: dict[fx.Node, str] = {}  # a traced node -> the node that computes it
        self.expanded: dict[fx.Node, str] = {}  # the same for what was expanded, before it was
        self.moved: dict[fx.Node, tuple[str, Any]] = {}  # a traced node -> whose numbers it moves, and their labels

    def read(self, logits: fx.Node) -> tuple[ChannelGraph, dict[str, Tensor]]:
        for node in self.graph.nodes:
            refuse_in_place(node)
        for node in self.graph.nodes:
            if node.op == "output":
                break
            if node.op == "placeholder":
                self._add(node, "input", {}, [])
            elif self._reads(node) and is_movement(node, self.modules):
                self._move(node)
            elif node.op != "get_attr" and holds_tensor(node.meta["value"]):
                self._compute(node)
            if node is logits:
                break
        last = self._input(logits, "the output")
        if last != next(reversed(self.nodes)):  # the last node is what gives the logits
            name = self._name(f"{last}_last")
            self.nodes[name] = replace(
                self.nodes[last],
                name=name,
                op="identity",
                inputs=(last,),
                attributes={},
                unit_layer=None,
                shares=None,
            )
        return ChannelGraph(tuple(self.nodes.values()), self.widths), self.state

    def _compute(self, node: fx.Node) -> None:
        called = node.op in ("call_function", "call_method")
        if called and node.target in CONCAT:
            self._concat(node)
        elif called and node.target in MEAN:
            self._mean(node)
        elif called and node.target in ARITHMETIC:
            self._arithmetic(node)
        else:
            described = self._describe(node)
            if described is None or len(node.all_input_nodes) != 1:
                raise _unknown(node, self.modules)
            op, attributes = described
            self._add(node, op, attributes, [self._input(node.all_input_nodes[0], node.name)])

    def _describe(self, node: fx.Node) -> Described | None:
        """The operation of a node of one input."""
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            if isinstance(module, nn.LayerNorm) and module.normalized_shape != tuple(node.meta["value"].shape[1:]):
                return None
            return describe_module(module)
        if any(isinstance(value, fx.Node) for value in (*node.args[1:], *node.kwargs.values())):
            return None
        if node.op == "call_method" and node.target in METHODS:
            return describe_module(METHODS[str(node.target)]())
        if node.op == "call_function":
            return describe_function(node.target, node.args[1:], dict(node.kwargs))  # type: ignore[arg-type]
        return None

    def _concat(self, node: fx.Node) -> None:
        parts = node.args[0] if node.args else node.kwargs.get("tensors")
        dimension = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        if dimension not in (1, 1 - node.meta["value"].ndim) or not isinstance(parts, list | tuple):
            raise _unknown(node, self.modules)
        inputs = [self._input(part, node.name) for part in parts if isinstance(part, fx.Node)]
        self._add(node, "concat", {}, inputs)

    def _mean(self, node: fx.Node) -> None:
        """The mean over height and width is a pool to one pixel, and without ``keepdim`` a reshape."""
        source = node.all_input_nodes[0]
        axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        if not isinstance(axes, list | tuple) or source.meta["value"].ndim != 4 or node.kwargs.get("dtype") is not None:
            raise _unknown(node, self.modules)
        if sorted(int(axis) % 4 for axis in axes) != [2, 3]:
            raise _unknown(node, self.modules)
        if node.meta["value"].ndim == 4:
            self._add(node, "adaptive_avg_pool2d", {"output_size": [1, 1]}, [self._input(source, node.name)])
            return
        name, channels = self._name(f"{node.name}_pool"), int(node.meta["value"].shape[1])
        whole = (self._input(source, node.name),)
        pool = Node(name, "adaptive_avg_pool2d", whole, channels, (1, 1), {"output_size": [1, 1]})
        self.nodes[pool.name] = pool
        self._add(node, "reshape", {}, [pool.name])

    def _arithmetic(self, node: fx.Node) -> None:
        if len(node.args) != 2 or node.kwargs:
            raise _unknown(node, self.modules)
        op = ARITHMETIC[node.target]
        numbers = [one for one in node.args if isinstance(one, int | float)]
        tensors = [one for one in node.args if isinstance(one, fx.Node) and isinstance(one.meta["value"], Tensor)]
        if len(tensors) == 2 and op in BROADCASTING:
            return self._add(node, op, {}, [self._input(one, node.name, broadcast=True) for one in tensors])
        if len(numbers) != 1 or len(tensors) != 1 or (op in ("sub", "div") and node.args[0] is not tensors[0]):
            raise _unknown(node, self.modules)
        number = float(numbers[0])
        if op == "div" and number == 0:
            raise _unknown(node, self.modules)
        factor = {"mul": number, "div": 1 / (number or 1.0)}.get(op, 1.0)
        offset = {"add": number, "sub": -number}.get(op, 0.0)
        attributes: dict[str, Attribute] = {"factor": factor, "offset": offset}
        return self._add(node, "scale_shift", attributes, [self._input(tensors[0], node.name)])

    def _add(self, node: fx.Node, op: str, attributes: dict[str, Attribute], inputs: list[str]) -> None:
        shape = node.meta["value"].shape
        if len(shape) < 2:
            raise _unknown(node, self.modules)
        layer = self.layer_of.get(node.name)
        added = Node(node.name, op, tuple(inputs), shape[1], tuple(shape[2:]), attributes, layer)
        if added.tensors():
            module = self.modules[str(node.target)]
            if id(module) in self.called:
                added = replace(added, shares=self.called[id(module)])
            else:
                self.called[id(module)] = added.name
                self._own(added, module)
        self.nodes[node.name] = added
        self.plain[node] = node.name

    def _own(self, node: Node, module: nn.Module) -> None:
        for name in node.tensors():
            tensor = getattr(module, name)
            owner, _ = self.owner.setdefault(id(tensor), (node.name, tensor))
            if owner != node.name:
                raise ValueError(
                    f"node {node.name!r}: its {name} is that of {owner!r}; cutting knows a layer that is called again,"
                    " not one parameter in two layers"
                )
            self.state[f"{node.name}.{name}"] = tensor.detach()

    # What only moves numbers about.

    def _reads(self, node: fx.Node) -> bool:
        """Whether a node reads something that cutting follows channels through."""
        return any(one in self.moved or one in self.plain for one in node.all_input_nodes)

    def _move(self, node: fx.Node) -> None:
        source = next(one for one in node.all_input_nodes if one in self.moved or one in self.plain)
        if source in self.plain:
            labels = torch.arange(source.meta["value"].numel()).view(source.meta["value"].shape)
            self.moved[source] = self.plain[source], labels
        origin = self.moved[source][0]

        def known(one: fx.Node) -> Any:
            return self.moved[one][1] if one is source else one.meta["value"]

        labels = run_movement(node, self.modules, known)
        self.moved[node] = origin, labels

    def _input(self, node: fx.Node, reader: str, *, broadcast: bool = False) -> str:
        """The name of the node that gives what ``node`` is; what moved numbers about is added now."""
        found = self.plain.get(node) or (self.expanded.get(node) if broadcast else None)
        if found is not None:
            return found
        if node not in self.moved:
            raise ValueError(
                f"node {reader!r} reads {node.name!r} ({node.op} {node.target}), which cutting does not know to follow"
                " a channel through; the masked network still works"
            )
        origin, labels = self.moved[node]
        if not isinstance(labels, Tensor):
            raise _unknown(node, self.modules)
        found = self._moved_node(node.name, self.nodes[origin], labels, broadcast)
        whole = self.nodes[found].size == tuple(labels.shape[2:])
        (self.plain if whole else self.expanded)[node] = found
        return found

    def _moved_node(self, name: str, origin: Node, labels: Tensor, broadcast: bool) -> str:
        movement = decode(name, labels, origin.channels, origin.size, broadcast=broadcast)
        index, source = movement.index_C, origin
        if not torch.equal(index, torch.arange(origin.channels)):
            source = self._put(
                self._name(f"{name}_select"), "select", origin, len(index), origin.size, {"index": index.tolist()}
            )
        name = name if name not in self.nodes else self._name(name)
        if movement.flattened:
            source = self._put(name, "flatten", source, labels.shape[1], ())
        elif movement.size != origin.size:
            source = self._put(name, "reshape", source, len(index), movement.size)
        return source.name

    def _put(
        self,
        name: str,
        op: str,
        source: Node,
        channels: int,
        size: tuple[int, ...],
        attributes: dict[str, Attribute] | None = None,
    ) -> Node:
        self.nodes[name] = Node(name, op, (source.name,), channels, size, attributes or {})
        return self.nodes[name]

    def _name(self, wanted: str) -> str:
        """A name that no node has."""
        while wanted in self.names or wanted in self.nodes:
            wanted += "_"
        return wanted


def _unknown(node: fx.Node, modules: dict[str, nn.Module]) -> ValueError:
    what = modules[str(node.target)] if node.op == "call_module" else f"{node.target} with {node.args[1:]}"
    return ValueError(f"node {node.name!r}: cutting does not know the operation {what}; the masked network still works")
