"""The digits recipe over seeds: MODA with the default coefficients against standard training, on test images.

Prints a Markdown table: accuracy, module size and overlap at tau 0.9, and the mean accuracy of all 45 two-class
modules, each on all test images of its classes, against the full model restricted to the same classes. About 2 minutes
on one core.
"""

import itertools
import statistics

import torch

from moda_core import draw_pairs, estimate_reuse
from moda_core.measuring.metrics import sizes_and_overlaps
from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import accuracy, choose, prepare
from orchestrator.training.loop import train
from orchestrator.training.methods import make_method
from orchestrator.training.trial import make_network

SEEDS = 5
PAIRS = list(itertools.combinations(range(10), 2))


def main() -> None:
    torch.set_num_threads(1)
    print(f"| training | threshold | accuracy | module size | overlap | 45 pairs | restricted | ({SEEDS} seeds) |")
    print("|---|---|---|---|---|---|---|---|")
    for method in ("standard", "moda_published"):
        rows: dict[float, list[tuple[float, ...]]] = {0.0: [], 0.3: []}
        for seed in range(SEEDS):
            config = load_config([f"method={method}", f"training.seed={seed}", "tracking=none"])
            data = load_data(config.data)
            network = make_network(config, data)
            for _ in train(network, data.train, config.training, make_method(config.method), num_classes=10):
                pass
            trained = prepare(network, data, config)
            draw = draw_pairs(data.test.labels, PAIRS, num_classes=10)
            restricted = estimate_reuse(network, trained.layers, None, data.test, draw).mean
            for threshold, found in rows.items():
                masks = choose(trained, Choice.activity(0.9, threshold), config.evaluation).units.keep
                sizes = sizes_and_overlaps(trained.graph, masks)
                pairs = estimate_reuse(network, trained.layers, masks, data.test, draw).mean
                right = accuracy(network, data.test)
                found.append((right, sizes.cut_size, sizes.cut_overlap, pairs, restricted))
        for threshold, found in rows.items():
            cells = [
                f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}" for values in zip(*found, strict=True)
            ]
            print(f"| {method} | {threshold:g} | " + " | ".join(cells) + " | |")


if __name__ == "__main__":
    main()
