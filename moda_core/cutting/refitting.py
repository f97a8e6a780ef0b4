"""Refits the layers that read cut units, so that they give what they gave before, as far as the kept units allow.

Layer by layer, in the order of execution, a least-squares problem in closed form: the layer's outputs on some images,
as near as possible to those of the network of which nothing is cut. No gradient, no labels.

Shapes: B images of a batch, G groups, F features (input channels of a group x kernel, and 1 for the bias), K outputs of
a group, P positions (pixels of the output), ch channels.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from moda_core.choosing import Masks, check_class_ids, check_keep, merged_units
from moda_core.cutting.cutter import Cutter
from moda_core.cutting.extract import cut_graph
from moda_core.cutting.held import Held, held_channels
from moda_core.cutting.least_squares import LeastSquares
from moda_core.graph import MIXING, ChannelGraph, Node, channel_graph
from moda_core.modes import evaluating
from moda_core.units import UnitLayers

AT_ONCE = 2**22  # numbers of a layer's unfolded input, of so many images as are unfolded together


def refit_network(
    network: nn.Module, layers: UnitLayers, keep: Masks, class_ids: Sequence[int], images: Iterable[Tensor]
) -> fx.GraphModule:
    """Build the module of ``class_ids`` as :func:`cut_network` does, and refit the layers that read cut units.

    Every convolution and linear layer behind a cut unit gets the weights and the bias (if it has one) with which its
    outputs on ``images`` differ least, in the sum of squares, from those of the whole network; of several such the ones
    nearest to what they were. Layers before it are refitted already. A layer that is called more than once stays as it
    is. Sizes do not change.

    Args:
        network: the trained network.
        layers: its unit layers.
        keep: L boolean tensors of (N_l,), or a decomposition of all classes, which is merged here. By its scales the
            units of the whole network are multiplied too.
        class_ids: the target classes.
        images: batches (B, ch, H, W) of images of the target classes, on the network's device; a list or a loader,
            which is read once for each layer.

    Raises:
        ValueError: as :func:`cut_network`, or no image.
    """
    check_keep(merged_units(keep, class_ids).keep, layers)
    first = next(iter(images), None)
    if first is None:
        raise ValueError("there are no images to refit on; give some of the target classes")
    graph, state = channel_graph(network, layers, first)
    return refit_graph(graph, state, keep, class_ids, images)


def refit_graph(
    graph: ChannelGraph, state: Mapping[str, Tensor], keep: Masks, class_ids: Sequence[int], images: Iterable[Tensor]
) -> fx.GraphModule:
    """Refit as :func:`refit_network` does, from a channel graph and its whole state, which is not changed."""
    check_class_ids(class_ids, graph.output.channels)
    units = merged_units(keep, class_ids)
    cut = _held(graph, [keep_N.cpu() for keep_N in units.keep], class_ids)
    whole = _held(graph, [torch.ones_like(keep_N, device="cpu") for keep_N in units.keep], class_ids)
    fitted = dict(state)
    before = _built(Cutter(graph, state, whole, None, scales=units.scales))
    for node in _readers(graph, units.keep):
        if not (cut.channels[node.name].any() and cut.reads[node.name].any()):
            continue
        now = _built(Cutter(graph, fitted, cut, None, scales=units.scales), until=node)
        _refit(node, fitted, _up_to(node, now), _up_to(node, before), cut, whole, images)
    return cut_graph(graph, fitted, keep, class_ids)


def _held(graph: ChannelGraph, keep: Sequence[Tensor], class_ids: Sequence[int]) -> Held:
    outputs_C = torch.zeros(graph.output.channels, dtype=torch.bool)
    outputs_C[list(class_ids)] = True
    return held_channels(graph, [keep_N[None] for keep_N in keep], outputs_C[None]).row(0)


def _readers(graph: ChannelGraph, keep: Sequence[Tensor]) -> Iterator[Node]:
    """The layers whose inputs a cut unit changes, and that are called once."""
    is_changed: dict[str, bool] = {}
    for node in graph.nodes:
        reads_changed = any(is_changed[name] for name in node.inputs)
        is_cut = node.unit_layer is not None and not bool(keep[node.unit_layer].all())
        is_changed[node.name] = reads_changed or is_cut
        if node.op in MIXING and reads_changed and len(graph.calls[node.shares or node.name]) == 1:
            yield node


def _built(cutter: Cutter, *, until: Node | None = None) -> Cutter:
    """The cutter with all nodes, or those up to one, added."""
    for node in cutter.graph.nodes:
        cutter.add(node)
        if node is until:
            break
    return cutter


def _up_to(node: Node, cutter: Cutter) -> fx.GraphModule:
    """The network up to a layer, which returns the layer's input and output."""
    layer = cutter.built[node.name]
    needed, found = {layer}, [layer]
    while found:
        sources = [source for source in found.pop().all_input_nodes if source not in needed]
        needed.update(sources)
        found += sources
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for call in cutter.out.nodes:
        if call in needed:
            copies[call] = graph.node_copy(call, lambda original: copies[original])
    graph.output((copies[layer].args[0], copies[layer]))
    return fx.GraphModule(cutter.modules, graph).eval()


def _refit(
    node: Node,
    state: dict[str, Tensor],
    now: nn.Module,
    before: nn.Module,
    cut: Held,
    whole: Held,
    images: Iterable[Tensor],
) -> None:
    """Put the refitted weight and bias of a layer into the state."""
    held, reads = cut.channels[node.name], cut.reads[node.name]
    in_whole = held[whole.channels[node.name]].nonzero().flatten()
    grouped = node.groups > 1  # then all channels take part, dropped ones as zeros
    inputs, outputs = (len(reads), len(held)) if grouped else (int(reads.sum()), int(held.sum()))
    weight = state[f"{node.name}.weight"]
    kernel = weight[0, 0].numel()
    has_bias = "bias" in node.tensors()
    features = inputs // node.groups * kernel
    problem = LeastSquares(node.groups, features + has_bias, outputs // node.groups, weight.device)
    with evaluating(now), evaluating(before):
        for batch in images:
            values, found = now(batch)
            missing = before(batch)[1][:, in_whole.to(batch.device)] - found
            if grouped:
                values, missing = _placed(values, reads), _placed(missing, held)
            positions = missing[0, 0].numel()
            count = max(1, AT_ONCE // max(1, positions * features * node.groups))
            for values_B, missing_B in zip(values.split(count), missing.split(count), strict=True):
                features_GFR = _by_group(_unfolded(node, values_B), node.groups)
                if has_bias:
                    features_GFR = F.pad(features_GFR, (0, 0, 0, 1), value=1.0)
                problem.add(features_GFR, _by_group(missing_B.reshape(*missing_B.shape[:2], -1), node.groups))
    change_GFK = problem.solve()
    change = change_GFK[:, :features].mT.reshape(outputs, inputs // node.groups, *weight.shape[2:])
    rows = torch.arange(outputs) if grouped else held.nonzero().flatten()
    columns = torch.arange(inputs // node.groups) if grouped else reads.nonzero().flatten()
    refitted = weight.detach().clone()
    refitted[rows[:, None], columns] += change.to(weight.dtype)
    state[f"{node.name}.weight"] = refitted
    if has_bias:
        bias = state[f"{node.name}.bias"].detach().clone()
        bias[rows] += change_GFK[:, features].reshape(-1).to(bias.dtype)
        state[f"{node.name}.bias"] = bias


def _unfolded(node: Node, values: Tensor) -> Tensor:
    """What each output position of a layer reads: (B, ch x kernel, P)."""
    if node.op == "linear":
        return values.flatten(2) if node.size else values[:, :, None]
    sizes = {name: node.attributes[name] for name in ("dilation", "padding", "stride")}
    return F.unfold(values, node.attributes["kernel_size"], **sizes)  # type: ignore[arg-type]


def _by_group(columns: Tensor, groups: int) -> Tensor:
    """(B, G x n, P) as (G, n, B x P)."""
    grouped: Tensor = columns.unflatten(1, (groups, -1))
    return grouped.permute(1, 2, 0, 3).flatten(2)


def _placed(values: Tensor, marked: Tensor) -> Tensor:
    """Held channels among all of them, the others 0."""
    placed = values.new_zeros(len(values), len(marked), *values.shape[2:])
    placed[:, marked.to(values.device)] = values
    return placed
