"""What MwT and NeMo cost: a training step beside standard training's, and their losses on one worker and on two.

Prints the processor time of a step, standard training being 1, of the networks of docs/method.md ("MwT and NeMo"), and
the time of loss and gradient of a batch's masks with the bytes that NeMo gathers. Best of several, one thread each.

Usage: python tests/benchmarks/mask_generators.py
Time: about 2 minutes on two cores
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from moda_core import build_model
from moda_core.methods import METHODS, contrastive_loss, modular_losses
from orchestrator.training.batches import Workers

CLASSES, REPEATS, BATCH = 10, 7, 128
NETWORKS: dict[str, dict[str, Any]] = {
    "small VGG": {"name": "vgg", "widths": [16, "M", 32, "M", 64], "hidden": [64], "image_size": 28, "in_channels": 1},
    "VGG16, width 16": {"name": "vgg16", "width": 16, "image_size": 32, "in_channels": 3},
    "ResNet18, width 16": {"name": "resnet18", "width": 16, "image_size": 32, "in_channels": 3},
    "MobileNet-v1, width 8": {"name": "mobilenet_v1", "width": 8, "image_size": 32, "in_channels": 3},
}
MASKS = {  # of each layer
    "VGG16": [64, 128, 128, *[256] * 3, *[512] * 6],
    "ResNet18": [*[64] * 4, *[128] * 5, *[256] * 5, *[512] * 5],
    "MobileNet-v1": [32, 64, 64, *[128] * 4, *[256] * 4, *[512] * 12, 1024, 1024, 1024],
}


def best(calls: Mapping[str, Callable[[], Any]], clock: Callable[[], float]) -> dict[str, float]:
    """The shortest of several calls of each in milliseconds, in turn; the first ones do not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(REPEATS + 1):
        for name, call in calls.items():
            started = clock()
            call()
            times[name] += [1000 * (clock() - started)] if turn else []
    return {name: min(found) for name, found in times.items()}


def make_step(name: str, options: Mapping[str, Any]) -> Callable[[], None]:
    """A training step of a method without the optimiser's part."""
    side, method = options["image_size"], METHODS[name]()
    images, labels = torch.randn(64, options["in_channels"], side, side), torch.randint(CLASSES, (64,))
    model = method.prepare(build_model(num_classes=CLASSES, **options), images[:2]).model.train()

    def step() -> None:
        method.objective(model(images), labels, num_classes=CLASSES, size=64, workers=Workers()).loss.backward()

    return step


def print_steps() -> None:
    for title, options in NETWORKS.items():
        steps = {name: make_step(name, options) for name in ("standard", "moda", "mwt", "nemo")}
        times = best(steps, time.process_time)
        print(title + ": " + ", ".join(f"{name} {took / times['standard']:.2f}" for name, took in times.items()))


def print_losses(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    group = Workers(rank, world).group
    for title, widths in MASKS.items():
        torch.manual_seed(0)
        labels, mine = torch.randint(CLASSES, (BATCH,)), torch.arange(BATCH).tensor_split(world)[rank]
        masks = [torch.rand(BATCH, width)[mine].requires_grad_() for width in widths]

        def contrast(masks: list[Tensor] = masks, labels: Tensor = labels[mine]) -> None:
            torch.autograd.grad(contrastive_loss(masks, labels, temperature=0.2, size=BATCH, group=group), masks)

        def pairs(masks: list[Tensor] = masks, labels: Tensor = labels[mine]) -> None:
            losses = modular_losses(masks, labels, num_classes=CLASSES, group=group)
            torch.autograd.grad(losses.affinity + losses.dispersion, masks)

        took = best({"nemo": contrast, "mwt": pairs}, time.perf_counter)
        if rank == 0:
            gathered = 4 * BATCH * (sum(widths) + 1) / 1e6
            print(
                f"{world} workers, {title}: NeMo {took['nemo']:.0f} ms ({gathered:.1f} MB), MwT {took['mwt']:.0f} ms",
                flush=True,
            )
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    print_steps()
    print_losses(0, 1, "")
    with tempfile.TemporaryDirectory() as scratch:
        mp.spawn(print_losses, args=(2, scratch), nprocs=2)
