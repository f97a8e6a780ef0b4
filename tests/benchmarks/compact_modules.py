"""How small modules are at equal reuse accuracy: other rankings of units, other weights of layers in the compactness.

Each command trains one network on 6,000 Fashion-MNIST images (6 epochs, batch 64, float32) and measures its modules at
target sizes, by 49 subsets and 1,000 images for each subset size, the same for all, drawn from 4,000 test images. What
is there is not done again. Units are ranked by contribution and by worth (moda_core/rules/worth.py). `table` prints the
smallest size from which on the reuse accuracy is at least what is wanted (interpolated on a logarithmic scale).

Needs MODA_DATA_DIR. Some minutes of processor time for a VGG, more for a ResNet; most of it is measuring.

Usage: python tests/benchmarks/compact_modules.py train NETWORK RECIPE COMPACTNESS SEED
       (vgg | resnet18) (published | good) (uniform | size | sqrt_size) 0
       python tests/benchmarks/compact_modules.py table
"""

import math
import statistics
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import torch
from torch import Tensor
from trained_network import trained_network

from moda_core import Contributions, contribution_masks, draw_pairs, draw_subsets, estimate_reuse
from moda_core.graph.graph import ChannelGraph
from moda_core.measuring.metrics import sizes_and_overlaps
from moda_core.rules.built_in import CONTRIBUTION
from moda_core.rules.target_sizes import levels_of_targets
from moda_core.rules.worth import by_worth, levels_and_costs
from orchestrator.config.composing import load_config
from orchestrator.training.batch_losses import computing
from orchestrator.training.data.image_set import Data
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import Trained, accuracy, prepare
from orchestrator.training.loop import choose_device, choose_precision

ROWS = Path(__file__).parent / "data" / "compact_modules"
NETWORKS = {"vgg": [], "resnet18": ["model=resnet18", "~model.widths", "~model.hidden", "model.width=16"]}
RECIPES = {
    "published": ["method.alpha=1", "method.beta=1", "method.gamma=0.3", "training.weight_decay=0"],
    "good": ["method.alpha=1", "method.beta=0.3", "method.gamma=3", "training.weight_decay=0.01"],
}
TARGETS = (0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2)
ACCURACIES = {"vgg": (0.83, 0.86, 0.89), "resnet18": (0.84, 0.86, 0.88)}


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    if words == ["table"]:
        print_table()
        return
    network, recipe, compactness, seed = words[1:]
    file = ROWS / f"{network}-{recipe}-{compactness}-{seed}.arrow"
    if file.exists():
        print(f"{file.name} is there")
        return
    rows = rows_of(network, recipe, compactness, int(seed))
    ROWS.mkdir(exist_ok=True)
    pyarrow.feather.write_feather(pa.Table.from_pylist(rows), str(file), compression="zstd")
    print(f"{file.name}: whole {rows[0]['whole']:.4f}")


def rows_of(network: str, recipe: str, compactness: str, seed: int) -> list[dict[str, object]]:
    """Train one network; a row for each ranking and target."""
    return list(measure(network, recipe, compactness, seed))


def measure(network: str, recipe: str, compactness: str, seed: int) -> Iterator[dict[str, object]]:
    trained, data = train_one(network, recipe, compactness, seed)
    contributions = CONTRIBUTION.unpack(trained.rules["size"].counts)
    draw = draw_pairs(data.test.labels, draw_subsets(10, 6, seed=0), num_classes=10, images_per_size=1000, seed=0)
    about = {"network": network, "recipe": recipe, "compactness": compactness, "seed": seed}
    with computing(data.test.labels.device, trained.precision):
        right = accuracy(trained.network, data.test)
        whole = estimate_reuse(trained.network, trained.layers, None, data.test, draw).mean
        for ranking, masks_of in (("contribution", masks_of_size), ("worth", worth_masks_of_size)):
            for target in TARGETS:
                masks = masks_of(trained.graph, contributions, target)
                size = sizes_and_overlaps(trained.graph, masks).cut_size
                reuse = estimate_reuse(trained.network, trained.layers, masks, data.test, draw).mean
                found = {"ranking": ranking, "target": target, "size": size, "reuse": reuse}
                yield {**about, "accuracy": right, "whole": whole, **found}


def train_one(name: str, recipe: str, compactness: str, seed: int) -> tuple[Trained, Data]:
    config = load_config(
        [
            "experiment=fashion_mnist_pool",
            *NETWORKS[name],
            *RECIPES[recipe],
            f"method.compactness={compactness}",
            "method.gamma_warmup=0",
            "training.learning_rate=0.05",
            f"training.seed={seed}",
            "training.precision=float32",
            f"training.gpus_per_worker={int(torch.cuda.is_available())}",
            "data.test_limit=4000",
            "evaluation.levels=[]",
            "evaluation.targets=[0.1]",
        ]
    )
    data = load_data(config.data).to(choose_device(config.training))
    network, _ = trained_network(config, data)
    precision = choose_precision(config.training.precision, data.train.labels.device)
    return prepare(network, data, config, precision=precision), data


def masks_of_size(graph: ChannelGraph, contributions: Contributions, target: float) -> list[Tensor]:
    """Keep the units of the largest contributions, as many as make modules of the target size."""
    level = levels_of_targets(graph, contributions, torch.tensor([target], dtype=torch.float64))
    return contribution_masks(contributions, float(level))


def worth_masks_of_size(graph: ChannelGraph, contributions: Contributions, target: float) -> list[Tensor]:
    """Keep the units of the largest worth, likewise."""
    levels, costs = levels_and_costs(graph, contributions, torch.tensor([target], dtype=torch.float64))
    return contribution_masks(by_worth(contributions, costs[0]), float(levels))


def print_table() -> None:
    """One row for each network, training and ranking: means over seeds."""
    tables = [pyarrow.feather.read_table(str(file)) for file in sorted(ROWS.glob("*.arrow"))]
    cases: dict[tuple[str, ...], dict[int, list[dict[str, float]]]] = {}
    for row in pa.concat_tables(tables).to_pylist():
        case = tuple(row[name] for name in ("network", "recipe", "compactness", "ranking"))
        cases.setdefault(case, {}).setdefault(row["seed"], []).append(row)
    print("| network | recipe | compactness | ranking | seeds | whole | smallest size that has reuse accuracy |")
    print("|---|---|---|---|---|---|---|")
    for case, seeds in sorted(cases.items()):
        whole = statistics.mean(rows[0]["whole"] for rows in seeds.values())
        cells = []
        for wanted in ACCURACIES[case[0]]:
            found = [{(row["size"], row["reuse"]) for row in rows} for rows in seeds.values()]
            sizes = [smallest_size(points, wanted) for points in found]
            reached = [size for size in sizes if size is not None]
            mean = math.exp(statistics.mean(map(math.log, reached))) if reached else math.nan
            spread = f" (x{math.exp(statistics.stdev(map(math.log, reached))):.2f})" if len(reached) > 1 else ""
            cells.append(f"{wanted}: {mean:.4f}{spread}" + f" {len(reached)} of {len(sizes)}" * (reached != sizes))
        print(f"| {' | '.join(case)} | {len(seeds)} | {whole:.4f} | {', '.join(cells)} |")


def smallest_size(points: Iterable[tuple[float, float]], wanted: float) -> float | None:
    """The smallest size from which on the reuse accuracy of (size, accuracy) points is at least what is wanted, between
    two points on a logarithmic axis; None where it never is."""
    points = sorted(points, reverse=True)
    if points[0][1] < wanted:
        return None
    larger = points[0]
    for size, reuse in points:
        if reuse < wanted:
            part = (larger[1] - wanted) / (larger[1] - reuse)
            return math.exp(math.log(larger[0]) + part * (math.log(size) - math.log(larger[0])))
        larger = (size, reuse)
    return larger[0]


if __name__ == "__main__":
    main(sys.argv[1:])
