"""Statistics of a trained network's units by class, for activity_rules.py: values, frequencies, Taylor terms.

Shapes: B samples, C classes, N units of all layers side by side, N_l units of layer l.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from moda_core import watch_units
from moda_core.graph.graph import ChannelGraph
from moda_core.measuring.metrics import sizes_and_overlaps
from moda_core.modes import evaluating
from moda_core.rules.built_in import ActivityRule
from moda_core.units.layers import UnitLayers, rewrite_units
from orchestrator.training.data.image_set import ImageSet
from orchestrator.training.decompose import Trained

FIRST_CUT = 0.9  # part of the Taylor mass that the modules of the second Taylor pass keep


@dataclass(frozen=True)
class Statistics:
    """What the rules see; C classes, N units of all layers side by side; all (C, N) are means over a class's samples.

    A Taylor term is activation x gradient: the first-order change if the unit were set to zero. The margin is the
    class's logit minus the logarithm of the others' summed exponentials.

    Attributes:
        widths: N_l of each layer.
        rates: by threshold, how often the unit is active, as moda_core counts it.
        means: of the value "mean" and of its "square"; of the |Taylor term| of "logit", "margin" and "loss" (the
            cross-entropy); of the margin's without absolute value ("signed") and squared ("margin square"), with every
            unit halved ("half"), and in the class's own module, cut at FIRST_CUT, in a second pass ("inside").
        overall_N: mean value over all samples.
        outgoing_N: norm of the weights that read the unit, after batch norm.
        cost_N: parameters that go when the unit goes.
    """

    widths: tuple[int, ...]
    rates: Mapping[float, Tensor]
    means: Mapping[str, Tensor]
    overall_N: Tensor
    outgoing_N: Tensor
    cost_N: Tensor


def mass(value_CN: Tensor, *widths: int) -> Tensor:
    """One minus the part of a layer's sum that larger values hold: level 1 - p keeps the fewest units that hold p."""
    scores = []
    for part_CN in value_CN.clamp(min=0).split(widths or value_CN.shape[1], 1):
        sorted_CN, order_CN = (part_CN + 1e-12).sort(dim=1, descending=True, stable=True)
        before_CN = (sorted_CN.cumsum(1) - sorted_CN) / sorted_CN.sum(1, keepdim=True)
        scores.append(torch.empty_like(part_CN).scatter_(1, order_CN, 1 - before_CN))
    return torch.cat(scores, 1)


def gather(trained: Trained, images: ImageSet) -> Statistics:
    """The statistics, over all images."""
    network, layers = trained.network, trained.layers
    counted = ActivityRule.unpack(trained.rules["activity"].counts)
    classes, widths = trained.graph.output.channels, tuple(layers.widths)
    watched = watch_units(network, layers)

    def scale(graph: fx.Graph, node: fx.Node, layer: int) -> fx.Node:
        factor = next(one for one in graph.nodes if one.op == "placeholder" and one.target == f"extra_{layer}")
        return graph.call_function(scale_rows, (node, factor))

    scaled = fx.GraphModule(network, rewrite_units(layers, scale, extra_inputs=len(layers)))
    means: dict[str, Tensor] = {}

    def add(terms: Mapping[str, Tensor], labels: Tensor) -> None:
        of_class_CB = F.one_hot(labels, classes).T.double() / counted.class_sizes_C[:, None]
        for name, term_BN in terms.items():
            means[name] = means.get(name, 0) + of_class_CB @ term_BN.double()

    pieces = [
        piece for pixels, labels in images.batches() for piece in zip(pixels.split(128), labels.split(128), strict=True)
    ]
    ones_CN = torch.ones(classes, sum(widths))
    with evaluating(network):
        for pixels, labels in pieces:
            value_BN = torch.cat(watched(pixels)[1], 1)
            logit_BN, margin_BN, wrong_B = taylor(scaled, pixels, labels, ones_CN, widths)
            _, half_BN, _ = taylor(scaled, pixels, labels, ones_CN / 2, widths)
            add({"mean": value_BN, "square": value_BN.double().square(), "logit": logit_BN.abs()}, labels)
            add({"margin": margin_BN.abs(), "signed": margin_BN, "margin square": margin_BN.square()}, labels)
            add({"loss": margin_BN.abs() * wrong_B[:, None], "half": half_BN.abs()}, labels)
        inside_CN = (mass(means["margin"], *widths) > 1 - FIRST_CUT).float()
        for pixels, labels in pieces:
            add({"inside": taylor(scaled, pixels, labels, inside_CN, widths)[1].abs()}, labels)
    rates = {threshold: torch.cat(counted.rates(threshold), 1) for threshold in counted.thresholds}
    return Statistics(
        widths, rates, means, counted.means_N, outgoing_norms(network, layers), parameter_costs(trained.graph)
    )


def scale_rows(activation: Tensor, factor_BN: Tensor) -> Tensor:
    return activation * factor_BN.view(*factor_BN.shape, *[1] * (activation.ndim - 2)).to(activation.dtype)


def taylor(
    scaled: nn.Module, pixels: Tensor, labels: Tensor, factors_CN: Tensor, widths: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Taylor terms of logit and margin, (B, N), and one minus the class's probability, (B,).

    The term of a channel is the derivative by a factor on it. The cross-entropy is log(1 + exp(-margin)): its
    derivative is the margin's times one minus the class's probability.
    """
    with torch.enable_grad():
        factors = [part_BN.clone().requires_grad_() for part_BN in factors_CN[labels].split(widths, 1)]
        logits_BC = scaled(pixels, *factors).float()
        own_B1 = labels[:, None]
        logit_B = logits_BC.gather(1, own_B1)[:, 0]
        margin_B = logit_B - logits_BC.scatter(1, own_B1, float("-inf")).logsumexp(1)
        logit = torch.autograd.grad(logit_B.sum(), factors, retain_graph=True)
        margin = torch.autograd.grad(margin_B.sum(), factors)
    return torch.cat(logit, 1), torch.cat(margin, 1), (-margin_B.detach()).sigmoid()


def outgoing_norms(network: nn.Module, layers: UnitLayers) -> Tensor:
    """L2 norm of the weights that read each unit, scaled by the batch norm behind them; skips are followed."""
    modules = dict(network.named_modules())
    norms = []
    for layer in layers:
        start = next(node for node in layers.graph.nodes if node.name == layer.node)
        reached, seen = list(start.users), set(start.users)
        square_N = torch.zeros(layer.units, dtype=torch.float64)
        while reached:
            node = reached.pop()
            module = modules.get(str(node.target))
            if isinstance(module, nn.Conv2d | nn.Linear):
                weight = module.weight.detach().double().flatten(1)
                after = modules.get(str(next(iter(node.users)).target))
                if isinstance(after, nn.BatchNorm1d | nn.BatchNorm2d) and after.running_var is not None:
                    weight = weight * (after.weight / (after.running_var + after.eps).sqrt()).detach()[:, None]
                square_N += weight.view(len(weight), layer.units, -1).square().sum((0, 2))
            else:
                reached += [user for user in node.users if user not in seen]
                seen.update(node.users)
        norms.append(square_N.sqrt())
    return torch.cat(norms)


def parameter_costs(graph: ChannelGraph) -> Tensor:
    """How many parameters the full model loses with one unit of each layer."""
    costs = []
    for layer, width in enumerate(graph.widths):
        masks = [torch.ones(graph.output.channels, one, dtype=torch.bool) for one in graph.widths]
        whole = sizes_and_overlaps(graph, masks)
        masks[layer][:, 0] = False
        lost = float(whole.sizes_C[0] - sizes_and_overlaps(graph, masks).sizes_C[0]) * whole.parameters
        costs.append(torch.full((width,), max(1.0, lost), dtype=torch.float64))
    return torch.cat(costs)
