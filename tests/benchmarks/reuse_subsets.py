"""Reuse accuracy over class subsets: each subset by its own cut network, all subsets mixed in masked batches, and the
plain loop of masked passes, one masked network a subset.

Prints for each the seconds and the ratio to the plain loop, and that all three say the same: for all 1,013 subsets of
10 classes on few images, where building a network and its first pass are dearest, and for a draw of 65 subsets on many.
The network is the small VGG after a short MODA training on Fashion-MNIST (MODA_DATA_DIR; digits where it is not set).
About 6 minutes on 2 cores.

Usage: python tests/benchmarks/reuse_subsets.py
"""

import os
import time
from functools import partial

import torch

from moda_core import (
    all_subsets,
    draw_pairs,
    draw_subsets,
    estimate_reuse,
    mask_network,
    merge_masks,
    reuse_by_composing,
)
from moda_core.cutting.extract import cut_graph
from moda_core.graph.reading import channel_graph
from moda_core.measuring.metrics import sizes_and_overlaps
from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import choose, prepare
from orchestrator.training.loop import train
from orchestrator.training.methods import make_method
from orchestrator.training.trial import make_network

FASHION = [
    "data=fashion_mnist",
    "training=fashion_mnist",
    "model=vgg_medium",
    "data.limit=6000",
    "data.test_limit=5000",
]

FEW = 200  # images


def main() -> None:
    torch.set_num_threads(2)
    on_fashion = "MODA_DATA_DIR" in os.environ
    config = load_config(
        [*(FASHION if on_fashion else []), "method=moda_published", "training.epochs=4", "tracking=none"]
    )
    data = load_data(config.data)
    network = make_network(config, data)
    for _ in train(network, data.train, config.training, make_method(config.method), num_classes=10):
        pass
    trained = prepare(network, data, config)
    masks = choose(trained, Choice.contribution(0.1), config.evaluation).units.keep
    graph, state = channel_graph(network, trained.layers, data.test[torch.zeros(1, dtype=torch.long)])
    print(f"module size {sizes_and_overlaps(graph, masks).cut_size:.3f}")

    def mask(classes):
        return mask_network(network, trained.layers, merge_masks(masks, classes), classes).eval()

    def cut(classes):
        return cut_graph(graph, state, merge_masks(masks, classes), classes)

    few = data.test.labels[:FEW]
    for draw in (
        draw_pairs(few, all_subsets(10), num_classes=10),
        draw_pairs(data.test.labels, draw_subsets(10, 8, seed=0), num_classes=10),
    ):
        print(f"\n{len(draw.subsets_SC):,} subsets, {draw.images:,} images, {len(draw.pair_image_P):,} pairs of both\n")
        print("| way | seconds | to the plain loop | reuse accuracy |")
        print("|---|---|---|---|")
        ways = {
            "plain loop of masked networks": partial(reuse_by_composing, mask),
            "masked, subsets mixed in batches": partial(estimate_reuse, network, trained.layers, masks),
            "cut networks": partial(reuse_by_composing, cut),
        }
        plain = None
        for name, run in ways.items():
            started = time.perf_counter()
            found = run(data.test, draw)
            seconds = time.perf_counter() - started
            plain = plain or seconds
            print(f"| {name} | {seconds:.1f} | {seconds / plain:.2f} | {found.mean:.5f} |", flush=True)


if __name__ == "__main__":
    main()
