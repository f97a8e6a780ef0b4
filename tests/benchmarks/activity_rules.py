"""Which statistics of the training data tell what units a class needs? Rules for class masks, compared at equal size.

A rule gives every class and unit a score. A class keeps the units whose score reaches a level, and the best unit of a
layer in any case. The level is set so that modules have a wanted mean size, hence all rules are compared at equal
size. Networks: a small VGG on digits; a VGG and a ResNet18 of width 16 on 10,000 Fashion-MNIST images (found under
MODA_DATA_DIR; left out, and said so, where they are not there); each by MODA and by standard training. Scores come from
training images alone and accuracies from test images.

Prints a Markdown table for each network and training, means over the seeds: reuse accuracy in % by rule and module size
("-": the rule cannot make modules that small), then the smallest size down to which reuse accuracy, and the accuracy
of the 45 two-class modules, stay within 0.5 points of the whole model restricted. All statistics stream: some sums
for each class and unit.

Usage: python tests/benchmarks/activity_rules.py [folder to keep trained weights in]
Time: about 5 minutes for digits and 10 to 15 for each Fashion-MNIST training, on one free core with bfloat16.
"""

import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from unit_statistics import Statistics, gather, mass

from moda_core import all_subsets, draw_pairs, draw_subsets, estimate_reuse
from moda_core.graph.graph import ChannelGraph
from moda_core.measuring.metrics import sizes_and_overlaps
from orchestrator.config.composing import load_config
from orchestrator.errors import ConfigError
from orchestrator.training.batch_losses import computing
from orchestrator.training.data.image_set import Data
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import Trained, prepare
from orchestrator.training.loop import choose_precision, train
from orchestrator.training.methods import make_method
from orchestrator.training.trial import make_network

FASHION = ["data=fashion_mnist", "training=fashion_mnist", "data.limit=10000", "data.test_limit=5000"]
NETWORKS: dict[str, tuple[list[str], int]] = {  # overrides and number of seeds
    "digits": ([], 3),
    "vgg": (["model=vgg_medium", *FASHION], 1),
    "resnet": (["model=resnet18", "model.width=16", *FASHION], 1),
}
SIZES = (0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55)
THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
SUBSETS_PER_SIZE, IMAGES_PER_SIZE, IMAGES_OF_PAIRS = 8, 250, 675
POINTS = 0.005
CPU = torch.device("cpu")

Curve = dict[float, tuple[float, float, float]]  # by wanted size: size, reuse accuracy, accuracy of pairs


@dataclass(frozen=True)
class Measured:
    """Each rule's curve, and what the whole model restricted reaches: reuse accuracy and accuracy of pairs."""

    curves: Mapping[str, Curve]
    whole: tuple[float, float]


def share(value_CN: Tensor, widths: tuple[int, ...]) -> Tensor:
    """Each unit's part of the sum over its layer."""
    return torch.cat([F.normalize(part_CN, p=1, dim=1) for part_CN in value_CN.split(widths, 1)], 1)


def rank(value_CN: Tensor, widths: tuple[int, ...]) -> Tensor:
    """Keeps the same part of every layer."""
    return torch.cat([part_CN.argsort(1).argsort(1) / part_CN.shape[1] for part_CN in value_CN.split(widths, 1)], 1)


def rules(s: Statistics) -> dict[str, Tensor]:
    """The score of every rule, (C, N)."""
    mean, margin, logit, inside = (s.means[name] for name in ("mean", "margin", "logit", "inside"))
    deviation = (s.means["square"] - mean.square()).clamp(min=0).sqrt()
    relative = (mean / s.overall_N).nan_to_num(0)
    special = (margin / margin.mean(0)).nan_to_num(0)
    generator = torch.Generator().manual_seed(0)
    found = {f"rate, threshold {threshold:g}": s.rates[threshold] for threshold in THRESHOLDS}
    found |= {
        "random": torch.rand(mean.shape, generator=generator, dtype=torch.float64),
        "mean / overall mean": relative,
        "(mean + std) / overall mean": relative + (deviation / s.overall_N).nan_to_num(0),
        "(mean - std) / overall mean": relative - (deviation / s.overall_N).nan_to_num(0),
        "mean / layer's mean": share(mean, s.widths) / share(torch.ones_like(mean), s.widths),
        "mean / largest class mean": (mean / mean.max(0).values).nan_to_num(0),
        "mean's share / parameters": share(mean, s.widths) / s.cost_N,
        "Taylor margin, one level": margin,
        "Taylor margin x (mean / overall mean), one level": margin * relative,
        "Taylor margin x (margin / over classes), one level": margin * special,
        "Taylor logit, one level": logit,
        "Taylor logit x (mean / overall mean), one level": logit * relative,
        "Taylor loss, one level": s.means["loss"],
        "Taylor margin in the module, one level": inside,
        "Taylor margin in the module x (mean / overall mean), one level": inside * relative,
        "Taylor margin at half, one level": s.means["half"],
        "Taylor margin, same part of each layer": rank(margin, s.widths),
        "Taylor margin, share / parameters": share(margin, s.widths) / s.cost_N,
        "Taylor margin, mass of all layers as one": mass(margin),
        "Taylor logit, mass of all layers as one": mass(logit),
        "Taylor margin x (mean / overall mean), mass of all layers as one": mass(margin * relative),
    }
    masses = {
        "mean": mean,
        "root mean square": s.means["square"].sqrt(),
        "mean square": s.means["square"],
        "mean / overall mean": relative,
        "(mean / overall mean) squared": relative.square(),
        "mean x (mean / overall mean)": mean * relative,
        "mean x (mean / overall mean) squared": mean * relative.square(),
        "mean x outgoing norm": mean * s.outgoing_N,
        "mean x outgoing norm x (mean / overall mean)": mean * relative * s.outgoing_N,
        "mean x rate .1": mean * s.rates[0.1],
        "mean where rate .1 >= .5": mean * (s.rates[0.1] >= 0.5),
        "Taylor loss": s.means["loss"],
        "Taylor logit": logit,
        "Taylor margin": margin,
        "Taylor margin, signed": s.means["signed"],
        "Taylor margin, root mean square": s.means["margin square"].sqrt(),
        "Taylor margin, mean square": s.means["margin square"],
        "Taylor margin x rate .3": margin * s.rates[0.3],
        "Taylor margin x (mean / overall mean)": margin * relative,
        "Taylor margin x (margin / over classes)": margin * special,
    }
    return found | {f"mass of {name}": mass(value_CN, *s.widths) for name, value_CN in masses.items()}


def masks_of_size(score_CN: Tensor, graph: ChannelGraph, wanted: float) -> tuple[list[Tensor], float]:
    """The largest masks whose mean module size is at most ``wanted``, else the smallest there are; and their size."""
    levels = score_CN.double().unique()
    low, high = 0, len(levels) - 1
    while True:  # the first level that is high enough, or the last one
        middle = (low + high) // 2
        masks = [
            (part_CN >= levels[middle]).scatter(1, part_CN.argmax(1, keepdim=True), True)
            for part_CN in score_CN.double().split(graph.widths, 1)
        ]
        size = sizes_and_overlaps(graph, masks).cut_size
        if low == high:
            return masks, size
        low, high = (low, middle) if size <= wanted else (middle + 1, high)


def measure(trained: Trained, data: Data) -> Measured:
    """The curves of all rules."""
    classes = data.num_classes
    reused, two = draw_subsets(classes, SUBSETS_PER_SIZE, seed=0), all_subsets(classes, [2])
    draws = [
        draw_pairs(data.test.labels, subsets, num_classes=classes, images_per_size=images)
        for subsets, images in ((reused, IMAGES_PER_SIZE), (two, IMAGES_OF_PAIRS))
    ]

    def right(masks: list[Tensor] | None) -> tuple[float, float]:
        reuse, pairs = (estimate_reuse(trained.network, trained.layers, masks, data.test, draw).mean for draw in draws)
        return reuse, pairs

    curves: dict[str, Curve] = {}
    with computing(CPU, trained.precision):
        for name, score_CN in rules(gather(trained, data.train)).items():
            curves[name] = curve = {}
            for wanted in SIZES:
                masks, size = masks_of_size(score_CN, trained.graph, wanted)
                key = wanted if size <= wanted else 0.0  # 0: its smallest modules, which are larger than wanted
                if key not in curve:
                    curve[key] = (size, *right(masks))
        return Measured(curves, right(None))


def smallest_within(points: list[tuple[float, float]], whole: float) -> float:
    """Followed down from the whole model, the size at which accuracy first falls more than 0.5 points below."""
    limit, upper = whole - POINTS, (1.0, whole)
    for size, accuracy in sorted(points, reverse=True):
        if accuracy < limit:
            return size + (upper[0] - size) * (limit - accuracy) / (upper[1] - accuracy)
        upper = (size, accuracy)
    return upper[0]


def make(name: str, method: str, seed: int, folder: Path | None) -> tuple[Trained, Data]:
    """A trained network, from the folder where it is there; and its data."""
    thresholds = f"evaluation.thresholds={list(THRESHOLDS)}"
    config = load_config([*NETWORKS[name][0], f"method={method}", f"training.seed={seed}", thresholds, "tracking=none"])
    data = load_data(config.data)
    network = make_network(config, data)
    precision = choose_precision(config.training.precision, CPU)
    path = folder / f"{name}-{method}-{seed}.pt" if folder else None
    if path and path.exists():
        network.load_state_dict(torch.load(path, weights_only=True))
        if precision == torch.bfloat16:
            network.to(memory_format=torch.channels_last)
    else:
        classes, flip = data.num_classes, config.data.flip
        for _ in train(
            network,
            data.train,
            config.training,
            make_method(config.method),
            num_classes=classes,
            flip=flip,
            precision=precision,
        ):
            pass
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(network.state_dict(), path)
    return prepare(network.eval(), data, config, precision=precision), data


def print_table(title: str, found: list[Measured]) -> None:
    """Means over the seeds."""
    whole = [statistics.mean(one.whole[index] for one in found) for index in range(2)]
    print(f"\n{title}; whole model restricted {100 * whole[0]:.2f}, pairs {100 * whole[1]:.2f}\n")
    print("| rule | " + " | ".join(f"{size:g}" for size in SIZES) + " | within 0.5 | pairs |")
    print("|---" * (len(SIZES) + 3) + "|")
    for name in found[0].curves:
        cells = []
        for size in SIZES:
            reached = [one.curves[name][size][1] for one in found if size in one.curves[name]]
            cells.append(f"{100 * statistics.mean(reached):.2f}" if len(reached) == len(found) else "-")
        for index in range(2):
            within = [
                smallest_within([(point[0], point[1 + index]) for point in one.curves[name].values()], one.whole[index])
                for one in found
            ]
            cells.append(f"{statistics.mean(within):.3f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main(folder: Path | None) -> None:
    torch.set_num_threads(1)
    for name, (_, seeds) in NETWORKS.items():
        try:
            for method in ("moda_published", "standard"):
                found = [measure(*make(name, method, seed, folder)) for seed in range(seeds)]
                print_table(f"{name}, {method}, seeds 0 to {seeds - 1}", found)
        except ConfigError as error:
            print(f"\n{name} left out: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
