"""The masked network: what a module *means*, and what cut networks are compared with.

Masking multiplies the output of every unit layer by its mask, and by the units' scales where there are some, keeps the
logits of the target classes and adds their bias.

Shapes: B samples, N_l units of layer l.
"""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from moda_core.choosing.class_ids import check_class_ids
from moda_core.choosing.decomposition import Masks, merged_units
from moda_core.modes import device_of
from moda_core.units import UnitLayers, along, rewrite_units


def mask_network(network: nn.Module, layers: UnitLayers, keep: Masks, class_ids: Sequence[int]) -> fx.GraphModule:
    """Build the network that defines a module: every unit layer's output times its mask, logits restricted to
    ``class_ids``.

    With a decomposition, kept units are also multiplied by their scales and the classes' bias is added to the logits.
    Parameters are shared with ``network``. Logits come in the order of ``class_ids``.

    Args:
        network: the trained network.
        layers: its unit layers.
        keep: L boolean tensors of (N_l,), or a decomposition of all classes, which is merged here.
        class_ids: the target classes.

    Raises:
        ValueError: masks that do not fit the layers, or keep nothing of one that may not be empty; no class, or one
            named twice.
    """
    units = merged_units(keep, class_ids)
    check_keep(units.keep, layers)
    last = next(node for node in layers.graph.nodes if node.op == "output").args[0]
    if isinstance(last, fx.Node) and last.meta["value"].ndim == 2:
        check_class_ids(class_ids, last.meta["value"].shape[1])
    named = [str(node.target) for node in layers.graph.nodes if node.op in ("call_module", "get_attr")]
    parts: dict[str, Any] = {name: operator.attrgetter(name)(network) for name in named}
    ours = "moda"
    while any(name.split(".")[0] == ours for name in parts):  # a name that the network does not use
        ours += "_"
    graph = rewrite_units(layers, lambda graph, node, index: graph.call_module(f"{ours}.mask_{index}", (node,)))
    output = next(node for node in graph.nodes if node.op == "output")
    with graph.inserting_before(output):
        output.args = (graph.call_module(f"{ours}.classes", (output.args[0],)),)
    device = device_of(network)
    for index, (layer, keep_N) in enumerate(zip(layers, units.keep, strict=True)):
        factor_N = keep_N if units.scales is None else keep_N * units.scales[index].to(keep_N.device)
        parts[f"{ours}.mask_{index}"] = UnitMask(factor_N.to(device), layer.dimension)
    wanted_T = torch.tensor(list(class_ids), device=device)
    bias_T = None if units.bias_T is None else units.bias_T.to(device)
    parts[f"{ours}.classes"] = Select(wanted_T) if bias_T is None else SelectLogits(wanted_T, bias_T)
    return fx.GraphModule(parts, graph)


def row_masked_graph(layers: UnitLayers) -> fx.Graph:
    """Build the network with one more input per unit layer: a factor for every row and unit."""

    def mask(graph: fx.Graph, node: fx.Node, layer: int) -> fx.Node:
        factor = next(node for node in graph.nodes if node.op == "placeholder" and node.target == f"extra_{layer}")
        return graph.call_function(_mask_rows, (node, factor, layers[layer].dimension))

    return rewrite_units(layers, mask, extra_inputs=len(layers))


def _mask_rows(activation: Tensor, factor_BN: Tensor, dimension: int) -> Tensor:
    return activation * along(factor_BN, activation, dimension)


class UnitMask(nn.Module):
    """Multiplies units or channels by 0 or 1, or by 0 or their scale."""

    def __init__(self, factor_N: Tensor, dimension: int) -> None:
        super().__init__()
        self.register_buffer("factor_N", factor_N)
        self.factor_N: Tensor
        self.dimension = dimension

    def forward(self, activation: Tensor) -> Tensor:
        return activation * along(self.factor_N[None], activation, self.dimension)


class Select(nn.Module):
    """A layer that selects channels (or logits) by index."""

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.index: Tensor

    def forward(self, values: Tensor) -> Tensor:
        return values.index_select(1, self.index)


class SelectLogits(Select):
    """Takes the logits of the target classes and adds their bias."""

    def __init__(self, index: Tensor, bias_T: Tensor) -> None:
        super().__init__(index)
        self.register_buffer("bias_T", bias_T)
        self.bias_T: Tensor

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values) + self.bias_T.to(values.dtype)


def check_keep(keep: Sequence[Tensor], layers: UnitLayers) -> None:
    """Refuse masks that do not fit the layers, or that keep no unit of one that may not be empty.

    Raises:
        ValueError: such masks.
    """
    if len(keep) != len(layers):
        raise ValueError(f"{len(keep)} masks for {len(layers)} unit layers; give one mask per layer")
    for keep_N, layer in zip(keep, layers, strict=True):
        shape = tuple(keep_N.shape)
        if keep_N.dtype != torch.bool or shape != (layer.units,):
            raise ValueError(f"mask of {layer.name!r}: {keep_N.dtype} {shape}; expected bool ({layer.units},)")
        if not keep_N.any() and not layer.may_be_empty:
            raise ValueError(f"mask of {layer.name!r} keeps no unit; keep at least one")
