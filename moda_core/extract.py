"""The masked network is what a module *means*; the cut network gives the same logits from smaller layers.

Masking multiplies the output of every unit layer by its mask and keeps the logits of the target classes. Cutting
slices weights to the channels that :func:`moda_core.held.held_channels` says are held.
"""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from moda_core.alignment import Select
from moda_core.cutting import Cutter
from moda_core.graph import ChannelGraph
from moda_core.held import Held, held_channels
from moda_core.masks import check_class_ids
from moda_core.modes import device_of, evaluating
from moda_core.reading import channel_graph
from moda_core.units import UnitLayers, along, rewrite_units

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
    for index, (layer, keep_N) in enumerate(zip(layers, keep, strict=True)):
        parts[f"{ours}.mask_{index}"] = UnitMask(keep_N.to(device), layer.dimension)
    parts[f"{ours}.classes"] = Select(torch.tensor(list(class_ids), device=device))
    return fx.GraphModule(parts, graph)


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
    held: Held | None = None,
) -> fx.GraphModule:
    """Cut a channel graph whose ``state`` holds what ``held`` says (constants not folded; None: everything)."""
    check_class_ids(class_ids, graph.output.channels)
    outputs_C = torch.zeros(graph.output.channels, dtype=torch.bool)
    outputs_C[list(class_ids)] = True
    rows = held_channels(graph, [keep_N.cpu()[None] for keep_N in keep], outputs_C[None])
    return Cutter(graph, state, rows.row(0), held).build(class_ids)


def largest_difference(masked: nn.Module, cut: nn.Module, images: Tensor) -> float:
    """max |masked - cut| / max |masked| over the logits of ``images``, both networks in eval mode."""
    with evaluating(masked), evaluating(cut):
        expected, found = masked(images), cut(images)
    if expected.shape != found.shape:
        raise ValueError(f"masked logits are {tuple(expected.shape)}, cut ones {tuple(found.shape)}")
    return relative_difference(expected, found)


def relative_difference(expected: Tensor, found: Tensor) -> float:
    """max |expected - found| / max |expected|."""
    scale = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float((expected - found).abs().max() / scale)


class UnitMask(nn.Module):
    """Multiplies units or channels by 0 or 1."""

    def __init__(self, keep_N: Tensor, dimension: int) -> None:
        super().__init__()
        self.register_buffer("keep_N", keep_N)
        self.keep_N: Tensor
        self.dimension = dimension

    def forward(self, activation: Tensor) -> Tensor:
        return activation * along(self.keep_N[None], activation, self.dimension)


def _check_keep(keep: Sequence[Tensor], widths: Sequence[int], names: Sequence[str]) -> None:
    if len(keep) != len(widths):
        raise ValueError(f"{len(keep)} masks for {len(widths)} unit layers; give one mask a layer")
    for keep_N, width, name in zip(keep, widths, names, strict=True):
        if keep_N.dtype != torch.bool or tuple(keep_N.shape) != (width,):
            raise ValueError(f"mask of {name!r}: {keep_N.dtype} {tuple(keep_N.shape)}; expected bool ({width},)")
        if not keep_N.any():
            raise ValueError(f"mask of {name!r} keeps no unit; keep at least one")
