"""One class of a published module set from another set's module, trained and measured on the weak set's data."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from moda_core import RawImages, ReplacementAccuracy, load_modules, replace_class, replacement_accuracy, save_replaced
from moda_core.sets import read_manifest
from orchestrator.config import SEEDS, Config, DataConfig, difference, parse_config, path_here, to_plain
from orchestrator.errors import ConfigError, listed, shown
from orchestrator.modules.pulling import free_folder
from orchestrator.training import choose_device
from orchestrator.training.data import Data, ImageSet, data_here, load_data

OTHER_DATA = ("data=", "data.path=", "data.test_path=", "data.image_column=", "data.label_column=")


@dataclass(frozen=True)
class Request:
    """A class to be replaced, and how.

    Attributes:
        weak: the folder of the module set whose class is replaced, all its classes composed.
        strong: the folder of the one that gives the module.
        class_name: the class.
        epochs: of the added layer.
        seed: of its weights and the order of images.
        to: a new folder for the network with the class replaced; None: it is not kept.
    """

    weak: str
    strong: str
    class_name: str
    epochs: int
    seed: int
    to: str | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"--epochs {self.epochs}: must be at least 1")
        if not 0 <= self.seed < SEEDS:
            raise ConfigError(f"--seed {self.seed}: must be a whole number from 0 to {SEEDS - 1}")


@dataclass(frozen=True)
class Replaced:
    """What replacing gave: accuracies on test, on which data, how many images trained the layer, and what to know."""

    accuracy: ReplacementAccuracy
    data: DataConfig
    training_images: int
    notes: tuple[str, ...]


def replace_from_sets(request: Request, config: Config, overrides: Sequence[str]) -> Replaced:
    """Replace a class: train on the training split and measure on the test split.

    Args:
        request: what is to be replaced.
        config: of the command line; its data where ``overrides`` say so, else what the weak set records.
        overrides: ``data=choice`` or ``data.key=value`` as given on the command line.

    Raises:
        ConfigError: data that is not the sets', or a folder that is taken.
        ModuleSetError: sets that cannot be read.
        NetworkError: sets whose logits are not finite numbers.
    """
    folder_to = None if request.to is None else free_folder(request.to)
    manifests = {folder: read_manifest(folder) for folder in (request.weak, request.strong)}
    for folder, manifest in manifests.items():
        if request.class_name not in manifest["class_names"]:
            raise ConfigError(
                f"--class {shown(request.class_name)}: {folder} has the classes {listed(manifest['class_names'])};"
                " name one"
            )
    chosen = _chosen_data(config, overrides, request.weak, manifests[request.weak])
    data = load_data(chosen)
    _check_sets(data, chosen, request.weak, manifests)
    for split, images in (("training", data.train), ("test", data.test)):
        _check_classes(split, images.labels, data, request.class_name)
    if not any(override.startswith(OTHER_DATA) for override in overrides):
        _check_content(data, request.weak, manifests[request.weak])
    device = choose_device(config.training)
    weak = RawImages(load_modules(request.weak, data.class_names)).to(device)
    module = RawImages(load_modules(request.strong, [request.class_name])).to(device)
    replacement = replace_class(
        weak,
        module,
        _raw_batches(data.train, device),
        class_id=data.class_names.index(request.class_name),
        num_classes=data.num_classes,
        epochs=request.epochs,
        seed=request.seed,
    )
    accuracy = replacement_accuracy(replacement, _raw_batches(data.test, device))
    if folder_to is not None:
        head = replacement.network.head
        names = list(data.class_names)
        save_replaced(folder_to, head, request.weak, request.strong, class_names=names, class_name=request.class_name)
    notes = (_test_images_note(folder, manifest, chosen, data) for folder, manifest in manifests.items())
    return Replaced(accuracy, chosen, len(data.train), tuple(note for note in notes if note))


def _raw_batches(images: ImageSet, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """uint8 batches: each network normalises them as it was trained."""
    for pixels, labels in images.pixel_batches():
        yield images.middle(pixels).to(device), labels.to(device)


def _recorded(manifest: Mapping[str, Any], section: str) -> dict[str, Any] | None:
    """What a published set records of its data, unchecked: its ``config``, or its ``fingerprints``."""
    value: Any = manifest
    for key in ("about", section, "data"):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None


def _chosen_data(config: Config, overrides: Sequence[str], weak: str, manifest: Mapping[str, Any]) -> DataConfig:
    """The command line's data where it chooses some, else the recorded one with the keys that it gives in place."""
    if any(override.startswith("data=") for override in overrides):
        return config.data
    recorded = _recorded(manifest, "config")
    if recorded is None:
        raise ConfigError(f"{weak} does not record which data it was trained on; set data=...")
    keys = [override.partition("=")[0].split(".")[1] for override in overrides if override.startswith("data.")]
    keys = ["classes" if key == "class_list" else key for key in keys]  # which is what is left of a list
    given = {key: path_here(f"data.{key}", getattr(config.data, key)) for key in keys}
    try:
        plain = to_plain(config) | {"data": {**recorded, "download": False, **given}}
        data = parse_config(plain).data
    except ConfigError as error:
        raise ConfigError(f"{weak} records data that cannot be read: {error}; set data=...") from error
    return data if "root" in given else data_here(data, None)


def _check_sets(data: Data, chosen: DataConfig, weak: str, manifests: Mapping[str, Mapping[str, Any]]) -> None:
    names = manifests[weak]["class_names"]
    if sorted(names) != sorted(data.class_names):
        raise ConfigError(
            f"{weak} has the classes {listed(names)}, data.name={chosen.name} has {listed(data.class_names)}; name"
            " the data that it was trained on, data=..."
        )
    shape = data.preprocessing()["shape"]
    for folder, manifest in manifests.items():
        if (theirs := manifest["preprocessing"]["shape"]) != shape:
            raise ConfigError(f"{folder} takes images of {theirs}, data.name={chosen.name} has {shape}")


def _check_content(data: Data, weak: str, manifest: Mapping[str, Any]) -> None:
    recorded = _recorded(manifest, "fingerprints")
    if recorded and (changed := difference({"data": recorded}, {"data": dict(data.contents)})):
        raise ConfigError(
            f"{weak} was trained on other images or labels: {changed}; set data.root=... to where its data is"
        )


def _check_classes(split: str, labels: Tensor, data: Data, class_name: str) -> None:
    """Refuse images that do not show the class, or nothing else."""
    count, size = int((labels == data.class_names.index(class_name)).sum()), len(labels)
    if not 0 < count < size:
        raise ConfigError(
            f"--class {shown(class_name)}: {count} of {size} {split} images are of it; replacing needs images of the"
            " class and of another one: more data, data.limit=..., data.test_limit=..."
        )


def _test_images_note(folder: str, manifest: Mapping[str, Any], chosen: DataConfig, data: Data) -> str | None:
    """What to know if the set may have been trained on images that are tested here."""
    recorded = _recorded(manifest, "config")
    if recorded is None:
        return f"{folder} does not record its data: test images may have been among its training images"
    plain = dataclasses.asdict(chosen)
    deciding = ["name", "path", "test_path"]  # of which images are test images
    if (contents := _recorded(manifest, "fingerprints")) and data.contents:
        recorded, plain, deciding = {**recorded, **contents}, {**plain, **data.contents}, ["name", *data.contents]
    if chosen.name == "table" and chosen.test_path is None:
        deciding.append("seed")
    for key in deciding:
        if recorded.get(key) != plain[key]:
            was = f"data.{key}={recorded.get(key)}, here {plain[key]}"
            return f"{folder} was trained with {was}: test images may have been among its training images"
    return None
