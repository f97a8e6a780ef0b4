"""Which units each class keeps, read from the module sets that are published in the storage."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from orchestrator.results.sweep import ROLES, Sweep
from orchestrator.storage import WEIGHTS, Files, set_file

MANIFEST, MASK = "manifest.json", "mask."  # of a module set's files, and of the names of its tensors


@dataclass(frozen=True)
class KeptUnits:
    """The units of a published module set.

    Attributes:
        point: the label of its point.
        class_names: indexed by class id.
        layers: the names of the unit layers.
        masks: of each layer (C, N_l) bool, what each class keeps.
        why_not: a message that says why they cannot be read; else empty.
    """

    point: str
    class_names: Sequence[str] = ()
    layers: Sequence[str] = ()
    masks: Sequence[npt.NDArray[np.bool_]] = ()
    why_not: str = ""

    @property
    def all_CN(self) -> npt.NDArray[np.bool_]:
        """What each class keeps of all layers together."""
        return np.concatenate(self.masks, axis=1)

    @property
    def overlaps_CC(self) -> npt.NDArray[np.float64]:
        """The units that two classes both keep as a share of those that either keeps (Jaccard index)."""
        kept_CN = self.all_CN.astype(np.float64)
        both_CC = kept_CN @ kept_CN.T
        counts_C = kept_CN.sum(1)
        either_CC = counts_C[:, None] + counts_C[None, :] - both_CC
        overlaps_CC: npt.NDArray[np.float64] = both_CC / np.maximum(either_CC, 1)
        return overlaps_CC


def read_kept_units(sweep: Sweep, files: Files) -> list[KeptUnits]:
    """Read which units the classes keep at best and knee, where their module sets are published; each point once."""
    points = {point.label: point for point in (sweep.find(role) for role in ROLES)} if sweep.front else {}
    found = []
    for label, point in points.items():
        name = point.own.set_name
        if files.exists(set_file(name, MANIFEST)):
            found.append(_read(label, name, files))
    return found


def _read(label: str, name: str, files: Files) -> KeptUnits:
    try:
        manifest = json.loads(files.read(set_file(name, MANIFEST)))
        tensors = load(files.read(set_file(name, WEIGHTS)))
        masks = [tensors[f"{MASK}{index}"] for index in range(sum(key.startswith(MASK) for key in tensors))]
        by_layer = {node["unit_layer"]: str(node["name"]) for node in manifest["graph"]["nodes"]}
        layers = [by_layer.get(index, str(index)) for index in range(len(masks))]
        names = [str(class_name) for class_name in manifest["class_names"]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        return KeptUnits(label, why_not=f"module set {name} cannot be read ({type(error).__name__}: {error!s:.100})")
    if not masks or any(mask.dtype != np.bool_ or mask.ndim != 2 or len(mask) != len(names) for mask in masks):
        return KeptUnits(label, why_not=f"module set {name} holds no masks of its {len(names)} classes")
    return KeptUnits(label, names, layers, masks)
