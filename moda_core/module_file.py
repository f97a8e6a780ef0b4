"""A module set on disk: one network cut to the union of all class masks, and each class's units.

``weights.safetensors`` holds the cut network's tensors and the class masks, ``manifest.json`` everything else: the
graph as allow-listed operations, the classes, the preprocessing, size and sha256 of every file. The manifest is
written last, so its existence means that the set is whole. Any subset of classes is a slice of the set, and loading
runs no model code: this package is all it needs. Files are treated as hostile: names, sizes, hashes, operations and
shapes are checked before anything is allocated from them.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, fx, nn

from moda_core.extract import LARGEST_DIFFERENCE, cut_graph, largest_difference, mask_network
from moda_core.graph import ChannelGraph
from moda_core.held import Held, held_channels
from moda_core.manifest import (
    FILE_NAME,
    LARGEST_MANIFEST,
    MANIFEST,
    SCHEMA_VERSION,
    WEIGHTS,
    check_file,
    check_preprocessing,
    graph_from_json,
    node_to_json,
    parse_manifest,
)
from moda_core.masks import merge_masks
from moda_core.reading import channel_graph
from moda_core.slices import slice_state, stored_shape
from moda_core.units import UnitLayers

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Modules(nn.Module):
    """A composed module, as loaded from disk: images in, one logit a class out.

    Attributes:
        class_names: the classes, in the order of the logits.
        manifest: what the set's manifest says.
    """

    def __init__(self, network: fx.GraphModule, class_names: list[str], manifest: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.class_names = class_names
        self.manifest = manifest

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of preprocessed images (B, ch, H, W)."""
        logits: Tensor = self.network(images)
        return logits

    def preprocess(self, images: Tensor) -> Tensor:
        """uint8 images (B, ch, H, W) as the network was trained on them: scaled to [0, 1], normalised by channel."""
        recipe = self.manifest["preprocessing"]
        if list(images.shape[1:]) != recipe["shape"] or images.dtype != torch.uint8:
            raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; expected uint8 (B, {recipe['shape']})")
        mean, std = (images.new_tensor(recipe[key], dtype=torch.float32).view(1, -1, 1, 1) for key in ("mean", "std"))
        return (images.float() / 255 - mean) / std

    @torch.no_grad()
    def classify(self, images: Tensor) -> list[str]:
        """The class name of each uint8 image (B, ch, H, W)."""
        return [self.class_names[index] for index in self(self.preprocess(images)).argmax(1).tolist()]


@dataclass(frozen=True)
class Saved:
    """What was written: the measured difference between cut and masked logits, and the bytes."""

    difference: float
    bytes: int


def save_modules(
    path: str | os.PathLike[str],
    network: nn.Module,
    layers: UnitLayers,
    masks: Sequence[Tensor],
    check_images: Tensor,
    *,
    class_names: Sequence[str],
    preprocessing: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
    documents: Mapping[str, bytes] | None = None,
) -> Saved:
    """Write the module set of ``masks`` to the folder ``path``.

    Args:
        path: a folder; made if missing. A folder that already holds a manifest is refused.
        network: the trained network, float32.
        layers: its unit layers.
        masks: L boolean tensors of (C, N_l).
        check_images: (B, ch, H, W) float32, for the proof that the set says what the masked network says.
        class_names: C different names, indexed by class id.
        preprocessing: ``shape`` [ch, H, W], ``mean`` and ``std`` a channel, of images scaled to [0, 1].
        about: anything else that JSON can hold, recorded under "about".
        documents: other files to keep beside the weights, by name: a model card.

    Raises:
        ValueError: the folder is taken, names that are not C different ones, or a set whose logits differ from the
            masked network's by more than 1e-4 of the largest; nothing is published then.
    """
    folder = Path(path)
    if (folder / MANIFEST).exists():
        raise ValueError(f"{folder} already holds a module set; choose another folder")
    check_preprocessing(preprocessing)
    graph, state = channel_graph(network, layers, check_images)
    if len(class_names) != graph.output.channels or len(set(class_names)) != len(class_names):
        raise ValueError(f"class_names={list(class_names)} must be {graph.output.channels} different names")
    union = held_union(graph, masks)
    tensors = {f"state.{key}": value.cpu() for key, value in slice_state(graph, state, union).items()}
    tensors |= {f"mask.{index}": mask_CN.cpu() for index, mask_CN in enumerate(masks)}
    weights = safetensors.torch.save(tensors)
    documents = dict(documents or {})
    if wrong := [name for name in documents if not FILE_NAME.fullmatch(name) or name in (MANIFEST, WEIGHTS)]:
        raise ValueError(f"documents: {wrong[0]!r} is no name for a file beside {WEIGHTS}; like model_card.md")
    files = {**documents, WEIGHTS: weights}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "class_names": list(class_names),
        "preprocessing": dict(preprocessing),
        "graph": {"widths": list(graph.widths), "nodes": [node_to_json(node) for node in graph.nodes]},
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
        "about": dict(about or {}),
    }
    difference = _prove(network, layers, masks, check_images, manifest, weights)
    manifest["cut_masked_difference"] = difference
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_whole(folder / name, data)
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False).encode()
    write_whole(folder / MANIFEST, text)
    return Saved(difference, sum(map(len, files.values())) + len(text))


def load_modules(path: str | os.PathLike[str], classes: Sequence[str] | None = None) -> Modules:
    """The composed module of ``classes`` from a module set on disk, in eval mode on the CPU.

    Args:
        path: the folder.
        classes: class names, in the order wanted of the logits; None: all of the set's.

    Raises:
        ValueError: no module set there, a class it does not have, or files that are not what the manifest says.
    """
    return open_modules(path).compose(classes)


def open_modules(path: str | os.PathLike[str]) -> "ModuleSet":
    """The module set on disk, read and checked once; ``.compose(classes)`` gives any subset of its classes.

    Raises:
        ValueError: as :func:`load_modules`. Also for several sets: classes together need weights that no class has
            alone, so modules of different sets cannot be merged exactly.
    """
    if isinstance(path, list | tuple | set):
        raise ValueError(
            f"{len(path)} module sets cannot be merged: classes together need weights between their units that no set"
            " of fewer classes holds; pull one set with all of these classes and name them: load_modules(path, classes)"
        )
    manifest = read_manifest(path)
    return _read_set(manifest, _read_checked(Path(path), WEIGHTS, manifest))


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of the module set in the folder ``path``, checked for form."""
    file = Path(path) / MANIFEST
    if not file.is_file():
        raise ValueError(f"{path} holds no module set: there is no {MANIFEST} in it")
    if file.stat().st_size > LARGEST_MANIFEST:
        raise ValueError(f"{file} has {file.stat().st_size} bytes; a manifest has at most {LARGEST_MANIFEST}")
    return parse_manifest(file.read_bytes())


def write_whole(file: Path, data: bytes) -> None:
    """Write a file that is either not there or whole."""
    part = file.with_name(file.name + ".part")
    with part.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def _read_checked(folder: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    file = folder / name
    if not file.is_file() or file.is_symlink():
        raise ValueError(f"{folder} lacks the file {name}")
    if file.stat().st_size != manifest["files"][name]["bytes"]:
        raise ValueError(
            f"{file} has {file.stat().st_size} bytes, the manifest says {manifest['files'][name]['bytes']}"
        )
    data = file.read_bytes()
    check_file(name, data, manifest)
    return data


@dataclass(frozen=True)
class ModuleSet:
    """A set read and checked once, from which any subset of classes is composed.

    Attributes:
        manifest: what the set's manifest says; ``class_names`` in it.
        graph: the network's channel graph.
        masks: L boolean tensors of (C, N_l).
        union: what the set holds: all that any of its modules needs.
        state: its tensors.
    """

    manifest: dict[str, Any]
    graph: ChannelGraph
    masks: list[Tensor]
    union: Held
    state: dict[str, Tensor]

    def compose(self, classes: Sequence[str] | None = None) -> Modules:
        """The composed module of ``classes`` (None: all of the set's), logits in that order."""
        names = {name: index for index, name in enumerate(self.manifest["class_names"])}
        wanted = list(names) if classes is None else list(classes)
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise ValueError(f"classes {unknown} are not in this module set; it has {list(names)}")
        if len(set(wanted)) != len(wanted):
            raise ValueError(f"classes={wanted} names a class twice")
        class_ids = [names[name] for name in wanted]
        network = cut_graph(self.graph, self.state, merge_masks(self.masks, class_ids), class_ids, held=self.union)
        return Modules(network, wanted, self.manifest).eval()


def _read_set(manifest: dict[str, Any], weights: bytes) -> ModuleSet:
    graph = graph_from_json(manifest.get("graph"))
    names = manifest["class_names"]
    if len(names) != graph.output.channels:
        raise ValueError(f"{MANIFEST} names {len(names)} classes, its graph has {graph.output.channels} logits")
    try:
        tensors = safetensors.torch.load(weights)
    except (safetensors.SafetensorError, KeyError, RuntimeError, OverflowError, ValueError) as error:
        raise ValueError(f"{WEIGHTS} is no safetensors file: {error}") from error
    masks = _checked_masks(tensors, graph)
    union = held_union(graph, masks)
    return ModuleSet(manifest, graph, masks, union, _checked_state(tensors, graph, union))


def held_union(graph: ChannelGraph, masks: Sequence[Tensor]) -> Held:
    union = [mask_CN.cpu().any(0, keepdim=True) for mask_CN in masks]
    every = torch.ones(1, graph.output.channels, dtype=torch.bool)
    return held_channels(graph, union, every, fold=False).row(0)


def _checked_masks(tensors: Mapping[str, Tensor], graph: ChannelGraph) -> list[Tensor]:
    masks = []
    for index, width in enumerate(graph.widths):
        mask_CN = tensors.get(f"mask.{index}")
        shape = (graph.output.channels, width)
        if mask_CN is None or mask_CN.dtype != torch.bool or tuple(mask_CN.shape) != shape:
            raise ValueError(f"{WEIGHTS}: mask.{index} is missing or not bool {shape}")
        masks.append(mask_CN)
    return masks


def _checked_state(tensors: Mapping[str, Tensor], graph: ChannelGraph, union: Held) -> dict[str, Tensor]:
    state = {}
    for node in (graph.by_name[name] for name in graph.calls):
        for name in node.tensors():
            key, shape = f"{node.name}.{name}", stored_shape(graph, node, name, union)
            tensor = tensors.get(f"state.{key}")
            if tensor is None or tensor.dtype not in FLOATING or tuple(tensor.shape) != shape:
                raise ValueError(f"{WEIGHTS}: {key} is missing or has not the shape {shape} that the graph gives it")
            state[key] = tensor
    if len({tensor.dtype for tensor in state.values()}) != 1:
        raise ValueError(f"{WEIGHTS}: tensors of different types; expected one")
    return state


def _prove(
    network: nn.Module,
    layers: UnitLayers,
    masks: Sequence[Tensor],
    images: Tensor,
    manifest: dict[str, Any],
    weights: bytes,
) -> float:
    """The largest difference, over all classes together and pairs of neighbours, from the very bytes to be written."""
    names = manifest["class_names"]
    subsets = [list(range(len(names)))] + [[one, (one + 1) % len(names)] for one in range(len(names)) if len(names) > 2]
    written = _read_set(manifest, weights)
    differences = []
    for class_ids in subsets:
        loaded = written.compose([names[class_id] for class_id in class_ids]).to(images.device)
        masked = mask_network(network, layers, merge_masks(masks, class_ids), class_ids)
        difference = largest_difference(masked, loaded, images)
        if not difference <= LARGEST_DIFFERENCE:  # also when it is no number
            raise ValueError(
                f"cut and masked logits of classes {class_ids} differ by {difference:.2e} of the largest; at most"
                f" {LARGEST_DIFFERENCE} is published"
            )
        differences.append(difference)
    return max(differences)
