"""A module set on disk: one network cut to the union of all class masks, and each class's units.

``weights.safetensors`` holds the cut network's tensors and what each class keeps (:mod:`moda_core.sets.decomposed`),
``manifest.json`` everything else: the graph as allow-listed operations, the classes, the preprocessing, size and sha256
of every file. The manifest is written last, so its existence means that the set is whole. Any subset of classes is a
slice of the set, and loading runs no model code: this package is all it needs. Files are treated as hostile: names,
sizes, hashes, operations and shapes are checked before anything is allocated from them.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, fx

from moda_core.choosing import Decomposition, Masks, as_decomposition
from moda_core.cutting import Held, cut_graph, held_channels, slice_state, stored_shape
from moda_core.errors import GraphError, ModuleSetError, listed
from moda_core.graph import ChannelGraph, Node
from moda_core.sets.classifier import Classifier
from moda_core.sets.decomposed import expected_tensors, read_decomposition
from moda_core.sets.layout import MANIFEST, WEIGHTS
from moda_core.sets.manifest import check_file, check_manifest_size, check_size, graph_from_json, parse_manifest
from moda_core.sets.preprocessing import Pictures, Preprocessing
from moda_core.sets.tensor_file import read_tensors


class Modules(Classifier):
    """A composed module, as loaded from disk: it takes images and returns one logit per class.

    Attributes:
        class_names: the classes, in the order of the logits.
        manifest: what the set's manifest says.
    """

    def __init__(self, network: fx.GraphModule, class_names: list[str], manifest: dict[str, Any]) -> None:
        super().__init__(class_names)
        self.network = network
        self.manifest = manifest

    @property
    def recipe(self) -> Preprocessing:
        """How images become what the network takes, as the manifest says."""
        return Preprocessing.of(self.manifest["preprocessing"])

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, classes) of preprocessed images (B, ch, H, W)."""
        logits: Tensor = self.network(images)
        return logits

    def preprocess(self, images: Pictures) -> Tensor:
        """Prepare images as in training: float32 (B, ch, H, W), on the device of tensors that are given.

        Args:
            images: as for :meth:`classify`.

        Raises:
            ValueError: something that is not an image, named.
        """
        return self.recipe.normalise(self.recipe.pixels(images))

    def logits_of(self, pixels: Tensor) -> Tensor:
        """Return the logits (B, classes) of uint8 images (B, ch, H, W) of the network's size."""
        logits: Tensor = self(self.recipe.normalise(pixels))
        return logits

    def least_logits(self) -> Tensor:
        """Return the least logit of each of the module's classes that is not rejected: (classes,).

        Raises:
            ValueError: a set that was published without.
        """
        rejection = self.manifest.get("rejection")
        if rejection is None:
            raise ValueError(
                "this module set says nothing of images of other classes; pull its point from a storage where it was"
                " not pulled before"
            )
        least = dict(zip(self.manifest["class_names"], rejection["least_logits"], strict=True))
        return torch.tensor([least[name] for name in self.class_names])


def load_modules(path: str | os.PathLike[str], classes: Sequence[str] | None = None) -> Modules:
    """Load the composed module of ``classes`` from a module set on disk, in eval mode on the CPU.

    Args:
        path: the folder.
        classes: class names, in the order wanted of the logits; None: all of the set's.

    Raises:
        ModuleSetError: no module set there, a class it does not have, or files that are not what the manifest says.
    """
    return open_modules(path).compose(classes)


def open_modules(path: str | os.PathLike[str]) -> "ModuleSet":
    """Open a module set on disk: it is read and checked once, and ``.compose(classes)`` returns any subset of its
    classes.

    Raises:
        ModuleSetError: as :func:`load_modules`. Also for several sets: classes together need weights that no class
            has alone, so modules of different sets cannot be merged exactly.
    """
    if isinstance(path, list | tuple | set):
        raise ModuleSetError(
            f"{len(path)} module sets cannot be merged: classes together need weights between their units that no set"
            " of fewer classes holds; pull one set with all of these classes and name them: load_modules(path, classes)"
        )
    manifest = read_manifest(path)
    return read_set(manifest, read_file(path, WEIGHTS, manifest))


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the manifest of the module set in the folder ``path`` and check its form."""
    file = Path(path) / MANIFEST
    check_manifest_size(path, _size(file))
    return parse_manifest(_read(file))


def read_file(path: str | os.PathLike[str], name: str, manifest: Mapping[str, Any]) -> bytes:
    """Read a file of the module set in the folder ``path``, checked against its manifest."""
    file = Path(path) / name
    check_size(path, name, _size(file), manifest)
    data = _read(file)
    check_file(name, data, manifest)
    return data


def _size(file: Path) -> int | None:
    """The bytes of a file, None where there is none: what is a link leads out of the set."""
    return file.stat().st_size if file.is_file() and not file.is_symlink() else None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ModuleSetError(f"{file} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class ModuleSet:
    """A module set that is read and checked once, and from which any subset of classes can be composed.

    Attributes:
        manifest: what the set's manifest says; ``class_names`` in it.
        graph: the network's channel graph.
        decomposition: what each of the set's classes keeps, with its scales and bias.
        union: what the set holds: all that any of its modules needs.
        state: its tensors.
    """

    manifest: dict[str, Any]
    graph: ChannelGraph
    decomposition: Decomposition
    union: Held
    state: dict[str, Tensor]

    def compose(self, classes: Sequence[str] | None = None) -> Modules:
        """Compose the module of ``classes`` (None: all of the set's), with the logits in that order."""
        wanted = self.manifest["class_names"] if classes is None else _names(classes)
        class_ids = self._class_ids(wanted)
        network = cut_graph(self.graph, self.state, self.decomposition, class_ids, held=self.union)
        return Modules(network, list(wanted), self.manifest).eval()

    def slice(self, classes: Sequence[str]) -> "ModuleSet":
        """Return the set of these classes alone, with the units and tensors that they need."""
        classes = _names(classes)
        class_ids, last = self._class_ids(classes), self.graph.output
        name = "slice"
        while name in self.graph.by_name:
            name += "_"
        chosen = Node(name, "select", (last.name,), len(class_ids), last.size, {"index": class_ids})
        graph = ChannelGraph((*self.graph.nodes, chosen), self.graph.widths)
        decomposition = self.decomposition.select(class_ids)
        union = held_union(graph, decomposition)
        about = {**self.manifest.get("about", {}), "slice_of": self.manifest["class_names"]}
        manifest = {**self.manifest, "class_names": list(classes), "about": about}
        if rejection := manifest.get("rejection"):
            least = [rejection["least_logits"][index] for index in class_ids]
            manifest["rejection"] = {**rejection, "least_logits": least}
        return ModuleSet(manifest, graph, decomposition, union, slice_state(graph, self.state, union, self.union))

    def _class_ids(self, classes: Sequence[str]) -> list[int]:
        names = {name: index for index, name in enumerate(self.manifest["class_names"])}
        unknown = [name for name in classes if name not in names]
        if unknown:
            raise ModuleSetError(f"classes {listed(unknown)} are not in this module set; it has {listed(names)}")
        if not classes:
            raise ModuleSetError(f"classes=[] names none; this module set has {listed(names)}")
        if len(set(classes)) != len(classes):
            raise ModuleSetError(f"classes={listed(classes)} names a class twice")
        return [names[name] for name in classes]


def _names(classes: Sequence[object]) -> list[str]:
    """Names of classes: those that are numbers may be given as numbers."""
    return [str(name) if isinstance(name, int) and not isinstance(name, bool) else cast(str, name) for name in classes]


def read_set(manifest: dict[str, Any], weights: bytes) -> ModuleSet:
    """Read a set from its manifest and the bytes of its weights, checked against each other.

    Raises:
        ModuleSetError: they are not one set.
    """
    graph = graph_from_json(manifest.get("graph"))
    names, image = manifest["class_names"], graph.nodes[0]
    if len(names) != graph.output.channels:
        raise ModuleSetError(f"{MANIFEST} names {len(names)} classes, its graph has {graph.output.channels} logits")
    if (shape := list(manifest["preprocessing"]["shape"])) != [image.channels, *image.size]:
        raise ModuleSetError(f"{MANIFEST}: images are {shape}, its graph takes {[image.channels, *image.size]}")
    state_names = [f"state.{name}.{tensor}" for name in graph.calls for tensor in graph.by_name[name].tensors()]
    tensors = read_tensors(weights, [*expected_tensors(manifest, graph), *state_names])
    decomposition = read_decomposition(tensors, manifest, graph)
    try:
        union = held_union(graph, decomposition)
    except GraphError as error:
        raise ModuleSetError(f"{MANIFEST}: {error}") from error
    return ModuleSet(manifest, graph, decomposition, union, _checked_state(tensors, graph, union))


def held_union(graph: ChannelGraph, masks: Masks) -> Held:
    """What the modules of all classes hold together, and of any of them, so that each is a slice of it."""
    union = [mask_CN.cpu().any(0, keepdim=True) for mask_CN in as_decomposition(masks).keep]
    every = torch.ones(1, graph.output.channels, dtype=torch.bool)
    return held_channels(graph, union, every, fold=False).row(0)


def _checked_state(tensors: Mapping[str, Tensor], graph: ChannelGraph, union: Held) -> dict[str, Tensor]:
    state = {}
    for node in (graph.by_name[name] for name in graph.calls):
        for name in node.tensors():
            key, shape = f"{node.name}.{name}", stored_shape(graph, node, name, union)
            tensor = tensors[f"state.{key}"]
            if tensor.dtype == torch.bool or tuple(tensor.shape) != shape:
                raise ModuleSetError(f"{WEIGHTS}: {key} has not the shape {shape} that the graph gives it")
            state[key] = tensor
    if len({tensor.dtype for tensor in state.values()}) != 1:
        raise ModuleSetError(f"{WEIGHTS}: tensors of different types; expected one")
    return state
