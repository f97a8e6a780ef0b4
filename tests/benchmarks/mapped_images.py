"""Images a second from a mapped file, from memory, and from a DataLoader over image files; and what a worker holds.

    python tests/benchmarks/mapped_images.py [images] [rounds]

JPEG files of 320 x 280 pixels are made in a temporary folder (default: 2,000). What is timed is an epoch of random
parts of 224 x 224 of images of 256 x 256, in batches of 128, uint8, without a network: from memory and from the mapped
file as a training reads them; from the files by torch's DataLoader with 2 workers, Pillow and torchvision's transforms.
The three take turns; medians over the rounds (default: 5) and their ratios are printed. Then a process of its own loads
the images each way, reads an epoch, and tells its memory: its own (anonymous), and pages of files, which the system
takes back when it needs them. Takes about 3 minutes on 2 CPU cores.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from orchestrator.config.composing import load_config
from orchestrator.training.batches import Steps, Workers, read_ahead
from orchestrator.training.data.image_set import ImageSet
from orchestrator.training.data.loading import load_data
from orchestrator.training.data.vision import torchvision_datasets
from orchestrator.training.parts import random_parts

BATCH, CLASSES, STORED, SEEN = 128, 10, 256, 224
KINDS = ("memory", "file")


def configuration(folder: Path, kind: str):
    keys = [f"data.path={folder}", f"data.resize={STORED}", "data.fit=random", f"data.image_size={SEEN}"]
    more = ["data.normalisation=imagenet", f"data.kept_in={kind}", f"training.batch_size={BATCH}"]
    return load_config(["data=folder", *keys, *more, "tracking=none", f"storage={folder}/storage"])


def make_files(folder: Path, images: int) -> None:
    draw = np.random.default_rng(0)
    for number in range(images):
        for part in ("train", "test") if number < 2 * CLASSES else ("train",):
            small = Image.fromarray(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8))
            path = folder / part / f"c{number % CLASSES}" / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            small.resize((320, 280), Image.Resampling.BICUBIC).save(path, quality=90)


def epoch(images: ImageSet, training, number: int) -> Iterator[torch.Tensor]:
    for batch in read_ahead(images, Steps(len(images), training, Workers(), each=0), number):
        stored = images.images[batch.mine] if batch.stored is None else batch.stored
        yield random_parts(images, stored, batch.offsets_B2, batch.shapes_BT2)


class Files(Dataset):
    """Image files as torchvision's transforms bring them to the same size."""

    def __init__(self, files: list[Path]) -> None:
        torchvision_datasets()  # its operators do not load everywhere
        from torchvision.transforms import Compose, PILToTensor, RandomCrop, Resize

        self.files, self.transform = files, Compose([Resize(STORED), RandomCrop(SEEN), PILToTensor()])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB"))


def seconds(batches, images: int) -> float:
    started, seen = time.perf_counter(), 0
    for pixels in batches:
        seen += len(pixels)
        assert pixels.shape[1:] == (3, SEEN, SEEN)
    assert seen == images
    return time.perf_counter() - started


def compare(folder: Path, rounds: int) -> None:
    training = configuration(folder, "memory").training
    sets = {kind: load_data(configuration(folder, kind).data).train for kind in KINDS}
    count = len(sets["memory"])
    files = sorted((folder / "train").glob("*/*"))[:count]
    loader = DataLoader(Files(files), BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    next(iter(loader))  # its workers have started
    rates = {kind: [] for kind in (*KINDS, "DataLoader")}
    for number in range(rounds):
        for kind, images in sets.items():
            rates[kind].append(count / seconds(epoch(images, training, number), count))
        rates["DataLoader"].append(count / seconds(loader, count))
    for kind, found in rates.items():
        print(f"{kind:<12}{median(found):>10,.0f} images a second   ({min(found):,.0f} to {max(found):,.0f})")
    file = median(rates["file"])
    print(f"the file gives {file / median(rates['memory']):.2f} times the images that memory gives, and", end=" ")
    print(f"{file / median(rates['DataLoader']):.1f} times those of the DataLoader")


def memory(folder: Path, kind: str) -> None:
    """In a process of its own: what it holds more than before."""

    def held() -> tuple[int, ...]:
        lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        return tuple(int(lines[name].split()[0]) // 1024 for name in ("RssAnon", "RssFile"))

    config = configuration(folder, kind)
    seconds(epoch(ImageSet(torch.zeros(BATCH, 3, STORED, STORED, dtype=torch.uint8), torch.zeros(BATCH), (0.5,) * 3,
                           (0.5,) * 3, seen=SEEN), config.training, 0), BATCH)  # fmt: skip
    before = held()
    data = load_data(config.data)
    seconds(epoch(data.train, config.training, 0), len(data.train))
    own, of_files = (now - then for now, then in zip(held(), before, strict=True))
    size = len(data.train) * 3 * STORED**2 // 2**20
    print(f"{kind:<12}{own:>6} MiB of its own, {of_files:>6} MiB of files, for {size} MiB of training images")


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["memory"]:
        memory(Path(arguments[1]), arguments[2])
        return
    images, rounds = (int(text) for text in [*arguments, *("2000", "5")[len(arguments) :]])
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MODA_CACHE_DIR"] = f"{scratch}/cache"
        folder = Path(scratch) / "photos"
        make_files(folder, images)
        compare(folder, rounds)
        for kind in KINDS:
            subprocess.run([sys.executable, __file__, "memory", str(folder), kind], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
