"""The masked network is what a module *means*; the cut network gives the same logits from smaller layers.

Masking multiplies the output of every unit layer by its mask and keeps the logits of the target classes. Cutting
slices weights to the channels that :func:`moda_core.graph.held_channels` says are held.
"""

import operator
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from moda_core.graph import ChannelGraph, channel_graph, held_channels
from moda_core.masks import check_class_ids
from moda_core.operations import MIXING, Node, build_module
from moda_core.units import UnitLayers, evaluating, rewrite_units

LARGEST_DIFFERENCE = 1e-4  # between cut and masked logits in float32, relative to the largest logit


def mask_network(
    network: nn.Module, layers: UnitLayers, keep: Sequence[Tensor], class_ids: Sequence[int]
) -> fx.GraphModule:
    """The definition of a module: every unit layer's output times its mask, logits restricted to ``class_ids``.

    Parameters are shared with ``network``. Logits come in the order of ``class_ids``.

    Args:
        network: the trained network.
        layers: its unit layers.
        keep: L boolean tensors of (N_l,).
        class_ids: the target classes.

    Raises:
        ValueError: masks that do not fit the layers or keep nothing of one; no class, or one named twice.
    """
    _check_keep(keep, layers.widths, [layer.name for layer in layers])
    ours = "moda"
    while hasattr(network, ours):  # a name that the network does not use
        ours += "_"
    graph = rewrite_units(layers, lambda graph, node, index: graph.call_module(f"{ours}.mask_{index}", (node,)))
    output = next(node for node in graph.nodes if node.op == "output")
    with graph.inserting_before(output):
        output.args = (graph.call_module(f"{ours}.classes", (output.args[0],)),)
    device = next(network.parameters()).device
    root = nn.Module()
    for name, module in network.named_children():
        root.add_module(name, module)
    for name, parameter in network.named_parameters(recurse=False):
        root.register_parameter(name, parameter)
    for name, buffer in network.named_buffers(recurse=False):
        root.register_buffer(name, buffer)
    added = {f"mask_{index}": UnitMask(keep_N.to(device)) for index, keep_N in enumerate(keep)}
    root.add_module(ours, nn.ModuleDict({**added, "classes": Select(torch.tensor(list(class_ids), device=device))}))
    return fx.GraphModule(root, graph)


def cut_network(
    network: nn.Module, layers: UnitLayers, keep: Sequence[Tensor], class_ids: Sequence[int], example_input: Tensor
) -> fx.GraphModule:
    """The numbers of :func:`mask_network` (eval mode) from physically smaller layers; weights are copied.

    Raises:
        ValueError: as :func:`mask_network`, and an operation that cutting does not know, by node and name.
    """
    _check_keep(keep, layers.widths, [layer.name for layer in layers])
    graph, state = channel_graph(network, layers, example_input)
    return cut_graph(graph, state, keep, class_ids)


def cut_graph(
    graph: ChannelGraph,
    state: Mapping[str, Tensor],
    keep: Sequence[Tensor],
    class_ids: Sequence[int],
    *,
    held: Mapping[str, Tensor] | None = None,
) -> fx.GraphModule:
    """Cut a channel graph whose ``state`` holds the channels of ``held`` (boolean (channels,) a node; None: all)."""
    check_class_ids(class_ids, graph.output.channels)
    outputs_C = torch.zeros(graph.output.channels, dtype=torch.bool)
    outputs_C[list(class_ids)] = True
    rows = held_channels(graph, [keep_N.cpu()[None] for keep_N in keep], outputs_C[None])
    return _Cutter(graph, state, {name: row[0] for name, row in rows.items()}, held).build(class_ids)


def slice_state(
    graph: ChannelGraph,
    state: Mapping[str, Tensor],
    want: Mapping[str, Tensor],
    have: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The tensors of ``state`` (which hold the channels of ``have``; None: all) cut to the channels of ``want``."""
    sliced = {}
    for node in graph.nodes:
        for name, axes in node.tensors().items():
            tensor = state[f"{node.name}.{name}"]
            tensor = tensor[_positions(node.name, want, have).to(tensor.device)]
            if axes == "oi":
                tensor = tensor[:, _positions(node.inputs[0], want, have).to(tensor.device)]
            sliced[f"{node.name}.{name}"] = tensor.contiguous()
    return sliced


def largest_difference(masked: nn.Module, cut: nn.Module, images: Tensor) -> float:
    """max |masked - cut| / max |masked| over the logits of ``images``, both networks in eval mode."""
    with evaluating(masked), evaluating(cut):
        expected, found = masked(images), cut(images)
    if expected.shape != found.shape:
        raise ValueError(f"masked logits are {tuple(expected.shape)}, cut ones {tuple(found.shape)}")
    scale = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float((expected - found).abs().max() / scale)


class UnitMask(nn.Module):
    """Multiplies units or channels by 0 or 1."""

    def __init__(self, keep_N: Tensor) -> None:
        super().__init__()
        self.register_buffer("keep_N", keep_N)
        self.keep_N: Tensor

    def forward(self, activation: Tensor) -> Tensor:
        return activation * self.keep_N.view(1, -1, *[1] * (activation.ndim - 2)).to(activation.dtype)


class Select(nn.Module):
    """Takes channels (or logits) by index."""

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.index: Tensor

    def forward(self, values: Tensor) -> Tensor:
        return values.index_select(1, self.index)


class Place(nn.Module):
    """Puts channels at an index among ``channels`` of them; the others are zero."""

    def __init__(self, index: Tensor, channels: int) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.index: Tensor
        self.channels = channels

    def forward(self, values: Tensor) -> Tensor:
        empty = values.new_zeros(values.shape[0], self.channels, *values.shape[2:])
        return empty.index_copy(1, self.index, values)


class AddAt(nn.Module):
    """Adds a branch of fewer channels to one that has them all."""

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.index: Tensor

    def forward(self, whole: Tensor, part: Tensor) -> Tensor:
        return whole.index_add(1, self.index, part)


class _Cutter:
    """Builds the network of one set of held channels, node by node."""

    def __init__(
        self,
        graph: ChannelGraph,
        state: Mapping[str, Tensor],
        want: Mapping[str, Tensor],
        have: Mapping[str, Tensor] | None,
    ) -> None:
        self.graph = graph
        self.want = want
        self.state = slice_state(graph, state, want, have)
        self.device = next(iter(state.values())).device
        self.out = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.built: dict[str, fx.Node] = {}  # a node that holds no channel is not built

    def build(self, class_ids: Sequence[int]) -> fx.GraphModule:
        for node in self.graph.nodes:
            if node.op == "input":
                self.built[node.name] = self.out.placeholder("images")
            elif self.want[node.name].any():
                self.built[node.name] = self._add(node) if node.op == "add" else self._one_input(node)
        held = self.want[self.graph.output.name].nonzero().flatten().tolist()
        if missing := [class_id for class_id in class_ids if class_id not in held]:
            raise ValueError(f"the logits of classes {missing} are masked away; they are no units")
        last = self.built[self.graph.output.name]
        order = [held.index(class_id) for class_id in class_ids]
        if order != list(range(len(held))):
            last = self._call("classes", Select(torch.tensor(order, device=self.device)), last)
        self.out.output(last)
        return fx.GraphModule(self.modules, self.out).eval()

    def _one_input(self, node: Node) -> fx.Node:
        source = node.inputs[0]
        if node.op not in MIXING and node.op != "flatten":
            value = self._aligned(node, source)
        else:
            if source not in self.built:
                raise ValueError(f"node {node.name!r} would read no channel at all; keep a unit of the layer before it")
            value = self.built[source]
        tensors = {name: self.state[f"{node.name}.{name}"] for name in node.tensors()}
        inputs, outputs = int(self.want[source].sum()), int(self.want[node.name].sum())
        return self._call(node.name, build_module(node, tensors, inputs=inputs, outputs=outputs), value)

    def _aligned(self, node: Node, source: str) -> fx.Node:
        """The source with exactly the channels that ``node`` holds: some left out, missing ones as zeros."""
        target = self.want[node.name]
        if source not in self.built:
            raise ValueError(f"node {node.name!r} would read no channel at all; keep a unit of the layer before it")
        value, common = self._common(node, source)
        if bool((common == target).all()):
            return value
        return self._call(f"{node.name}_place", Place(self._index(common[target]), int(target.sum())), value)

    def _common(self, node: Node, source: str) -> tuple[fx.Node, Tensor]:
        """The channels that the source has and the node holds."""
        has = self.want[source]
        common = has & self.want[node.name]
        if bool((common == has).all()):
            return self.built[source], common
        return self._call(f"{node.name}_from_{source}", Select(self._index(common[has])), self.built[source]), common

    def _add(self, node: Node) -> fx.Node:
        target = self.want[node.name]
        branches = [name for name in node.inputs if (self.want[name] & target).any()]
        branches.sort(key=lambda name: int((self.want[name] & target).sum()), reverse=True)
        whole = self._aligned(node, branches[0])
        if len(branches) == 1:
            return whole
        part, common = self._common(node, branches[1])
        if bool((common == target).all()):
            return self.out.call_function(operator.add, (whole, part))
        return self._call(f"{node.name}_at", AddAt(self._index(common[target])), whole, part)

    def _call(self, label: str, module: nn.Module, *inputs: fx.Node) -> fx.Node:
        name = f"op{len(self.modules)}_{label}"  # unique, and no attribute that a module has anyway
        self.modules[name] = module
        return self.out.call_module(name, inputs)

    def _index(self, chosen: Tensor) -> Tensor:
        return chosen.nonzero().flatten().to(self.device)


def _positions(name: str, want: Mapping[str, Tensor], have: Mapping[str, Tensor] | None) -> Tensor:
    """Where the wanted channels of a node stand among the held ones."""
    if have is None:
        return want[name].nonzero().flatten()
    assert not (want[name] & ~have[name]).any(), name
    return want[name][have[name]].nonzero().flatten()


def _check_keep(keep: Sequence[Tensor], widths: Sequence[int], names: Sequence[str]) -> None:
    if len(keep) != len(widths):
        raise ValueError(f"{len(keep)} masks for {len(widths)} unit layers; give one mask a layer")
    for keep_N, width, name in zip(keep, widths, names, strict=True):
        if keep_N.dtype != torch.bool or tuple(keep_N.shape) != (width,):
            raise ValueError(f"mask of {name!r}: {keep_N.dtype} {tuple(keep_N.shape)}; expected bool ({width},)")
        if not keep_N.any():
            raise ValueError(f"mask of {name!r} keeps no unit; keep at least one")
