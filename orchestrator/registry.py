"""Publishing a point as a module set, and pulling one.

A set is made when it is first asked for, from the trial's weights and counts: cut to the union of all class masks,
proven against the masked network on validation images, and kept in the storage. Files go first, the manifest last.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moda_core import save_modules
from moda_core.manifest import MANIFEST, check_file, parse_manifest
from moda_core.saving import write_whole
from orchestrator.config import to_plain
from orchestrator.data import load_data
from orchestrator.decompose import choice_masks
from orchestrator.model_card import CARD, model_card
from orchestrator.records import package_versions
from orchestrator.results import Point, Sweep
from orchestrator.sections import ConfigError, DataConfig
from orchestrator.storage import Files
from orchestrator.trial import Trial, load_trained

CHECK_IMAGES = 256


@dataclass(frozen=True)
class Pulled:
    """A module set on the local disk."""

    folder: Path
    manifest: dict[str, Any]
    bytes: int


def pull(sweep: Sweep, point: Point, root: str, to: str, *, data_root: str | None = None) -> Pulled:
    """Bring a point's module set to the folder ``to``, publishing it first if nobody did.

    Args:
        sweep: the sweep.
        point: one of its points.
        root: the storage.
        to: a new folder.
        data_root: where the data set lies here, if it is elsewhere than where the sweep ran.

    Raises:
        ConfigError: a folder that is taken or cannot be made.
        ValueError: a set that is not what its manifest says, or cannot be proven.
    """
    folder = free_folder(to)
    files = Files(root)
    if files.local is not None and folder.is_relative_to(files.local):
        raise ConfigError(f"--to {to} lies inside the storage {files.local}; choose a folder elsewhere")
    name = published(sweep, point, root, data_root=data_root)
    return place(folder, files.read(f"modules/{name}/{MANIFEST}"), lambda file: files.read(f"modules/{name}/{file}"))


def free_folder(to: str) -> Path:
    """The folder ``to``, which nothing is in.

    Raises:
        ConfigError: it is taken.
    """
    folder = Path(to).expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--to {to} is not empty; choose a new folder")
    return folder


def place(folder: Path, text: bytes, read: Callable[[str], bytes]) -> Pulled:
    """Put a module set from elsewhere into a folder, whole and checked or not at all.

    Args:
        folder: as :func:`free_folder` gives it.
        text: its manifest.
        read: gives the bytes of one of its files.

    Raises:
        ConfigError: a folder that cannot be made.
        ValueError: a set that is not what its manifest says.
    """
    manifest = parse_manifest(text)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--to {folder}: {folder.parent} cannot be made: {error.strerror}") from error
    with tempfile.TemporaryDirectory(prefix=".moda-pull-", dir=folder.parent) as scratch:
        total = len(text)
        for file in manifest["files"]:
            data = read(file)
            check_file(file, data, manifest)
            write_whole(Path(scratch) / file, data)
            total += len(data)
        write_whole(Path(scratch) / MANIFEST, text)
        if folder.exists():
            folder.rmdir()
        whole = Path(scratch) / "set"
        whole.mkdir()
        for file in (*manifest["files"], MANIFEST):
            (Path(scratch) / file).rename(whole / file)
        shutil.move(whole, folder)
    return Pulled(folder, manifest, total)


def published(sweep: Sweep, point: Point, root: str, *, data_root: str | None = None) -> str:
    """The name of a point's module set in the storage, after making it if nobody did. As :func:`publish`."""
    name = set_name(sweep, point)
    if not Files(root).exists(f"modules/{name}/{MANIFEST}"):
        publish(sweep, point, root, data_root=data_root)
    return name


def publish(sweep: Sweep, point: Point, root: str, *, data_root: str | None = None) -> None:
    """Make a point's module set in the storage, proven on validation images. Arguments as for :func:`pull`."""
    point, state = point.own, point.trial
    config = sweep.config.for_trial(state.number, state.coefficients)
    trial = Trial(sweep.sweep_id, state.number, state.coefficients, config, root)
    data = load_data(data_here(config.data, data_root))
    trained = load_trained(trial, data)
    masks = choice_masks(trained, point.choice, config.evaluation)
    images = data.validation[torch.arange(min(CHECK_IMAGES, len(data.validation)))]
    about = {
        "sweep": sweep.sweep_id,
        "trial": trial.trial_id,
        "coefficients": dict(state.coefficients),
        **point.choice.columns,
        "floor": config.evaluation.floor,
        "data": config.data.name,
        "full_parameters": sum(one.numel() for one in trained.network.parameters()),
        "config": to_plain(dataclasses.replace(config, storage="")),
        "validation": point.metrics,
        "test": point.test,
        "versions": package_versions(),
    }
    card = model_card(sweep, point, data.class_names, data.preprocessing()["shape"])
    files = Files(root)
    name = set_name(sweep, point)
    with tempfile.TemporaryDirectory(prefix="moda-publish-") as scratch:
        save_modules(
            Path(scratch),
            trained.network,
            trained.layers,
            masks,
            images,
            class_names=data.class_names,
            preprocessing=data.preprocessing(),
            about=json.loads(json.dumps(about)),
            documents={CARD: card.encode()},
        )
        for file in sorted(Path(scratch).iterdir(), key=lambda one: one.name == MANIFEST):
            files.write(f"modules/{name}/{file.name}", file.read_bytes())


def data_here(config: DataConfig, data_root: str | None) -> DataConfig:
    """The recorded data set where it lies on this machine: as told, as recorded, or where MODA_DATA_DIR says."""
    recorded = config.root
    if data_root is None and recorded is not None and not Path(recorded).expanduser().is_dir():
        data_root = os.environ.get("MODA_DATA_DIR")
    return config if data_root is None else dataclasses.replace(config, root=data_root)


def set_name(sweep: Sweep, point: Point) -> str:
    """The module set's name in the storage."""
    chosen = (f"{name}{value:.12g}" for name, value in point.choice.values.items())
    return "-".join([point.trial.trial_id, *chosen])
