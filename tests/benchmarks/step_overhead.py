"""What the modular losses cost: one training step with them over the same step without, interleaved.

Prints the median step of standard training, of the losses computed pair by pair as published, and of ours, the peak
memory of each, and the ratios to standard training. With a GPU: VGG16, ResNet18, MobileNet-v1 and ViT-S in float32 and
bfloat16, eager and compiled. Without one: eager, and bfloat16 where the processor computes in it.

Peak memory is that of weights, gradients, activations and scratch space, in three steps; no optimiser's state, which
would only bring the ratios closer to 1. On a GPU it is torch.cuda.max_memory_allocated. On a CPU each kind runs in a
fresh process, whose resident set is exact enough (fresh_process.py) and holds the convolutions' own allocations too.

Usage: python tests/benchmarks/step_overhead.py [resnet18 vgg16 mobilenet_v1 vgg_medium vit_96 vit_small ...]
Time: about 6 minutes on two cores
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import torch
from fresh_process import MEBIBYTE, PeakMemory, run_fresh
from torch import Tensor, nn
from torch.nn import functional as F

from moda_core import modular_losses, unit_layers, watch_units
from moda_core.models import build_model
from moda_core.models.vgg import VGG16_WIDTHS
from orchestrator.training.batch_losses import computing
from orchestrator.training.loop import choose_precision

BATCH, CLASSES, REPEATS, MEMORY_STEPS = 128, 10, 7, 3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MODELS = {
    "resnet18": {"name": "resnet18"},
    "vgg16": {"name": "vgg", "widths": VGG16_WIDTHS},
    "mobilenet_v1": {"name": "mobilenet_v1"},
    "vgg_medium": {"name": "vgg", "widths": [32, 32, "M", 64, 64, "M", 128, 128, "M"], "hidden": [256]},
    "vit_96": {"name": "vit_small", "width": 96, "depth": 6, "heads": 6},
    "vit_small": {"name": "vit_small"},
}
LARGE = ("vgg16", "resnet18", "mobilenet_v1", "vit_small")  # for a GPU


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


Losses = Callable[[list[Tensor], Tensor], Tensor]
KINDS: dict[str, Losses | None] = {"standard": None, "pairwise": pairwise_losses, "ours": summed_losses}
Step = Callable[[], None]


def make_images() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(BATCH, 3, 32, 32, device=DEVICE), torch.randint(0, CLASSES, (BATCH,), device=DEVICE)


def make_network(name: str, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    network = build_model(in_channels=3, image_size=32, num_classes=CLASSES, **MODELS[name]).to(DEVICE)
    return network if dtype == torch.float32 else network.to(memory_format=torch.channels_last)


def make_step(
    network: nn.Module, images: Tensor, labels: Tensor, kind: str, dtype: torch.dtype, *, compiled: bool = False
) -> Step:
    """One training step without the optimiser's part."""
    extra = KINDS[kind]
    module = watch_units(network, unit_layers(network, images[:2])) if extra else network

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        with computing(images.device, dtype):
            output = module(images)
        logits, units = output if extra else (output, None)
        loss = F.cross_entropy(logits.float(), labels)
        return loss + extra(units, labels) if extra and units is not None else loss

    run = torch.compile(loss_of) if compiled else loss_of

    def step() -> None:
        loss = run(images, labels)
        network.zero_grad(set_to_none=True)
        loss.backward()

    return step


def seconds(step: Step) -> float:
    started = time.perf_counter()
    step()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure_times(steps: dict[str, Step]) -> dict[str, float]:
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    for repeat in range(REPEATS + 1):
        for kind, step in steps.items():
            took = seconds(step)
            if repeat:  # the first round warms up
                times[kind].append(took)
    return {kind: statistics.median(found) for kind, found in times.items()}


def measure_gpu_memory(steps: dict[str, Step]) -> dict[str, int]:
    """The peak of all tensors; the kinds share network and images, and hold nothing else between steps."""
    peaks = {}
    for kind, step in steps.items():
        torch.cuda.reset_peak_memory_stats()
        for _ in range(MEMORY_STEPS):
            step()
        peaks[kind] = torch.cuda.max_memory_allocated()
    return peaks


def measure_process_memory(name: str, dtype: torch.dtype) -> dict[str, int]:
    return {
        kind: int(run_fresh(__file__, "memory", name, str(dtype), kind, own_pages=True)["memory"]) for kind in KINDS
    }


def print_process_memory(name: str, dtype_name: str, kind: str) -> None:
    """In a process of its own, from before the network is made; a first small step loads code and starts threads."""
    dtype = {str(one): one for one in (torch.float32, torch.bfloat16)}[dtype_name]
    images, labels = make_images()
    make_step(make_network("vgg_medium", dtype), images[:2], labels[:2], kind, dtype)()
    memory = PeakMemory(images.device)
    step = make_step(make_network(name, dtype), images, labels, kind, dtype)
    for _ in range(MEMORY_STEPS):
        step()
    print(json.dumps({"memory": memory.grown()}))


def main(names: list[str]) -> None:
    images, labels = make_images()
    dtypes = dict.fromkeys((torch.float32, choose_precision("auto", images.device)))
    where = torch.cuda.get_device_name() if DEVICE == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"batch {BATCH}, 3 x 32 x 32, {where}, median of {REPEATS} interleaved steps")
    for name in names:
        for dtype in dtypes:
            for compiled in (False, True) if DEVICE == "cuda" else (False,):
                torch.compiler.reset()
                network = make_network(name, dtype)
                steps = {kind: make_step(network, images, labels, kind, dtype, compiled=compiled) for kind in KINDS}
                times = measure_times(steps)
                memory = measure_gpu_memory(steps) if DEVICE == "cuda" else measure_process_memory(name, dtype)
                print(
                    f"{name} {str(dtype).removeprefix('torch.')}{' compiled' if compiled else ''}: "
                    + ", ".join(
                        f"{kind} {1000 * took:.{1 if DEVICE == 'cuda' else 0}f} ms" for kind, took in times.items()
                    )
                    + "; "
                    + ratios(times)
                    + "; peak memory "
                    + ", ".join(f"{kind} {peak / MEBIBYTE:.0f} MiB" for kind, peak in memory.items())
                    + "; "
                    + ratios(memory),
                    flush=True,
                )


def ratios(values: Mapping[str, float]) -> str:
    return "ratio " + ", ".join(f"{kind} {values[kind] / values['standard']:.3f}" for kind in ("pairwise", "ours"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        print_process_memory(*sys.argv[2:])
    else:
        main(sys.argv[1:] or (list(LARGE) if DEVICE == "cuda" else [name for name in MODELS if name != "vit_small"]))
