"""A trained network's whole surface: every (tau, threshold) of the free grid as one point."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from torch import nn

from moda_core import (
    Frequencies,
    UnitLayers,
    count_frequencies,
    draw_pairs,
    draw_subsets,
    estimate_reuse,
    floored,
    keep_masks,
    unit_layers,
)
from moda_core.graph import ChannelGraph
from moda_core.metrics import sizes_and_overlaps
from moda_core.modes import evaluating
from moda_core.reading import channel_graph
from orchestrator.config import Config
from orchestrator.data import Data, ImageSet
from orchestrator.sections import EvaluationConfig
from orchestrator.training import Workers, computing

Choice = tuple[float, float]  # tau, threshold


@dataclass(frozen=True)
class Trained:
    """A trained network and what decomposing it needs.

    Attributes:
        network: on its device, float32.
        layers: its unit layers.
        graph: its channel graph.
        frequencies: counted over the training images.
        precision: of the forward passes that count and measure; means, counts and sums are wider in any case.
    """

    network: nn.Module
    layers: UnitLayers
    graph: ChannelGraph
    frequencies: Frequencies
    precision: torch.dtype


def prepare(
    network: nn.Module,
    data: Data,
    config: Config,
    frequencies: Frequencies | None = None,
    *,
    precision: torch.dtype = torch.float32,
    workers: Workers | None = None,
) -> Trained:
    """Trace the network, and count over the training images unless that was done before. Leaves it in eval mode.

    Of several workers each counts a share of the batches, and all have the counts of all.
    """
    workers = workers or Workers()
    network.eval()
    example = data.train[torch.zeros(1, dtype=torch.long, device=data.train.labels.device)]
    layers = unit_layers(network, example)
    graph, _ = channel_graph(network, layers, example)
    if frequencies is None:
        with computing(example.device, precision):
            frequencies = count_frequencies(
                network,
                layers,
                data.train.batches(rank=workers.rank, world=workers.world),
                num_classes=data.num_classes,
                thresholds=config.evaluation.thresholds,
                group=workers.group,
            )
    return Trained(network, layers, graph, frequencies, precision)


def accuracy(network: nn.Module, images: ImageSet) -> float:
    """Share of images whose largest logit is their class's."""
    correct = 0
    with evaluating(network):
        for batch, labels in images.batches():
            correct += int((network(batch).argmax(1) == labels).sum())
    return correct / len(images)


def grid(config: EvaluationConfig) -> list[Choice]:
    """Every (tau, threshold)."""
    return list(itertools.product(config.taus, config.thresholds))


def measure(
    trained: Trained, images: ImageSet, config: EvaluationConfig, *, split: str, choices: Sequence[Choice]
) -> list[dict[str, Any]]:
    """One row of the points table for each choice.

    Reuse accuracy is the seeded estimate: some subsets of each size, some images; more of both on test.
    """
    with computing(images.labels.device, trained.precision):
        return _measure(trained, images, config, split, choices)


def _measure(
    trained: Trained, images: ImageSet, config: EvaluationConfig, split: str, choices: Sequence[Choice]
) -> list[dict[str, Any]]:
    classes = trained.graph.output.channels
    on_test = split == "test"
    per_size = config.test_subsets_per_size if on_test else config.subsets_per_size
    draw = draw_pairs(
        images.labels,
        draw_subsets(classes, per_size, seed=config.seed),
        num_classes=classes,
        images_per_size=config.test_images_per_size if on_test else config.images_per_size,
        seed=config.seed,
    )
    network, layers = trained.network, trained.layers
    whole = {
        "split": split,
        "accuracy": accuracy(network, images),
        "reuse_baseline": estimate_reuse(network, layers, None, images, draw).mean,
        "reuse_subsets": len(draw.subsets_SC),
        "reuse_images": draw.images,
    }
    rows = []
    for tau, threshold in choices:
        masks = keep_masks(trained.frequencies, tau, threshold=threshold, floor=config.floor)
        acted = floored(trained.frequencies, tau, threshold=threshold, floor=config.floor)
        sizes = sizes_and_overlaps(trained.graph, masks)
        reuse = estimate_reuse(network, layers, masks, images, draw)
        rows.append(
            {
                "tau": tau,
                "threshold": threshold,
                **whole,
                "reuse_accuracy": reuse.mean,
                "reuse_accuracy_error": reuse.standard_error,
                "module_size": sizes.module_size,
                "module_overlap": sizes.module_overlap,
                "overlap_jaccard": sizes.overlap_jaccard,
                "kernel_retention": sizes.kernel_retention,
                "flops": sizes.flops,
                "coupling": sizes.coupling,
                "floored": sum(int(layer.sum()) for layer in acted),
            }
        )
    return rows


def dump_frequencies(frequencies: Frequencies) -> bytes:
    """Counts as safetensors bytes."""
    tensors = {"counts": frequencies.counts_TCN, "sizes": frequencies.class_sizes_C, "means": frequencies.means_N}
    shape = {"thresholds": frequencies.thresholds, "widths": frequencies.widths}
    return safetensors.torch.save(
        {name: one.contiguous() for name, one in tensors.items()}, {"shape": json.dumps(shape)}
    )


def read_frequencies(data: bytes) -> Frequencies:
    """What :func:`dump_frequencies` gave."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    shape = json.loads(header["__metadata__"]["shape"])
    tensors = safetensors.torch.load(data)
    return Frequencies(
        tuple(shape["thresholds"]), tensors["counts"], tensors["sizes"], tensors["means"], tuple(shape["widths"])
    )
