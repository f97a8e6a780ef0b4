"""Fashion-MNIST over seeds: MODA with the default coefficients against standard training, small VGG and small ResNet.

The two trainings of a seed take turns, an epoch each, so that the ratio of their times is fair. Prints a Markdown
table: accuracy on test, the seeded estimate of reuse accuracy on test, module size and overlap at tau 0.9 for
thresholds 0 and 0.1, and for the contribution rule at level 0.1; then the time of a whole MODA training over the
standard one's.

Needs MODA_DATA_DIR. About 10 minutes for the VGG and 15 for the ResNet, on one core with bfloat16.

Usage: python tests/benchmarks/fashion_recipe.py [vgg | resnet]
"""

import statistics
import sys

import torch

from moda_core import draw_pairs, draw_subsets, estimate_reuse, largest_difference, mask_network, merge_masks
from moda_core.cutting import compose
from moda_core.measuring.metrics import sizes_and_overlaps
from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import accuracy, choose, prepare
from orchestrator.training.loop import choose_precision, train
from orchestrator.training.methods import make_method
from orchestrator.training.trial import make_network

SEEDS = 3
NETWORKS = {"vgg": ["model=vgg_medium"], "resnet": ["model=resnet18", "model.width=16"]}
DATA = ["data=fashion_mnist", "training=fashion_mnist", "data.limit=10000", "data.test_limit=5000", "tracking=none"]
CHOICES = (Choice.activity(0.9, 0.0), Choice.activity(0.9, 0.1), Choice.contribution(0.1))


def main() -> None:
    torch.set_num_threads(1)
    print(f"| network | training | rule | accuracy | reuse accuracy | module size | overlap | ({SEEDS} seeds)")
    print("|---|---|---|---|---|---|---|---|")
    ratios = {}
    for name in sys.argv[1:] or NETWORKS:
        rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
        ratios[name] = []
        for seed in range(SEEDS):
            seconds = {}
            for method, network, data, config, spent in both_trainings(name, seed):
                seconds[method] = spent
                for rule, found in measured(network, data, config).items():
                    rows.setdefault((method, rule), []).append(found)
            ratios[name].append(seconds["moda_published"] / seconds["standard"])
        for (method, rule), found in rows.items():
            cells = [
                f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}" for values in zip(*found, strict=True)
            ]
            print(f"| {name} | {method} | {rule} | " + " | ".join(cells) + " |", flush=True)
    for name, found in ratios.items():
        print(f"{name}: time of a MODA training / of a standard one, by seed: {', '.join(f'{r:.3f}' for r in found)}")


def both_trainings(name, seed):
    """Train with either method, an epoch in turn; gives method, network, data, config and seconds."""
    started = {}
    for method in ("standard", "moda_published"):
        config = load_config([*NETWORKS[name], *DATA, f"method={method}", f"training.seed={seed}"])
        data = load_data(config.data)
        network = make_network(config, data)
        precision = choose_precision(config.training.precision, torch.device("cpu"))
        epochs = train(
            network, data.train, config.training, make_method(config.method), num_classes=10, precision=precision,
            crop=config.data.crop, flip=config.data.flip,
        )  # fmt: skip
        started[method] = (network, data, config, epochs, [])
    for _ in range(config.training.epochs):
        for *_, epochs, seconds in started.values():
            seconds.append(next(epochs).row["seconds"])
    for method, (network, data, config, epochs, seconds) in started.items():
        assert next(epochs, None) is None
        yield method, network, data, config, sum(seconds)


def measured(network, data, config):
    """By rule: accuracy, reuse accuracy, module size, overlap; all in float32, and cut checked against masked."""
    trained = prepare(network, data, config)
    draw = draw_pairs(data.test.labels, draw_subsets(10, 8, seed=0), num_classes=10, images_per_size=500, seed=0)
    right = accuracy(network, data.test)
    images = data.test[torch.arange(64)]
    found = {}
    for choice in CHOICES:
        masks = choose(trained, choice, config.evaluation).units.keep
        for classes in ([0, 1], list(range(10))):
            masked = mask_network(network, trained.layers, merge_masks(masks, classes), classes)
            cut = compose(network, trained.layers, masks, classes, images)
            assert largest_difference(masked, cut, images) < 1e-4
        sizes = sizes_and_overlaps(trained.graph, masks)
        reuse = estimate_reuse(network, trained.layers, masks, data.test, draw)
        found[str(choice)] = (right, reuse.mean, sizes.cut_size, sizes.cut_overlap)
    whole = estimate_reuse(network, trained.layers, None, data.test, draw)
    found["whole, restricted"] = (right, whole.mean, 1.0, 1.0)
    return found


if __name__ == "__main__":
    main()
