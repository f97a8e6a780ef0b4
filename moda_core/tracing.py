"""From a traced network to its channel graph.

What only moves numbers about (views, transposes, chunks, a channel shuffle) is not read by name: the same calls are
run on labels, one for every number, and where each number of the result came from says which channels were selected,
flattened or reshaped. What mixes channels in any other way is refused.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from moda_core.graph import ChannelGraph
from moda_core.layers import ARITHMETIC, METHODS, Described, describe_function, describe_module
from moda_core.operations import BROADCASTING, Attribute, Node
from moda_core.units import OPAQUE, UnitLayers, trace_with_shapes

MOVING: frozenset[Callable[..., Any] | str] = frozenset(
    {
        *(torch.flatten, torch.reshape, torch.transpose, torch.permute, torch.squeeze, torch.unsqueeze, torch.chunk),
        *(torch.split, torch.unbind, torch.narrow, torch.movedim, torch.swapaxes, torch.channel_shuffle),
        operator.getitem,
        *("flatten", "reshape", "view", "transpose", "permute", "squeeze", "unsqueeze", "chunk", "split", "unbind"),
        *("narrow", "movedim", "swapaxes", "contiguous", "expand", "expand_as", "unflatten", "view_as", "reshape_as"),
    }
)
MOVING_MODULES = (nn.Flatten, nn.Unflatten, nn.ChannelShuffle)
CONCAT = (torch.cat, torch.concat, torch.concatenate)
MEAN = (torch.mean, "mean")
IN_PLACE = (operator.iadd, operator.imul)


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
            self._refuse_in_place(node)
        for node in self.graph.nodes:
            if node.op == "output":
                break
            if node.op == "placeholder":
                self._add(node, "input", {}, [])
            elif self._moves(node):
                self._move(node)
            elif node.op != "get_attr" and _holds_tensor(node.meta["value"]):
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

    def _moves(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.modules[str(node.target)], MOVING_MODULES)
        if node.op not in ("call_function", "call_method") or node.target not in MOVING:
            return False
        return any(one in self.moved or one in self.plain for one in node.all_input_nodes)

    def _move(self, node: fx.Node) -> None:
        source = next(one for one in node.all_input_nodes if one in self.moved or one in self.plain)
        if source in self.plain:
            labels = torch.arange(source.meta["value"].numel()).view(source.meta["value"].shape)
            self.moved[source] = self.plain[source], labels
        origin = self.moved[source][0]

        def known(one: fx.Node) -> Any:
            return self.moved[one][1] if one is source else one.meta["value"]

        args, kwargs = map_arg(node.args, known), map_arg(node.kwargs, known)
        if node.op == "call_module":
            labels = self.modules[str(node.target)](*args)
        elif node.op == "call_method":
            labels = getattr(args[0], str(node.target))(*args[1:], **kwargs)
        else:
            labels = node.target(*args, **kwargs)  # type: ignore[operator]
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
        found = self._moved_node(node, self.nodes[origin], labels, broadcast)
        whole = self.nodes[found].size == tuple(labels.shape[2:])
        (self.plain if whole else self.expanded)[node] = found
        return found

    def _moved_node(self, node: fx.Node, origin: Node, labels: Tensor, broadcast: bool) -> str:
        pixels = math.prod(origin.size)
        sample = origin.channels * pixels
        apart = labels.ndim >= 2 and len(labels) == 2 and torch.equal(labels[1], labels[0] + sample)
        if not apart or labels.numel() == 0 or int(labels[0].max()) >= sample:
            raise _misplaced(node, "images of a batch")
        channels, size = labels.shape[1], tuple(labels.shape[2:])
        label_CP = labels[0].reshape(channels, -1)
        if broadcast and pixels == 1 and bool((label_CP == label_CP[:, :1]).all()):
            size = (1,) * len(size)  # a number that is expanded: the arithmetic broadcasts it
            label_CP = label_CP[:, :1]
        flattened = size == () != origin.size
        if flattened and channels % pixels == 0:
            label_CP = label_CP.view(-1, pixels)
        whole = torch.arange(pixels)
        if label_CP.shape[1] != pixels or not bool((label_CP == label_CP[:, :1] + whole).all()):
            raise _misplaced(node, "pixels")
        if not bool((label_CP[:, 0] % pixels == 0).all()):
            raise _misplaced(node, "pixels")
        selected = self._select(node.name, origin, label_CP[:, 0] // pixels)
        if flattened:
            return self._put(node.name, "flatten", selected, channels, ())
        return selected if size == origin.size else self._put(node.name, "reshape", selected, channels, size)

    def _select(self, name: str, origin: Node, index: Tensor) -> str:
        if torch.equal(index, torch.arange(origin.channels)):
            return origin.name
        node = Node(
            self._name(f"{name}_select"), "select", (origin.name,), len(index), origin.size, {"index": index.tolist()}
        )
        self.nodes[node.name] = node
        return node.name

    def _put(self, wanted: str, op: str, source: str, channels: int, size: tuple[int, ...]) -> str:
        name = wanted if wanted not in self.nodes else self._name(wanted)
        self.nodes[name] = Node(name, op, (source,), channels, size)
        return name

    def _name(self, wanted: str) -> str:
        """A name that no node has."""
        taken = {node.name for node in self.graph.nodes} | set(self.nodes)
        while wanted in taken:
            wanted += "_"
        return wanted

    def _refuse_in_place(self, node: fx.Node) -> None:
        """A cut network computes without side effects, so nobody else may read what a node overwrites."""
        if not self._works_in_place(node):
            return
        overwritten = node.all_input_nodes[0]
        while self._is_alias(overwritten):  # to whom the memory belongs
            overwritten = overwritten.all_input_nodes[0]
        readers, aliases = [], [overwritten]
        for alias in aliases:
            for user in alias.users:
                if self._is_alias(user):
                    aliases.append(user)
                elif user is not node and (user.op == "output" or _holds_tensor(user.meta["value"])):
                    readers.append(user.name)
        if readers:
            raise ValueError(f"node {node.name!r} works in place on what {readers} read too; make it inplace=False")

    def _works_in_place(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            return bool(getattr(module, "inplace", False)) and not isinstance(module, nn.modules.dropout._DropoutNd)
        if node.op == "call_method":
            return str(node.target).endswith("_") and not str(node.target).endswith("__")
        named = str(getattr(node.target, "__name__", ""))
        in_place = bool(node.kwargs.get("inplace")) or node.target in IN_PLACE
        return node.op == "call_function" and (in_place or (named.endswith("_") and not named.endswith("__")))

    def _is_alias(self, node: fx.Node) -> bool:
        """Whether a node's result may share its input's memory."""
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            shared = (*MOVING_MODULES, nn.Identity, nn.modules.dropout._DropoutNd)
            return isinstance(module, shared) or type(module).__module__ in OPAQUE
        return (
            node.op in ("call_function", "call_method") and node.target in MOVING and _holds_tensor(node.meta["value"])
        )


def _misplaced(node: fx.Node, what: str) -> ValueError:
    return ValueError(
        f"node {node.name!r}: cutting knows operations that select, flatten or reshape whole channels; up to here the"
        f" {what} change places; the masked network still works"
    )


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_holds_tensor(one) for one in value)
    return isinstance(value, Tensor)


def _unknown(node: fx.Node, modules: dict[str, nn.Module]) -> ValueError:
    what = modules[str(node.target)] if node.op == "call_module" else f"{node.target} with {node.args[1:]}"
    return ValueError(f"node {node.name!r}: cutting does not know the operation {what}; the masked network still works")
