"""A network with a class replaced, in a folder: both module sets, the trained layer, and a manifest written last.

``weak/`` and ``module/`` are module sets, ``head.safetensors`` holds ``weight`` (N, N) and ``bias`` (N), and
``replaced.json`` says which class was replaced, the order of the classes, and size and sha256 of the layer's file. As
with a module set nothing of it is trusted.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from moda_core.errors import ModuleSetError
from moda_core.placing import new_folder, write_whole
from moda_core.sets.classifier import Classifier
from moda_core.sets.manifest import strict_json
from moda_core.sets.module_file import load_modules
from moda_core.sets.preprocessing import Preprocessing
from moda_core.sets.replacement import RawImages, ReplacedClass
from moda_core.sets.saving import slice_modules
from moda_core.sets.tensor_file import read_tensors

REPLACED = "replaced.json"
HEAD = "head.safetensors"
WEAK, MODULE = "weak", "module"
SCHEMA_VERSION = 1
LARGEST_FILE = 2**24  # bytes of the manifest; of a layer of 1,000 classes there are 4 million


class ReplacedModules(Classifier):
    """A network with a class replaced, as loaded from disk.

    Attributes:
        replaced: the name of the class that comes from the other network.
        network: takes uint8 images (B, ch, H, W) of the weak network's size and returns a logit for each class.
    """

    def __init__(self, network: ReplacedClass, weak: Classifier, replaced: str) -> None:
        super().__init__(weak.class_names)
        self.network = network
        self.replaced = replaced
        self._recipe = weak.recipe

    @property
    def recipe(self) -> Preprocessing:
        """How images become what the network takes: the weak network's."""
        return self._recipe

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, N) of uint8 images (B, ch, H, W)."""
        return self.logits_of(images)

    def logits_of(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network(pixels)
        return logits

    def least_logits(self) -> Tensor:
        raise ValueError("of a network with a replaced class it is not known which images are of none of its classes")


def save_replaced(
    path: str | os.PathLike[str],
    head: nn.Linear,
    weak: str | os.PathLike[str],
    strong: str | os.PathLike[str],
    *,
    class_names: list[str],
    class_name: str,
) -> int:
    """Write a network with a class replaced to the folder ``path``, whole or not at all.

    Args:
        path: a new folder.
        head: the trained layer, of :class:`moda_core.ReplacedClass`.
        weak: the folder of the module set whose class was replaced.
        strong: the folder of the set that gave the module; only its class is kept.
        class_names: in the order of the layer's logits.
        class_name: the class.

    Returns:
        Bytes written.

    Raises:
        ModuleSetError: the folder is taken, or the sets cannot be read.
    """
    if Path(path).exists():
        raise ModuleSetError(f"{path} is there already; choose another folder")
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in head.state_dict().items()}
    data = safetensors.torch.save(tensors)
    about = {
        "schema_version": SCHEMA_VERSION,
        "class_name": class_name,
        "class_names": class_names,
        "head": {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
    }
    try:
        with new_folder(Path(path)) as part:
            slice_modules(weak, part / WEAK, class_names)
            slice_modules(strong, part / MODULE, [class_name])
            write_whole(part / HEAD, data)
            write_whole(part / REPLACED, json.dumps(about, indent=1).encode())
            return sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
    except FileExistsError as error:
        raise ModuleSetError(f"{path} was created by another process in the meantime; choose another folder") from error


def load_replaced(path: str | os.PathLike[str]) -> ReplacedModules:
    """Load a network with a class replaced, in eval mode on the CPU.

    Raises:
        ModuleSetError: no such network there, or files that are not what its manifest says.
    """
    folder = Path(path)
    about = _read_manifest(folder)
    names, name = about["class_names"], about["class_name"]
    data = _read(folder, HEAD)
    if len(data) != about["head"].get("bytes") or hashlib.sha256(data).hexdigest() != about["head"].get("sha256"):
        raise ModuleSetError(f"{folder}: {HEAD} is not what {REPLACED} says; it was changed or cut short")
    tensors = read_tensors(data, ["weight", "bias"])
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if shapes != {"weight": (len(names), len(names)), "bias": (len(names),)}:
        raise ModuleSetError(f"{folder}: {HEAD} holds {shapes}, not a layer of {len(names)} classes")
    weak, module = load_modules(folder / WEAK, names), load_modules(folder / MODULE, [name])
    if weak.recipe.shape != module.recipe.shape:
        raise ModuleSetError(f"{folder}: {WEAK} takes images of {weak.recipe.shape}, {MODULE} of {module.recipe.shape}")
    head: nn.Linear = nn.utils.skip_init(nn.Linear, len(names), len(names))
    head.load_state_dict(tensors)
    network = ReplacedClass(RawImages(weak), RawImages(module), head, names.index(name))
    return ReplacedModules(network, weak, name).eval()


def is_replaced(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a network with a class replaced."""
    return (Path(path) / REPLACED).is_file()


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        about = strict_json(_read(folder, REPLACED))
    except ValueError as error:
        raise ModuleSetError(f"{folder}: {REPLACED}: {error}") from error
    if not isinstance(about, dict):
        raise ModuleSetError(f"{folder}: {REPLACED} is not an object")
    names = about.get("class_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModuleSetError(f"{folder}: {REPLACED} has no list of the names of its classes")
    if about.get("class_name") not in names or not isinstance(about.get("head"), dict):
        raise ModuleSetError(f"{folder}: {REPLACED} does not name a class of its classes and its layer")
    if about.get("schema_version") != SCHEMA_VERSION:
        raise ModuleSetError(f"{folder}: {REPLACED} has schema_version {about.get('schema_version')!r:.20}, not 1")
    return about


def _read(folder: Path, name: str) -> bytes:
    file = folder / name
    if not file.is_file() or file.is_symlink():
        raise ModuleSetError(f"{folder} lacks the file {name}")
    if file.stat().st_size > LARGEST_FILE:
        raise ModuleSetError(f"{folder}: {name} has {file.stat().st_size} bytes; at most {LARGEST_FILE} are read")
    return file.read_bytes()
