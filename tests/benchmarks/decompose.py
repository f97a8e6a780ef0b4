"""Counting units and deciding masks on 10,000 Fashion-MNIST images: streamed counts against keeping every sample.

Ours is count_frequencies at the default 6 thresholds and keep_masks at 20 taus each. The alternative is the published
way, generously: class by class, the unit values of all its samples kept as they come; then rates and masks of each
class at every threshold and tau from the kept values, with no second pass over the images (ours makes one). Networks
are untrained, from a seed: their weights change neither times nor sizes. Both ways must give the same masks.

Prints for each network the median time of 3 interleaved rounds, the peak memory over that of the loaded network and
images (which holds the activations of one batch of 512, the same for both), the bytes that are kept between images and
masks, and the ratios ours / per class; then the size of the kept statistics of VGG16 with 100 classes. Every run is a
fresh process (fresh_process.py says how its memory is measured).

Usage: MODA_DATA_DIR=<folder with FashionMNIST/raw> python tests/benchmarks/decompose.py [vgg_medium resnet18_16]
Time: about 5 minutes on two cores
"""

import hashlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import safetensors.torch
import torch
from fresh_process import MEBIBYTE, PeakMemory, run_fresh
from torch import Tensor, nn

from moda_core import Frequencies, UnitLayers, build_model, count_frequencies, keep_masks, unit_layers, watch_units
from moda_core.choosing.frequency import DEFAULT_THRESHOLDS
from moda_core.choosing.masks import DEFAULT_FLOOR
from moda_core.rules.built_in import ACTIVITY
from orchestrator.config.composing import load_config
from orchestrator.errors import ConfigError
from orchestrator.training.count_files import dump_counts
from orchestrator.training.data.image_set import EVALUATION_BATCH, ImageSet
from orchestrator.training.data.loading import load_data

IMAGES, CLASSES, ROUNDS = 10_000, 10, 3
TAUS = [step / 20 for step in range(1, 20)] + [0.99]
WAYS = ("ours", "per class")
LARGEST_STATISTICS = 100e6  # bytes, for VGG16 with 100 classes
MODELS = {
    "vgg_medium": {"name": "vgg", "widths": [32, 32, "M", 64, 64, "M", 128, 128, "M"], "hidden": [256]},
    "resnet18_16": {"name": "resnet18", "width": 16},
}
Masks = dict[tuple[float, float], list[Tensor]]  # (threshold, tau) -> L boolean tensors of (C, N_l)


def streamed(network: nn.Module, layers: UnitLayers, images: ImageSet) -> tuple[Masks, int]:
    """Ours, and the bytes kept."""
    counted = count_frequencies(network, layers, images.batches(), num_classes=CLASSES)
    masks = {
        (threshold, tau): keep_masks(counted, tau, threshold=threshold)
        for threshold in counted.thresholds
        for tau in TAUS
    }
    return masks, counted.counts_TCN.nbytes + counted.class_sizes_C.nbytes + counted.means_N.nbytes


def per_class(network: nn.Module, layers: UnitLayers, images: ImageSet) -> tuple[Masks, int]:
    """The published way: every sample's unit values, by class; and the bytes kept."""
    watched = watch_units(network, layers)
    kept: list[list[Tensor]] = []
    with torch.no_grad():
        for class_id in range(CLASSES):
            own = (images.labels == class_id).nonzero().flatten()
            batches = [watched(images[index])[1] for index in own.split(EVALUATION_BATCH)]
            kept.append([torch.cat(units) for units in zip(*batches, strict=True)])
    means = [
        sum(units[layer].sum(0, dtype=torch.float64) for units in kept) / len(images) for layer in range(len(layers))
    ]
    masks = {}
    for threshold in DEFAULT_THRESHOLDS:
        rates = [
            torch.stack([(units[layer] > (threshold * mean_N).float()).double().mean(0) for units in kept]).cpu()
            for layer, mean_N in enumerate(means)
        ]
        for tau in TAUS:
            masks[threshold, tau] = [masks_of_classes(rate_CN, tau) for rate_CN in rates]
    return masks, sum(value.nbytes for units in kept for value in units)


def masks_of_classes(rate_CN: Tensor, tau: float) -> Tensor:
    """One mask a class; where it is too small, as many of the most frequent units as the largest mask has."""
    found = [rate_N >= tau for rate_N in rate_CN]
    smallest = max(1, int(DEFAULT_FLOOR * rate_CN.shape[1]))
    largest = max(smallest, *(int(mask_N.sum()) for mask_N in found))
    for class_id, mask_N in enumerate(found):
        if int(mask_N.sum()) < smallest:
            found[class_id] = torch.zeros_like(mask_N)
            found[class_id][rate_CN[class_id].argsort(descending=True, stable=True)[:largest]] = True
    return torch.stack(found)


def one_run(name: str, way: str, measures: str, file: str) -> None:
    """In a process of its own: one variant's time or memory as a line of JSON, with a digest of all its masks."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = safetensors.torch.load_file(file)
    mean, std = data["mean"].tolist(), data["std"].tolist()
    images = ImageSet(data["images"], data["labels"], tuple(mean), tuple(std)).to(device)
    network = make_network(name).to(device)
    layers = unit_layers(network, images[torch.zeros(2, dtype=torch.long, device=device)])
    find = {"ours": streamed, "per class": per_class}[way]
    if measures == "time":  # the first batches warm up
        few = torch.arange(2 * EVALUATION_BATCH)
        find(network, layers, ImageSet(images.images[few], images.labels[few], images.mean, images.std))
    memory = PeakMemory(device)
    started = time.perf_counter()
    masks, kept = find(network, layers, images)
    seconds = time.perf_counter() - started
    digest = hashlib.sha256(b"".join(mask.numpy().tobytes() for key in sorted(masks) for mask in masks[key]))
    print(json.dumps({"time": seconds, "memory": memory.grown(), "kept": kept, "masks": digest.hexdigest()}))


def make_network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_model(in_channels=1, image_size=28, num_classes=CLASSES, **MODELS[name]).eval()


def write_images(file: str) -> None:
    """The images for all runs, drawn once: reading the whole data set would be each process's peak."""
    config = load_config(["data=fashion_mnist", "data.limit=12500", "data.test_limit=10", "tracking=none"])
    train = load_data(config.data).train  # a fifth is held out
    assert len(train) == IMAGES
    tensors = {"images": train.images, "labels": train.labels}
    statistics_of_pixels = {"mean": torch.tensor(train.mean), "std": torch.tensor(train.std)}
    safetensors.torch.save_file(tensors | statistics_of_pixels, file)


def compare(name: str, file: str) -> None:
    """All rounds of one network, interleaved; one line."""
    found: dict[tuple[str, str], list[float]] = {}
    masks, kept = set(), {}
    for _ in range(ROUNDS):
        for way in WAYS:
            for measures in ("time", "memory"):
                ran = run_fresh(__file__, "run", name, way, measures, file, own_pages=measures == "memory")
                found.setdefault((way, measures), []).append(float(ran[measures]))
                masks.add(ran["masks"])
                kept[way] = float(ran["kept"])
    assert len(masks) == 1, f"{name}: the two ways give different masks"
    middle = {key: statistics.median(values) for key, values in found.items()}
    columns = []
    for title, unit, ours, other in (
        ("time", 1, middle["ours", "time"], middle["per class", "time"]),
        ("peak memory", MEBIBYTE, middle["ours", "memory"], middle["per class", "memory"]),
        ("kept", MEBIBYTE, kept["ours"], kept["per class"]),
    ):
        sign = "s" if title == "time" else "MiB"
        columns.append(
            f"{title} ours {ours / unit:.2f} {sign}, per class {other / unit:.2f} {sign}, ratio {ours / other:.3f}"
        )
    print(f"{name}: " + "; ".join(columns) + "; masks identical", flush=True)


def print_statistics_size() -> None:
    """What is kept of VGG16 with 100 classes."""
    network = build_model("vgg16", in_channels=3, image_size=32, num_classes=100)
    widths = tuple(unit_layers(network, torch.zeros(2, 3, 32, 32)).widths)
    counts = torch.zeros(len(DEFAULT_THRESHOLDS), 100, sum(widths), dtype=torch.int32)
    sizes, means = torch.ones(100, dtype=torch.int64), torch.zeros(sum(widths), dtype=torch.float64)
    frequencies = Frequencies(DEFAULT_THRESHOLDS, counts, sizes, means, widths)
    written = len(dump_counts("activity", ACTIVITY.pack(frequencies)))
    assert written < LARGEST_STATISTICS
    print(f"statistics of VGG16 with 100 classes, {sum(widths)} units, any number of images: {written / 1e6:.1f} MB")


def main(names: list[str]) -> None:
    print(
        f"{IMAGES} images, {torch.get_num_threads()} threads, {len(DEFAULT_THRESHOLDS)} thresholds x {len(TAUS)} taus"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "images.safetensors"))
        try:
            write_images(file)
        except ConfigError as error:
            print(f"times and memory left out, there are no images: {error}")
        else:
            for name in names:
                compare(name, file)
    print_statistics_size()


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        one_run(*sys.argv[2:])
    else:
        main(sys.argv[1:] or list(MODELS))
