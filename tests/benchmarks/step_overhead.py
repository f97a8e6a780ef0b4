"""What the modular losses cost: one training step with them over the same step without, in one process, interleaved.

Prints the median step of standard training, of the losses computed pair by pair as published, and of ours, and the
ratios to standard training. Usage: python tests/benchmarks/step_overhead.py [resnet18 vgg16 vgg_medium ...]
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moda_core import modular_losses, unit_layers, watch_units
from moda_core.models import build_model
from moda_core.models.vgg import VGG16_WIDTHS
from orchestrator.training import choose_precision, computing

BATCH, CLASSES, REPEATS = 128, 10, 7
MODELS = {
    "resnet18": {"name": "resnet18"},
    "vgg16": {"name": "vgg", "widths": VGG16_WIDTHS},
    "vgg_medium": {"name": "vgg", "widths": [32, 32, "M", 64, 64, "M", 128, 128, "M"], "hidden": [256]},
}


def pairwise_losses(units: list[Tensor], labels: Tensor) -> Tensor:
    """The published way: a matrix of all cosines a layer, and masks of the pairs."""
    same = labels[:, None] == labels[None, :]
    upper = torch.ones_like(same).triu(1)
    affinity, dispersion, compactness = [], [], []
    for unit in units:
        normal = F.normalize(unit, dim=1)
        cosines = normal @ normal.T
        affinity.append(cosines[same & upper].mean())
        dispersion.append(cosines[~same & upper].mean())
        compactness.append(unit.abs().mean())
    return 1 - torch.stack(affinity).mean() + torch.stack(dispersion).mean() + 0.3 * torch.stack(compactness).mean()


def summed_losses(units: list[Tensor], labels: Tensor) -> Tensor:
    """Ours: per-class sums."""
    terms = modular_losses(units, labels, num_classes=CLASSES)
    return terms.affinity + terms.dispersion + 0.3 * terms.compactness


def step(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    extra: Callable[[list[Tensor], Tensor], Tensor] | None,
    dtype: torch.dtype,
) -> float:
    started = time.perf_counter()
    with computing(images.device, dtype):
        output = network(images)
    logits, units = output if extra else (output, None)
    loss = F.cross_entropy(logits.float(), labels)
    if extra and units is not None:
        loss = loss + extra(units, labels)
    network.zero_grad(set_to_none=True)
    loss.backward()
    return time.perf_counter() - started


def main(names: list[str]) -> None:
    bfloat16 = choose_precision("auto", torch.device("cpu"))
    print(f"batch {BATCH}, 3 x 32 x 32, {torch.get_num_threads()} threads, median of {REPEATS} interleaved steps")
    for name in names:
        torch.manual_seed(0)
        network = build_model(in_channels=3, image_size=32, num_classes=CLASSES, **MODELS[name])
        images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(0, CLASSES, (BATCH,))
        for dtype in dict.fromkeys((torch.float32, bfloat16)):
            if dtype != torch.float32:
                network.to(memory_format=torch.channels_last)
            watched = watch_units(network, unit_layers(network, images[:2]))
            kinds = {
                "standard": (network, None),
                "pairwise": (watched, pairwise_losses),
                "ours": (watched, summed_losses),
            }
            times: dict[str, list[float]] = {kind: [] for kind in kinds}
            for repeat in range(REPEATS + 1):
                for kind, (module, extra) in kinds.items():
                    took = step(module, images, labels, extra, dtype)
                    if repeat:  # the first round warms up
                        times[kind].append(took)
            middle = {kind: statistics.median(found) for kind, found in times.items()}
            print(
                f"{name} {str(dtype).removeprefix('torch.')}: "
                + ", ".join(f"{kind} {1000 * took:.0f} ms" for kind, took in middle.items())
                + f"; ratio pairwise {middle['pairwise'] / middle['standard']:.3f}, ours"
                f" {middle['ours'] / middle['standard']:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:] or list(MODELS))
