"""Data sets that scikit-learn and torchvision read."""

import dataclasses
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config import DataConfig
from orchestrator.errors import ConfigError
from orchestrator.training.data.content import pixel_hash
from orchestrator.training.data.drawing import split_by_class
from orchestrator.training.data.splits import Loaded
from orchestrator.training.data.table_set import load_table
from orchestrator.training.data.vision import torchvision_datasets

DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class VisionSet:
    """A data set of torchvision.

    Attributes:
        kind: its class there.
        parts: the arguments that ask for the training and for the test images.
        class_names: where torchvision has none, or numbers them besides.
        table: its folder as Hugging Face has it, which is read if torchvision's is not there.
    """

    kind: str
    parts: tuple[Mapping[str, Any], Mapping[str, Any]] = field(default=({"train": True}, {"train": False}))
    class_names: tuple[str, ...] | None = None
    table: str | None = None


VISION_SETS = {
    "cifar10": VisionSet("CIFAR10"),
    "cifar100": VisionSet("CIFAR100", table="cifar100"),
    "fashion_mnist": VisionSet("FashionMNIST"),
    "mnist": VisionSet("MNIST", class_names=DIGITS),
    "svhn": VisionSet("SVHN", parts=({"split": "train"}, {"split": "test"}), class_names=DIGITS),
}


def load_digits(config: DataConfig) -> Loaded:
    """scikit-learn's digits, 1,400 to train and 397 to test: read from its file, since importing it takes a second."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    rows = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    images = np.rint(rows[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = rows[:, -1].astype(np.int64)
    train, test = split_by_class(labels, test=397, seed=0)
    return (images[train], labels[train]), (images[test], labels[test]), list(DIGITS), {}


def load_vision(config: DataConfig) -> Loaded:
    """A data set of torchvision, which checks what it downloads; or its table, if that is there instead.

    Raises:
        ConfigError: neither is there.
    """
    vision = VISION_SETS[config.name]
    kind = getattr(torchvision_datasets(), vision.kind)
    root = Path(config.root or ".").expanduser()
    if vision.table is not None and not config.download and _is_table_alone(root, vision.table, kind.base_folder):
        path, test_path = (f"{vision.table}/{part}-*.parquet" for part in ("train", "test"))
        return load_table(dataclasses.replace(config, name="table", path=path, test_path=test_path, resize=None))
    try:
        sets = [kind(root, **part, download=config.download) for part in vision.parts]
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            f"data.name={config.name}: not found under data.root={root} ({error}); set MODA_DATA_DIR or data.root, or"
            " data.download=true to fetch it there"
        ) from error
    splits = [_arrays(part) for part in sets]
    contents = {"content": pixel_hash(*splits[0]), "test_content": pixel_hash(*splits[1])}
    names = vision.class_names or [name.replace("/", "-").lower() for name in sets[0].classes]
    return splits[0], splits[1], list(names), contents


def _is_table_alone(root: Path, table: str, folder: str) -> bool:
    return (root / table).is_dir() and not (root / folder).is_dir()


def _arrays(part: Any) -> tuple[Any, Any]:
    """Images (I, ch, H, W) uint8 and class ids of a data set of torchvision."""
    images = np.asarray(part.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] != 3:  # SVHN's channels are where ours are
        images = images.transpose(0, 3, 1, 2)
    labels = part.labels if hasattr(part, "labels") else part.targets
    return np.ascontiguousarray(images), np.asarray(labels, dtype=np.int64)
