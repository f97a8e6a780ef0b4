"""Your own images: a folder for each class is trained on, and a module of two classes classifies a file.

Usage: python own_images.py FOLDER    (writes FOLDER/photos, if you have none there, FOLDER/storage and FOLDER/modules)
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import orchestrator as moda
from moda_core import load_modules

KINDS = {"across": (0, 1), "down": (1, 0), "slanted": (1, 1)}  # how far stripes go on in each direction
IMAGES, SIDE = 60, 32


def draw_photos(folder: Path) -> None:
    """Write a folder of striped images for each class: what stands for yours."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for name, (right, down) in KINDS.items():
        (folder / name).mkdir(parents=True)
        for number in range(IMAGES):
            bright = 128 + 80 * np.sin((rows * down + columns * right) * 0.9 + random.uniform(0, 6))
            pixels = bright[:, :, None] + random.normal(0, 30, (SIDE, SIDE, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")


def main(folder: Path) -> list[str | None]:
    """Train, pull a module of two classes, and classify two files; returns the classes that it names."""
    if not (folder / "photos").is_dir():
        draw_photos(folder / "photos")
    sweep = moda.train(
        "data=folder",
        f"data.path={(folder / 'photos').resolve()}",
        "data.resize=16",
        "model=vgg_small",
        "training.epochs=12",
        "tracking=none",
        storage=str(folder / "storage"),
    )
    sweep.best.pull(folder / "modules", classes=["across", "slanted"])
    module = load_modules(folder / "modules")
    return list(module.classify([folder / "photos" / name / "0.png" for name in ("across", "slanted")]))


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
