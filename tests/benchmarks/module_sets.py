"""Module sets: bytes on disk beside the full model and each class's module by itself; time to pull, slice and load two.

A set is one network cut to what any class needs, and any classes are composed from it. The alternative is one cut
network a class: no classes can be composed from those, since weights between units of different classes are in none.
Bytes are of weights as safetensors, manifest and graph included where there is one; as ratios to the full model's.

Networks: vgg_small trained by MODA on digits (the default recipe, tau 0.9 and threshold 0.3), 10 classes; VGG16 for 10
and for 100 classes of 3 x 32 x 32, untrained, where a class keeps a random part of the units of each layer, so that
these sizes say nothing of training. Times are of the set of 10 classes, medians of interleaved rounds, as ratios to
reading the full model.

Prints two Markdown tables. Usage: python tests/benchmarks/module_sets.py [--rounds 5]
Time: three minutes on one core
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from moda_core import build_model, cut_network, load_modules, save_modules, slice_modules, unit_layers
from orchestrator.config.choice import Choice
from orchestrator.config.composing import load_config
from orchestrator.modules.pulling import pull
from orchestrator.training.data.loading import load_data
from orchestrator.training.decompose import choose, prepare
from orchestrator.training.loop import train
from orchestrator.training.methods import make_method
from orchestrator.training.trial import make_network

Case = tuple[str, nn.Module, list[Tensor], Tensor]  # title, network, L masks of (C, N_l), images


def trained() -> Case:
    """On digits by MODA."""
    config = load_config(["method=moda_published", "tracking=none"])
    data = load_data(config.data)
    network = make_network(config, data)
    for _ in train(
        network,
        data.train,
        config.training,
        make_method(config.method),
        num_classes=data.num_classes,
        precision=torch.float32,
    ):
        pass
    counted = prepare(network.eval(), data, config)
    masks = list(choose(counted, Choice.activity(0.9, 0.3), config.evaluation).units.keep)
    return "vgg_small on digits, 10 classes", network, masks, data.validation[torch.arange(8)]


def untrained(classes: int, kept: float) -> Case:
    """VGG16, where a class keeps that part of each layer."""
    torch.manual_seed(0)
    network = build_model("vgg16", in_channels=3, image_size=32, num_classes=classes).eval()
    images = torch.randn(2, 3, 32, 32)
    widths = unit_layers(network, images).widths
    masks = [torch.rand(classes, width).argsort(1) < max(1, round(kept * width)) for width in widths]
    return f"VGG16, {classes} classes of {kept:g} of a layer", network, masks, images


def saved(case: Case, folder: Path) -> list[str]:
    _, network, masks, images = case
    names = [str(one) for one in range(masks[0].shape[0])]
    channels = images.shape[1]
    recipe = {"shape": list(images.shape[1:]), "mean": [0.5] * channels, "std": [0.25] * channels}
    layers = unit_layers(network, images)
    save_modules(folder, network, layers, masks, images, class_names=names, preprocessing=recipe)
    return names


def weights(network: nn.Module) -> bytes:
    return safetensors.torch.save({name: one.contiguous() for name, one in network.state_dict().items()})


def alone(case: Case) -> Iterator[int]:
    """The bytes of each class's module by itself."""
    _, network, masks, images = case
    layers = unit_layers(network, images)
    for class_id in range(masks[0].shape[0]):
        keep = [mask_CN[class_id] for mask_CN in masks]
        yield len(weights(cut_network(network, layers, keep, [class_id], images)))


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def print_bytes(case: Case, scratch: Path) -> None:
    names = saved(case, scratch / "set")
    slice_modules(scratch / "set", scratch / "two", names[:2])
    full, whole, two = len(weights(case[1])), size(scratch / "set"), size(scratch / "two")
    singles = list(alone(case))
    cells = [whole / full, two / full, statistics.mean(singles) / full, sum(singles) / full, sum(singles) / whole]
    row = " | ".join(f"{one:.3f}" for one in cells)
    print(f"| {case[0]} | {full / 1e6:.2f} MB | {whole / 1e6:.2f} MB | {row} |", flush=True)


def print_times(case: Case, scratch: Path, rounds: int) -> None:
    names = saved(case, scratch / "set")[:2]
    safetensors.torch.save_file(case[1].state_dict(), scratch / "full.safetensors")
    slice_modules(scratch / "set", scratch / "two", names)
    actions: dict[str, Callable[[], object]] = {
        "read the full model": lambda: safetensors.torch.load((scratch / "full.safetensors").read_bytes()),
        "pull the set": lambda: pull(str(scratch / "set"), str(scratch / "to")),
        "pull two classes of it": lambda: pull(str(scratch / "set"), str(scratch / "to"), classes=names),
        "slice two classes": lambda: slice_modules(scratch / "set", scratch / "to", names),
        "load two classes of the set": lambda: load_modules(scratch / "set", names),
        "load a set of two classes": lambda: load_modules(scratch / "two"),
    }
    times: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(rounds + 1):
        for name, action in actions.items():
            shutil.rmtree(scratch / "to", ignore_errors=True)
            started = time.perf_counter()
            action()
            if repeat:  # the first round warms up
                times[name].append(time.perf_counter() - started)
    base = statistics.median(times["read the full model"])
    for name, found in times.items():
        print(f"| {case[0]} | {name} | {statistics.median(found):.4f} | {statistics.median(found) / base:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    small, large = trained(), untrained(10, 0.2)
    print("| network | full | set | set / full | two / full | one alone / full | all alone / full | all alone / set |")
    print("|---" * 8 + "|")
    for case in (small, large, untrained(100, 0.1)):
        with tempfile.TemporaryDirectory() as scratch:
            print_bytes(case, Path(scratch))
    print("\n| network | what | s | ratio |\n|---|---|---|---|")
    for case in (small, large):
        with tempfile.TemporaryDirectory() as scratch:
            print_times(case, Path(scratch), options.rounds)


if __name__ == "__main__":
    main()
