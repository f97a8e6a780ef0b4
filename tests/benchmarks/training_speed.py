"""How fast training is, in images per second: the plain loop with a torch DataLoader, and ours, choice by choice.

The rival is standard training in float32 as it is usually written: a Dataset that crops, flips and normalises image by
image in torchvision's transforms, a DataLoader with worker processes and pinned memory, the default SGD. Every other
kind is the product's own train(): the images as one uint8 tensor on the device, augmented there. One choice is added
after another. Images and labels are random numbers in the shape of CIFAR-10, so no files are needed.

Kinds are measured in turns, some steps at a time, and the median of the turns counts. The first turn of each, in which
code is compiled, is told apart; its mean loss shows that kinds of one method train alike. What does not fit into the
time given is left out. The last column is 200 epochs of 50,000 images at this speed, to be compared with the published
hours of VGG16 (1.13 with MODA, 0.81 without, on a V100). Where a CPU has no bfloat16, float32 stands in for it.

Rows are appended to ``tests/benchmarks/data/training_speed.arrow``.

Usage: python tests/benchmarks/training_speed.py [--device cuda] [--seconds 95] [--width 64] [--kinds ...] [MODEL ...]
Time: at most 100 seconds
"""

import argparse
import contextlib
import dataclasses
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from moda_core.methods import Method, Moda, Standard
from moda_core.models import build_model
from orchestrator.config.training_section import TrainingConfig
from orchestrator.training.data.image_set import ImageSet
from orchestrator.training.loop import choose_precision, train

STARTED = time.monotonic()
ROWS = Path(__file__).parent / "data" / "training_speed.arrow"
MODELS = {"vgg16": 1.0, "resnet18": 1.0, "mobilenet_v1": 0.5}  # with the width, by that of VGG16
SIZE, CLASSES, CROP = 32, 10, 4
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
MOST_TURNS = 7
COMPILING_SECONDS = 15  # a first guess
TRAINING_IMAGES, EPOCHS = 50_000, 200  # of the published training
PUBLISHED_HOURS = {"vgg16": 1.13}

Turn = Callable[[], tuple[float, float]]  # trains for some steps; the seconds that they took, and the mean loss


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way to train.

    Attributes:
        method: of the training.
        precision: of the forward pass.
        options: of the section `training`.
        autotune: whether cuDNN tries its algorithms.
    """

    method: Method
    precision: torch.dtype = torch.float32
    options: dict[str, str] = dataclasses.field(default_factory=dict)
    autotune: bool = False

    @property
    def is_compiled(self) -> bool:
        return self.options.get("compile") == "kernels"


FUSED = {"memory_format": "channels_last", "optimizer_step": "fused"}
LOADER = "DataLoader, float32"
KINDS = {
    "standard, float32": Kind(Standard()),
    "MODA, float32": Kind(Moda()),
    "MODA, channels last": Kind(Moda(), options={"memory_format": "channels_last"}),
    "MODA, bfloat16": Kind(Moda(), torch.bfloat16, {"memory_format": "channels_last"}),
    "MODA, fused optimizer": Kind(Moda(), torch.bfloat16, FUSED),
    "MODA, cuDNN tuned": Kind(Moda(), torch.bfloat16, FUSED, autotune=True),
    "MODA, CUDA graphs": Kind(Moda(), torch.bfloat16, FUSED | {"compile": "cuda_graphs"}),
    "MODA, compiled kernels": Kind(Moda(), torch.bfloat16, FUSED | {"compile": "kernels"}),
    "standard, CUDA graphs": Kind(Standard(), torch.bfloat16, FUSED | {"compile": "cuda_graphs"}),
    "MODA, graphs and tuned": Kind(Moda(), torch.bfloat16, FUSED | {"compile": "cuda_graphs"}, autotune=True),
}


class AugmentedImages(Dataset[tuple[Tensor, int]]):
    """Images that are cropped, flipped and normalised one by one, as people write it."""

    def __init__(self, images: ImageSet) -> None:
        self.pixels = images.images.permute(0, 2, 3, 1).numpy()
        self.labels = images.labels.tolist()
        self.transform = make_transform()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pixels[index]), self.labels[index]


def make_transform() -> Callable[[np.ndarray], Tensor]:
    """torchvision's transforms of a PIL image; where it cannot be imported the same by hand, on a tensor."""
    try:
        from torchvision import transforms
    except (ImportError, RuntimeError):
        return by_hand
    steps = [transforms.ToPILImage(), transforms.RandomCrop(SIZE, padding=CROP), transforms.RandomHorizontalFlip()]
    made: Callable[[np.ndarray], Tensor] = transforms.Compose(
        [*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    return made


def by_hand(pixels: np.ndarray) -> Tensor:
    image = F.pad(torch.from_numpy(pixels).permute(2, 0, 1), (CROP, CROP, CROP, CROP))
    top, left = (int(torch.randint(2 * CROP + 1, ())) for _ in range(2))
    image = image[:, top : top + SIZE, left : left + SIZE]
    image = image.flip(2) if torch.rand(()) < 0.5 else image
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (image.float() / 255 - mean) / std


def endless(loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader


def loader_turn(network: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], ahead: int, steps: int) -> Turn:
    """A turn of the rival. The batches that its workers have made ahead of it are taken before the clock starts."""
    device = next(network.parameters()).device
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9, nesterov=True)
    network.train()

    def turn() -> tuple[float, float]:
        for _ in range(ahead):
            next(batches)
        started = time.perf_counter()
        for _ in range(steps):
            images, labels = (tensor.to(device, non_blocking=True) for tensor in next(batches))
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
        synchronise(device)
        return time.perf_counter() - started, math.nan

    return turn


def own_turn(network: nn.Module, images: ImageSet, kind: Kind, batch_size: int) -> Turn:
    """A turn of the product's loop: an epoch of these images."""
    config = TrainingConfig(
        epochs=10**6,
        batch_size=batch_size,
        learning_rate=0.001,
        **{"compile": "none", "memory_format": "contiguous", "optimizer_step": "plain"} | kind.options,  # type: ignore[arg-type]
    )
    precision = kind.precision
    if precision == torch.bfloat16:
        precision = choose_precision("auto", images.labels.device)
    options = {"num_classes": CLASSES, "crop": CROP, "flip": True, "precision": precision}
    epochs = train(network, images, config, kind.method, **options)  # type: ignore[arg-type]

    def turn() -> tuple[float, float]:
        torch.backends.cudnn.benchmark = kind.autotune
        row = next(epochs).row
        return row["seconds"], row["loss"]

    return turn


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def random_images(count: int) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.randint(0, CLASSES, (count,), generator=generator), MEAN, STD)


def make_network(model: str, width: int, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    width = max(1, round(width * MODELS[model]))
    return build_model(model, in_channels=3, image_size=SIZE, num_classes=CLASSES, width=width).to(device)


@dataclasses.dataclass
class Measured:
    """Of a kind: the seconds of its first turn, with what is compiled and made in it, and its loss; the seconds of the
    turns after it."""

    turn: Turn
    is_compiled: bool
    first_seconds: float
    loss: float
    seconds: list[float] = dataclasses.field(default_factory=list)


def measure(turns: dict[str, Callable[[], Turn]], deadline: float) -> dict[str, Measured]:
    """Run the first turn of each kind, and then all in turns for as long as there is time.

    Args:
        turns: makes the turn of each kind.
        deadline: by time.monotonic(). A quarter of the time is kept for the turns after the first: kinds that would not
            be ready by then are left out.
    """
    began = time.monotonic()
    measured: dict[str, Measured] = {}
    for name, make in turns.items():
        is_compiled = name in KINDS and KINDS[name].is_compiled
        alike = [one.first_seconds for one in measured.values() if one.is_compiled == is_compiled]
        # Much of what another kind compiled is taken from PyTorch's cache.
        needed = 0.6 * max(alike) if alike else COMPILING_SECONDS * is_compiled
        if measured and time.monotonic() + needed > deadline - (deadline - began) / 4:
            print(f"  {name}: left out, it would take too long to be ready", flush=True)
            continue
        started = time.monotonic()
        turn = make()
        _, loss = turn()
        measured[name] = Measured(turn, is_compiled, time.monotonic() - started, loss)
        print(f"  {name}: first turn {measured[name].first_seconds:.1f} s, loss {loss:.4f}", flush=True)
    for _ in range(MOST_TURNS):
        started = time.monotonic()
        for one in measured.values():
            one.seconds.append(one.turn()[0])
        if 2 * time.monotonic() - started > deadline:
            break
    return measured


def print_table(model: str, rows: Sequence[dict[str, Any]]) -> None:
    rival = next((row for row in rows if row["kind"] == LOADER), rows[0])["images_per_second"]
    for row in rows:
        speed = row["images_per_second"]
        hours = TRAINING_IMAGES * EPOCHS / speed / 3600
        against = f" = published / {PUBLISHED_HOURS[model] / hours:.1f}" if model in PUBLISHED_HOURS else ""
        print(
            f"  {row['kind']:24} {speed:10,.0f} images/s ({row['slowest']:,.0f} to {row['fastest']:,.0f},"
            f" {row['turns']} turns) x {speed / rival:5.2f}  {hours:7.3f} h{against}",
            flush=True,
        )


def append(rows: Sequence[dict[str, Any]], path: Path) -> None:
    table = pa.Table.from_pylist(list(rows))
    if path.exists():
        table = pa.concat_tables([feather.read_table(path), table], promote_options="default")
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(table, path)


def parsed() -> argparse.Namespace:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--device", default="cuda" if on_gpu else "cpu")
    parser.add_argument("--seconds", type=float, default=95, help="for everything, from the start of the process")
    parser.add_argument("--width", type=int, default=64 if on_gpu else 8)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=50 if on_gpu else 4, help="in a turn")
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="of the DataLoader")
    parser.add_argument("--kinds", help="parts of their names, separated by commas; all are measured without")
    parser.add_argument("--rows", type=Path, default=ROWS)
    return parser.parse_args()


def main() -> None:
    asked = parsed()
    device, models = torch.device(asked.device), asked.models or list(MODELS)
    named = [LOADER, *KINDS]
    kinds = [name for name in named if not asked.kinds or any(part in name for part in asked.kinds.split(","))]
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    host_images = random_images(asked.steps * asked.batch)
    images = host_images.to(device)
    ahead = 2 * asked.workers
    loader = DataLoader(
        AugmentedImages(host_images),
        asked.batch,
        shuffle=True,
        num_workers=asked.workers,
        pin_memory=device.type == "cuda",
        persistent_workers=True,
        drop_last=True,
    )
    by = "torchvision" if make_transform() is not by_hand else "torch alone"
    print(f"{where}, PyTorch {torch.__version__}, batch {asked.batch}, {asked.workers} workers, transforms of {by}")
    with contextlib.closing(endless(loader)) as batches:
        for place, model in enumerate(models):
            now = time.monotonic()
            deadline = now + (STARTED + asked.seconds - now) / (len(models) - place)
            turns: dict[str, Callable[[], Turn]] = {}
            for name in kinds:

                def make(name: str = name, model: str = model) -> Turn:
                    network = make_network(model, asked.width, device)
                    if name == LOADER:
                        return loader_turn(network, batches, ahead, asked.steps)
                    return own_turn(network, images, KINDS[name], asked.batch)

                turns[name] = make
            print(f"{model} of width {asked.width * MODELS[model]:g}:", flush=True)
            torch.compiler.reset()
            measured = measure(turns, deadline)
            shared = {
                "device": where,
                "torch": torch.__version__,
                "model": model,
                "width": round(asked.width * MODELS[model]),
                "batch": asked.batch,
                "steps": asked.steps,
                "workers": asked.workers,
            }
            rows = []
            for name, kind in measured.items():
                speeds = [asked.steps * asked.batch / seconds for seconds in kind.seconds]
                rows.append(
                    {
                        **shared,
                        "kind": name,
                        "images_per_second": statistics.median(speeds),
                        "slowest": min(speeds),
                        "fastest": max(speeds),
                        "turns": len(speeds),
                        "first_seconds": kind.first_seconds,
                        "loss": None if math.isnan(kind.loss) else kind.loss,
                    }
                )
            print_table(model, rows)
            append(rows, asked.rows)
    print(f"{time.monotonic() - STARTED:.0f} seconds in all")


if __name__ == "__main__":
    main()
