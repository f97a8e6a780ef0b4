"""Builds the network of one set of held channels from a channel graph, node by node.

Whatever a node reads and its source does not hold is zero or a constant: it is put in its place, or, where a layer
without padding reads it, folded into the layer's bias (which does not train and counts for no parameter if the layer
had none). Scales of units and the bias of logits are operations of their own, which train nothing either.
"""

import itertools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, fx, nn

from moda_core.choosing import Select
from moda_core.cutting.alignment import AddAt, Concat, Fill, Place, UnevenGroups
from moda_core.cutting.held import Held
from moda_core.cutting.slices import held_by, kernels_of, tensor_of
from moda_core.graph import (
    ATTENDING,
    BROADCASTING,
    INDEXED,
    MIXING,
    NORMALISING,
    POINTWISE,
    ChannelGraph,
    Node,
    build_module,
    per_channel,
)


class Cutter:
    """Cuts a graph to what ``want`` holds, from a ``state`` that holds what ``have`` does (None: everything).

    ``scales``, one tensor (N_l,) for each unit layer, multiply the units; None for 1.
    """

    def __init__(
        self,
        graph: ChannelGraph,
        state: Mapping[str, Tensor],
        want: Held,
        have: Held | None,
        *,
        scales: Sequence[Tensor] | None = None,
    ) -> None:
        self.graph, self.state, self.want, self.have = graph, state, want, have
        first = next(iter(state.values()))
        self.device, self.wide = first.device, torch.promote_types(first.dtype, torch.float32)
        self.dtype = first.dtype
        self.scales = None if scales is None else [scale_N.to(self.device, self.dtype) for scale_N in scales]
        self.out = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.shared: dict[str, str] = {}  # node with tensors that others use -> its module
        self.built: dict[str, fx.Node] = {}  # a node that holds no channel is not built
        self.constants: dict[str, Tensor] = {}  # each node's channels: the constant, 0 where it varies
        self.folded: dict[str, Tensor] = {}  # each mixing node's outputs: what the constants it does not read add
        self.images: fx.Node

    def build(self, class_ids: Sequence[int], bias_T: Tensor | None = None) -> fx.GraphModule:
        """The network whose logits are those of ``class_ids``, in this order, plus ``bias_T``."""
        for node in self.graph.nodes:
            self.add(node)
        output = self.graph.output
        assert output.unit_layer is None
        wanted = torch.zeros(output.channels, dtype=torch.bool)
        wanted[list(class_ids)] = True
        last = self._read(output, output, wanted)
        order = [int(wanted[:class_id].sum()) for class_id in class_ids]
        if order != list(range(len(order))):
            last = self._call("classes", Select(torch.tensor(order, device=self.device)), last)
        if bias_T is not None:
            last = self._call("bias", per_channel("shift", bias_T.to(self.device, self.dtype), output.size), last)
        self.out.output(last)
        return fx.GraphModule(self.modules, self.out).eval()

    def add(self, node: Node) -> None:
        """Add a node of the graph, all of whose inputs are added already."""
        self._find_constants(node)
        if node.op == "input":
            self.images = self.built[node.name] = self.out.placeholder("images")
        elif self.want.channels[node.name].any():
            self.built[node.name] = self._scaled(node, self._build(node))

    def _scaled(self, node: Node, value: fx.Node) -> fx.Node:
        """The units of a unit layer times their scales."""
        scale_C = self._scale(node)
        if scale_C is None:
            return value
        scale_H = scale_C[self.want.channels[node.name].to(self.device)]
        if bool((scale_H == 1).all()):
            return value
        return self._call(f"{node.name}_scale", per_channel("scale", scale_H, node.size), value)

    def _scale(self, node: Node) -> Tensor | None:
        return None if self.scales is None or node.unit_layer is None else node.spread(self.scales[node.unit_layer])

    def _build(self, node: Node) -> fx.Node:
        held = self.want.channels[node.name]
        if node.op in BROADCASTING:
            return self._two(node, held)
        if node.op in ("concat", "select"):
            return self._rearranged(node, held)
        if node.op in ATTENDING or node.op in ("concat_tokens", "embedding"):
            return self._of_tokens(node, held)
        source = self.graph.by_name[node.inputs[0]]
        if node.op in MIXING:
            wanted = self.want.reads[node.name]
        elif node.op == "flatten":
            wanted = held.view(source.channels, -1).any(1)
        else:
            wanted = held
        value = self._read(node, source, wanted)
        root = node.shares or node.name
        if root in self.shared:
            return self.out.call_module(self.shared[root], (value,))
        call = self._call(node.name, self._layer(node, wanted, held), value)
        if len(self.graph.calls[root]) > 1:
            self.shared[root] = str(call.target)
        return call

    def _of_tokens(self, node: Node, held: Tensor) -> fx.Node:
        """Attention reads its heads whole, a concatenation the same channels of every part, an embedding nothing."""
        layer = self._layer(node, held, held)
        if node.op == "embedding":
            return self._call(node.name, layer, self.images)
        heads = held.view(node.groups, -1).any(1)
        inputs = []
        for source in (self.graph.by_name[name] for name in node.inputs):
            of_heads = heads.repeat_interleave(source.channels // node.groups)
            inputs.append(self._read(node, source, of_heads if node.op in ATTENDING else held))
        return self._call(node.name, layer, *inputs)

    def _two(self, node: Node, held: Tensor) -> fx.Node:
        """Addition adds a branch only where it has a channel; multiplication reads both whole."""
        first, second = (self.graph.by_name[name] for name in node.inputs)
        if node.op == "add" and first.size == second.size:
            if int(self._has(second, held).sum()) > int(self._has(first, held).sum()):
                first, second = second, first
            part = self._has(second, held)
            if not bool(part.any()):
                return self._read(node, first, held)
            if not bool((part == held).all()):
                whole, fewer = self._read(node, first, held), self._read(node, second, part)
                return self._call(f"{node.name}_at", AddAt(self._index(part[held])), whole, fewer)
        function = operator.add if node.op == "add" else operator.mul
        return self.out.call_function(function, (self._read(node, first, held), self._read(node, second, held)))

    def _has(self, source: Node, wanted: Tensor) -> Tensor:
        """Which of the wanted channels are not zero."""
        return wanted & (self.want.channels[source.name] | (self.constants[source.name] != 0).cpu())

    def _rearranged(self, node: Node, held: Tensor) -> fx.Node:
        sources = [self.graph.by_name[name] for name in node.inputs]
        parts = []
        for source, gather in zip(sources, node.gathers([source.channels for source in sources]), strict=True):
            index = gather[held & (gather >= 0)]
            if len(index) == 0:
                continue
            wanted = torch.zeros(source.channels, dtype=torch.bool)
            wanted[index] = True
            value = self._read(node, source, wanted)
            place = wanted.cumsum(0)[index] - 1
            if not torch.equal(place, torch.arange(int(wanted.sum()))):
                value = self._call(f"{node.name}_order", Select(place.to(self.device)), value)
            parts.append(value)
        return parts[0] if len(parts) == 1 else self._call(node.name, Concat(), *parts)

    def _read(self, reader: Node, source: Node, wanted: Tensor) -> fx.Node:
        """The wanted channels of the source: the held ones, the others as the constants they are."""
        held = self.want.channels[source.name]
        common = held & wanted
        constants_C = self.constants[source.name][wanted.to(self.device)].to(self.dtype)
        label = f"{reader.name}_from_{source.name}"
        if not common.any():
            return self._call(label, Fill(constants_C, source.size, self.graph.nodes[0].size), self.images)
        value = self.built[source.name]
        if not torch.equal(common, held):
            value = self._call(label, Select(self._index(common[held])), value)
        if not torch.equal(common, wanted):
            value = self._call(f"{label}_place", Place(self._index(common[wanted]), constants_C), value)
        return value

    def _layer(self, node: Node, reads: Tensor, held: Tensor) -> nn.Module:
        tensors = {name: self._tensor(node, name).contiguous() for name in node.tensors()}
        folded = self.folded[node.name][held.to(self.device)] if node.op in MIXING else None
        trains = "bias" in tensors
        if folded is not None and bool(folded.any()):
            tensors["bias"] = (tensors["bias"] + folded if trains else folded).to(tensors["weight"].dtype)
        if node.op == "conv2d" and node.groups > 1:
            layer = self._grouped(node, tensors, reads, held)
        else:
            with_bias = _with_bias(node, "bias" in tensors)
            layer = build_module(with_bias, tensors, inputs=int(reads.sum()), outputs=int(held.sum()))
        for name, parameter in layer.named_parameters():
            if name.endswith("bias") and not trains:
                parameter.requires_grad_(False)
        return layer.to(self.device)

    def _grouped(self, node: Node, tensors: Mapping[str, Tensor], reads: Tensor, held: Tensor) -> nn.Module:
        """Groups with the same number of inputs and outputs as one convolution; its weight comes as pairs."""
        out_G = held.view(node.groups, -1).sum(1).tolist()
        in_G = reads.view(node.groups, -1).sum(1).tolist()
        shapes: dict[tuple[int, int], list[int]] = {}
        for group, shape in enumerate(zip(out_G, in_G, strict=True)):
            if shape[0]:
                shapes.setdefault(shape, []).append(group)
        weights = tensors["weight"].split([outs * ins for outs, ins in zip(out_G, in_G, strict=True)])
        first_out, first_in = _starts(out_G), _starts(in_G)
        layers, inputs, outputs = [], [], []
        for (outs, ins), groups in shapes.items():
            rows = torch.cat([torch.arange(first_out[group], first_out[group] + outs) for group in groups])
            columns = torch.cat([torch.arange(first_in[group], first_in[group] + ins) for group in groups])
            bias = {"bias": tensors["bias"][rows.to(self.device)]} if "bias" in tensors else {}
            weight = torch.cat([weights[group] for group in groups]).view(len(rows), ins, *node.kernel())
            own = replace(
                node, channels=len(rows), attributes={**node.attributes, "groups": len(groups), "bias": bool(bias)}
            )
            layers.append(build_module(own, {"weight": weight} | bias, inputs=len(columns), outputs=len(rows)))
            inputs.append(columns.to(self.device))
            outputs.append(rows)
        if len(layers) == 1:
            return layers[0]
        return UnevenGroups(layers, inputs, torch.cat(outputs).argsort().to(self.device))

    def _find_constants(self, node: Node) -> None:
        """What the node's constant channels are; of a mixing node also what is folded into its bias."""
        constants = [self.constants[name] for name in node.inputs]
        empty_C = torch.zeros(node.channels, dtype=self.wide, device=self.device)
        found_C = empty_C
        if node.op in MIXING:
            added_C = empty_C if node.padded or not bool(constants[0].any()) else self._mixed(node, constants[0])
            again = len(self.graph.calls[node.shares or node.name]) > 1  # it reads constants like anything else
            self.folded[node.name] = empty_C if again else added_C
            found_C = added_C + self._whole(node, "bias")
        elif node.op in ATTENDING:  # its weights of a head add up to 1
            found_C = constants[2]
        elif node.op in NORMALISING:
            found_C = self._whole(node, "bias") if node.op == "group_norm" else empty_C
        elif node.op == "batch_norm":
            scale_C = (self._whole(node, "running_var") + float(node.attributes["eps"])).rsqrt()  # type: ignore[arg-type]
            found_C = (constants[0] - self._whole(node, "running_mean")) * scale_C
            if node.attributes["affine"]:
                found_C = found_C * self._whole(node, "weight") + self._whole(node, "bias")
        elif node.op == "scale":
            found_C = constants[0] * self._whole(node, *node.tensors())
        elif node.op == "shift":
            found_C = constants[0] + self._whole(node, *node.tensors())
        elif node.op in INDEXED:
            sources = node.gathers([len(constant) for constant in constants])
            for constant_C, source in zip(constants, sources, strict=True):
                source = source.to(self.device)
                found_C = torch.where(source >= 0, constant_C[source.clamp(min=0)], found_C)
        elif node.op in BROADCASTING:
            found_C = constants[0] + constants[1] if node.op == "add" else constants[0] * constants[1]
        elif node.op in POINTWISE:
            found_C = build_module(node, {}, inputs=0, outputs=0)(constants[0])
        elif constants:  # a pool, a reshape, dropout: a constant stays what it is
            found_C = constants[0]
        if (scale_C := self._scale(node)) is not None:
            found_C = found_C * scale_C
        constant = self.want.constant[node.name].to(self.device)
        self.constants[node.name] = torch.where(constant, found_C, empty_C)

    def _mixed(self, node: Node, constants_C: Tensor) -> Tensor:
        """What constant inputs add to each output channel."""
        root = self._root(node)
        weight = self.state[f"{root.name}.weight"].to(self.wide)
        held, reads = held_by(self.graph, root, self.have)
        mixed_C = torch.zeros(node.channels, dtype=self.wide, device=self.device)
        if node.groups == 1:
            kernels = weight if weight.ndim == 2 else weight.sum((2, 3))
            mixed_C[held] = kernels @ constants_C[reads]
            return mixed_C
        pairs = kernels_of(node, held, reads)
        output, place = pairs.nonzero(as_tuple=True)
        source = output // (node.channels // node.groups) * pairs.shape[1] + place
        kernels = (weight if self.have is not None else weight[pairs]).flatten(1).sum(1)
        return mixed_C.index_add(0, output.to(self.device), kernels * constants_C[source.to(self.device)])

    def _whole(self, node: Node, name: str) -> Tensor:
        """A tensor of one number a channel with all channels, 0 where none is held (or if the node has none such)."""
        root = self._root(node)
        whole_C = torch.zeros(node.channels, dtype=self.wide, device=self.device)
        if name in root.tensors():
            held, _ = held_by(self.graph, root, self.have)
            whole_C[held] = self.state[f"{root.name}.{name}"].to(self.wide)
        return whole_C

    def _root(self, node: Node) -> Node:
        """The node whose tensors a node uses."""
        return self.graph.by_name[node.shares or node.name]

    def _tensor(self, node: Node, name: str) -> Tensor:
        return tensor_of(self.graph, self.state, self._root(node), name, self.want, self.have)

    def _call(self, label: str, module: nn.Module, *inputs: fx.Node) -> fx.Node:
        name = f"op{len(self.modules)}_{label}"  # unique, and no attribute that a module has anyway
        self.modules[name] = module
        return self.out.call_module(name, inputs)

    def _index(self, chosen: Tensor) -> Tensor:
        return chosen.nonzero().flatten().to(self.device)


def _starts(counts: Sequence[int]) -> list[int]:
    return [0, *itertools.accumulate(counts)]


def _with_bias(node: Node, bias: bool) -> Node:
    return replace(node, attributes={**node.attributes, "bias": bias}) if node.op in MIXING else node
