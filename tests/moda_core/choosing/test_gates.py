"""Networks with gates: what is counted of them, and modules that have scales in place of gates, up to their slices."""

import copy
import operator

import pytest
import torch
from torch import nn
from torch.fx.node import map_arg

from moda_core import (
    ACTIVITY,
    CONTRIBUTION,
    Decomposition,
    Scales,
    build_model,
    compose,
    count_contributions,
    count_frequencies,
    draw_pairs,
    estimate_reuse,
    largest_difference,
    load_modules,
    mask_network,
    module_metrics,
    reuse_by_composing,
    save_modules,
    slice_modules,
    unit_layers,
)
from moda_core.choosing import FoldedGates, open_means, watch_gates
from moda_core.methods import Mwt
from moda_core.rules import GATE, dead_sites
from tests.moda_core.conftest import CLASSES, randomise

LABELS = torch.arange(40) % 5
SUBSETS = [[2], [3, 0], [1, 2, 4], [0, 1, 2, 3, 4]]
SHAPES = {
    "lenet5": {"name": "lenet5", "image_size": 12, "in_channels": 1},
    "mobilenet_v1": {"name": "mobilenet_v1", "image_size": 16, "in_channels": 3, "width": 3},
    "resnet18": {"name": "resnet18", "image_size": 8, "in_channels": 3, "width": 4},
    "vgg": {"name": "vgg", "image_size": 8, "in_channels": 3, "widths": [6, "M", 8, 8, "M"], "hidden": [10]},
    "vit": {"name": "vit_small", "image_size": 6, "in_channels": 3, "width": 8, "depth": 2, "heads": 2, "patch": 3},
}


@pytest.fixture(scope="module", params=sorted(SHAPES))
def trained(request):
    """A network with random gates, images of five classes, and both in batches."""
    shape = SHAPES[request.param]
    network = randomise(build_model(num_classes=5, **shape), seed=1)
    side = (shape["in_channels"], shape["image_size"], shape["image_size"])
    noise = torch.randn(45, *side, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    images = noise[5:] + 2 * noise[LABELS]  # each class around an image of its own
    torch.manual_seed(3)
    parts = Mwt().prepare(network, images[:2]).parts
    for generator in parts:
        nn.init.normal_(generator.second.bias, mean=0.2)  # so that some gates are closed
    gated = Mwt().gates(network, parts, images[:2])
    return gated, images, [(images[:17], LABELS[:17]), (images[17:], LABELS[17:])]


def count(rule, gated, sites, batches, grid=None):
    return rule.count(*gated.counted(sites), batches, num_classes=5, grid=grid or {})


def chosen_by(name, gated, batches, images):
    """What a rule chooses on a network with gates, and all the sites of that."""
    of_gates = count(GATE, gated, gated.sites, batches)
    if name == "gate":
        own, chosen = gated.sites, GATE.choose(of_gates, {"gate_share": 0.6})
    else:
        own = unit_layers(gated.network, images)
        threshold = 0.0 if all(layer.activation.exact_zeros for layer in own) else 0.8
        rule, grid, values = {
            "activity": (ACTIVITY, {"threshold": [threshold]}, {"tau": 0.7, "threshold": threshold}),
            "contribution": (CONTRIBUTION, {}, {}),
        }[name]
        counts = count(rule, gated, own, batches, grid)
        values = values or {"level": float(counts["means"][counts["means"] > 0].median())}
        chosen = rule.choose(counts, values)
    folded = FoldedGates.join(own, gated.sites, of_gates)
    return folded.sites, folded.extend(chosen), chosen


def test_gates_are_counted_and_averaged_by_class(trained):
    gated, images, batches = trained
    _, masks = gated.watched_model()(images)
    masks_BN = torch.cat(masks, 1)
    assert 0.02 < float((masks_BN == 0).double().mean()) < 0.98
    counts = count(GATE, gated, gated.sites, batches)
    assert counts["widths"].tolist() == gated.sites.widths
    assert counts["gate_sizes"].tolist() == [8] * 5
    means_CN = open_means(counts)
    overall_N = masks_BN.sum(0) / (masks_BN > 0).sum(0).clamp(min=1)
    for class_id in range(5):
        own_BN = masks_BN[class_id == LABELS]
        opens_N = (own_BN > 0).sum(0)
        assert torch.equal(counts["gate_opens"][class_id].long(), opens_N)
        torch.testing.assert_close(counts["gate_sums"][class_id], own_BN.sum(0))
        expected_N = torch.where(opens_N > 0, own_BN.sum(0) / opens_N.clamp(min=1), overall_N)
        torch.testing.assert_close(means_CN[class_id], expected_N)


def test_a_gate_that_is_rarely_open_has_the_mean_over_all_classes():
    counts = {
        "gate_opens": torch.tensor([[4, 5, 0], [100, 0, 0]]),
        "gate_sums": torch.tensor([[0.4, 1.0, 0.0], [90.0, 0.0, 0.0]], dtype=torch.float64),
        "gate_sizes": torch.tensor([100, 200]),
    }
    expected = torch.tensor([[90.4 / 104, 0.2, 0.0], [0.9, 0.2, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(open_means(counts), expected)


def test_units_are_counted_with_their_gates_in_place(trained):
    gated, images, batches = trained
    layers = unit_layers(gated.network, images)
    model, with_gates = gated.counted(layers)
    plain = count_frequencies(gated.network, layers, batches, num_classes=5, thresholds=[0.5])
    found = count_frequencies(model, with_gates, batches, num_classes=5, thresholds=[0.5])
    assert found.widths == plain.widths
    assert not torch.equal(found.counts_TCN, plain.counts_TCN)
    contributions = count_contributions(model, with_gates, batches, num_classes=5)
    # Gates that change with the unit are left out: to a module they are constants.
    _, masks = gated.watched_model()(images)
    fixed = {site.node: (mask_BN, site.dimension) for site, mask_BN in zip(gated.sites, masks, strict=True)}
    step, slopes = 1e-6, []
    for factor in (1 + step, 1 - step):
        of_layer = torch.ones(layers[0].units, dtype=torch.float64)
        of_layer[1] = factor
        first = {layers[0].node: (of_layer, layers[0].dimension)}
        logits = run_graph(gated.network, layers.graph, images, {**fixed, **first})
        slopes.append(logits[torch.arange(40), LABELS] / (2 * step))
    slope_B = (slopes[0] - slopes[1]).abs()
    for class_id in range(5):
        expected = slope_B[class_id == LABELS].mean()
        torch.testing.assert_close(contributions.means_CN[class_id, 1], expected, rtol=1e-4, atol=1e-8)


def run_graph(network, graph, images, factors):
    """The logits of a traced network, node by node, some nodes times a factor for each (image and) channel, which lies
    in a dimension."""
    modules, values = dict(network.named_modules()), {}

    def value(node):
        return values[node].clone() if torch.is_tensor(values[node]) else values[node]  # for calls that work in place

    with torch.no_grad():
        for node in graph.nodes:
            args, kwargs = map_arg((node.args, node.kwargs), value)
            match node.op:
                case "output":
                    return args[0]
                case "placeholder":
                    values[node] = images
                case "get_attr":
                    values[node] = operator.attrgetter(node.target)(network)
                case "call_module":
                    values[node] = modules[node.target](*args, **kwargs)
                case "call_method":
                    values[node] = getattr(args[0], node.target)(*args[1:], **kwargs)
                case _:
                    values[node] = node.target(*args, **kwargs)
            if node.name in factors:
                factor, dimension = factors[node.name]
                shape = [1] * values[node].ndim
                shape[0], shape[dimension] = -1, values[node].shape[dimension]
                values[node] = values[node] * factor.view(shape)
    raise AssertionError("no output")


@pytest.mark.parametrize("rule", ["activity", "contribution", "gate"])
def test_the_cut_network_gives_what_scales_in_place_of_gates_mean(trained, rule):
    gated, images, batches = trained
    sites, units, chosen = chosen_by(rule, gated, batches, images)
    kept = torch.cat(list(chosen.keep), 1)
    assert 0.1 < float(kept.double().mean()) < 0.9
    means = open_means(count(GATE, gated, gated.sites, batches)).split(gated.sites.widths, dim=1)
    own = gated.sites if rule == "gate" else unit_layers(gated.network, images)
    for class_ids in SUBSETS:
        factors = {
            site.node: mask_CN[class_ids].any(0).double() for site, mask_CN in zip(own, chosen.keep, strict=True)
        }
        for site, mean_CN in zip(gated.sites, means, strict=True):  # classes are of one size
            factors[site.node] = factors.get(site.node, 1.0) * mean_CN[class_ids].mean(0)
        by_node = {site.node: (factors[site.node], site.dimension) for site in sites}
        expected = run_graph(gated.network, own.graph, images, by_node)[:, class_ids]
        masked = mask_network(gated.network, sites, units, class_ids)
        torch.testing.assert_close(masked(images), expected, rtol=1e-9, atol=1e-9)
        assert largest_difference(masked, compose(gated.network, sites, units, class_ids, images), images) < 1e-9


def test_sizes_and_reuse_are_those_of_what_is_cut(trained):
    gated, images, batches = trained
    network = gated.network
    sites, units, _ = chosen_by("activity", gated, batches, images)
    metrics = module_metrics(network, sites, units, images)
    assert metrics.parameters == sum(parameter.numel() for parameter in network.parameters())  # no generator's
    for class_id in range(5):
        cut = compose(network, sites, units, [class_id], images)
        held = sum(parameter.numel() for parameter in cut.parameters() if parameter.requires_grad)
        assert float(metrics.sizes_C[class_id]) * metrics.parameters == pytest.approx(held)
    draw = draw_pairs(LABELS, SUBSETS, num_classes=5)
    composed = reuse_by_composing(lambda ids: compose(network, sites, units, ids, images), images, draw)
    assert estimate_reuse(network, sites, units, images, draw) == composed


def test_a_slice_of_a_set_is_the_module_of_its_classes(trained, tmp_path):
    gated, images, batches = trained
    sites, units, _ = chosen_by("gate", gated, batches, images)
    single, few = copy.deepcopy(gated.network).float(), images[:6].float()
    recipe = {"shape": list(images.shape[1:]), "mean": [0.5] * images.shape[1], "std": [0.25] * images.shape[1]}
    save_modules(tmp_path / "set", single, sites, units, few, class_names=CLASSES, preprocessing=recipe)
    slice_modules(tmp_path / "set", tmp_path / "part", ["eel", "bee", "cat"])
    masked = mask_network(single, sites, units, [4, 2])
    for folder in ("set", "part"):
        assert largest_difference(masked, load_modules(tmp_path / folder, ["eel", "cat"]), few) < 1e-4


def test_layers_that_no_image_passes_are_named(trained):
    gated, _, batches = copy.deepcopy(trained[0]), *trained[1:]
    dead = gated.sites[0]
    with torch.no_grad():
        gated.gates[0].second.weight.zero_()
        gated.gates[0].second.bias.fill_(-1)
    counts = count(GATE, gated, gated.sites, batches)
    assert dead_sites(counts, gated.sites) == [dead.name]
    assert GATE.choose(counts, {"gate_share": 0.9}).keep[0].sum(1).tolist() == [1] * 5


def test_what_has_no_gates_or_trains_is_refused(trained):
    gated, _, batches = trained
    with pytest.raises(ValueError, match="has no gates; train it by a method with mask generators"):
        watch_gates(gated.network, gated.sites.graph)
    model, sites = gated.counted(gated.sites)
    with pytest.raises(ValueError, match="is in training mode"):
        GATE.count(model.train(), sites, batches, num_classes=5, grid={})
    gated.network.eval()


def test_a_rule_with_scales_of_its_own_is_refused(trained):
    gated, _, batches = trained
    folded = FoldedGates.join(gated.sites, gated.sites, count(GATE, gated, gated.sites, batches))
    widths = gated.sites.widths
    scales = Scales(tuple(torch.ones(5, width) for width in widths), torch.ones(5))
    with pytest.raises(ValueError, match="a rule that scales units cannot choose in a network with gates"):
        folded.extend(Decomposition([torch.ones(5, width, dtype=torch.bool) for width in widths], scales))
