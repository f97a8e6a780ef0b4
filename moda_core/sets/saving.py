"""Writing a module set: from a trained network and masks, or from some classes of a set that is there already."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from moda_core.choosing import Decomposition, Masks, as_decomposition, mask_network
from moda_core.cutting import LARGEST_DIFFERENCE, largest_difference, slice_state
from moda_core.errors import ModuleSetError, NetworkError, listed
from moda_core.graph import TRAINABLE, ChannelGraph, channel_graph
from moda_core.placing import new_folder, write_whole
from moda_core.sets.decomposed import decomposition_tensors, version_keys
from moda_core.sets.layout import FILE_NAME, MANIFEST, WEIGHTS
from moda_core.sets.manifest import check_preprocessing, node_to_json, parse_manifest
from moda_core.sets.module_file import ModuleSet, held_union, open_modules, read_file, read_set
from moda_core.units import UnitLayers


@dataclass(frozen=True)
class Saved:
    """What was written: the measured difference between cut and masked logits, and the bytes."""

    difference: float
    bytes: int


def save_modules(
    path: str | os.PathLike[str],
    network: nn.Module,
    layers: UnitLayers,
    masks: Masks,
    check_images: Tensor,
    *,
    class_names: Sequence[str],
    preprocessing: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
    rejection: Mapping[str, Any] | None = None,
    documents: Mapping[str, bytes] | None = None,
    subsets: Sequence[Sequence[int]] | None = None,
) -> Saved:
    """Write the module set of ``masks`` to the folder ``path``.

    Args:
        path: a new folder, or an empty one. It holds the whole set or nothing, also where several write to it at once.
        network: the trained network, float32.
        layers: its unit layers.
        masks: L boolean tensors of (C, N_l), or a decomposition.
        check_images: (B, ch, H, W) float32, for the proof that the set says what the masked network says.
        class_names: C different names, indexed by class id.
        preprocessing: ``shape`` [ch, H, W], ``mean`` and ``std`` a channel, of images scaled to [0, 1]. Where other
            images than of that size are to be classified also ``fit``, ``resize`` and ``background``, as
            :class:`moda_core.sets.Preprocessing` describes them.
        about: anything else that JSON can hold, recorded under "about".
        rejection: ``least_logits``, from :func:`moda_core.least_logits`: below its own a class is not claimed; None
            for a set that cannot reject images.
        documents: other files to keep beside the weights, by name: a model card.
        subsets: class ids of the modules that are proven; None: of all classes together and of each pair of neighbours.

    Raises:
        ModuleSetError: the folder is taken.
        NetworkError: a network that cannot be cut, or whose logits are not finite numbers.
        ValueError: names that are not C different ones, or a set whose logits differ from the masked network's by more
            than 1e-4 of the largest. Whatever is raised, nothing is published then.
    """
    folder = _free(path)
    check_preprocessing(preprocessing)
    graph, state = channel_graph(network, layers, check_images)
    if len(class_names) != graph.output.channels or len(set(class_names)) != len(class_names):
        raise ValueError(f"class_names={listed(class_names)} must be {graph.output.channels} different names")
    decomposition = as_decomposition(masks)
    union = held_union(graph, decomposition)
    tensors = slice_state(graph, state, union)
    if wrong := [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]:
        raise NetworkError(
            f"{type(network).__name__}: the tensors of {listed(wrong)} hold NaN or infinity: its training went wrong;"
            " nothing is published"
        )
    manifest = {"class_names": list(class_names), "preprocessing": dict(preprocessing), "about": dict(about or {})}
    if rejection is not None:
        manifest["rejection"] = dict(rejection)
    packed = _pack(graph, tensors, decomposition, manifest, documents or {})
    proven = _neighbours(len(class_names)) if subsets is None else subsets
    difference = _prove(packed, network, layers, decomposition, check_images, proven)
    packed.manifest["cut_masked_difference"] = difference
    return Saved(difference, packed.write(folder))


def slice_modules(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    classes: Sequence[str],
    *,
    documents: Mapping[str, bytes] | None = None,
) -> Saved:
    """Write some classes of the module set in the folder ``source`` as a smaller set of their own, with the same
    logits.

    Args:
        source: the folder of a module set.
        path: as for :func:`save_modules`.
        classes: names, in the order wanted of the logits.
        documents: other files to keep beside the weights, by name; None: those of the set.

    Raises:
        ModuleSetError: as :func:`moda_core.load_modules`, and a set whose logits are not finite numbers.
        ValueError: as :func:`save_modules`.
    """
    folder, whole = _free(path), open_modules(source)
    part = whole.slice(classes)
    if documents is None:
        names = [name for name in whole.manifest["files"] if name != WEIGHTS]
        documents = {name: read_file(source, name, whole.manifest) for name in names}
    packed = _pack(part.graph, part.state, part.decomposition, part.manifest, documents)
    source_node = part.graph.nodes[0]  # its size is capped; what the manifest says of images is not
    images = torch.randn(2, source_node.channels, *source_node.size, generator=torch.Generator().manual_seed(0))
    dtype = next(iter(part.state.values())).dtype
    written = packed.read().compose()
    difference = largest_difference(whole.compose(classes), written, images.to(dtype))
    if not math.isfinite(difference):
        raise ModuleSetError(f"{source} gives logits that are not finite numbers; it cannot be sliced")
    if difference > LARGEST_DIFFERENCE:
        raise ValueError(f"{source}: the slice's logits differ from the set's by {difference:.2e} of the largest")
    return Saved(part.manifest["cut_masked_difference"], packed.write(folder))


@dataclass(frozen=True)
class _Packed:
    """A set's bytes: its manifest, which is not yet written, and its files by name."""

    manifest: dict[str, Any]
    files: dict[str, bytes]

    def read(self) -> ModuleSet:
        """The set that these very bytes are."""
        return read_set(self.manifest, self.files[WEIGHTS])

    def write(self, folder: Path) -> int:
        """Write the files, all or none; returns how many bytes."""
        text = json.dumps(self.manifest, indent=1, sort_keys=True, allow_nan=False).encode()
        parse_manifest(text)  # refuses what reading would refuse
        try:
            with new_folder(folder) as part:
                for name, data in {**self.files, MANIFEST: text}.items():
                    write_whole(part / name, data)
        except FileExistsError as error:
            raise ModuleSetError(
                f"{folder} was created by another process in the meantime; choose another folder"
            ) from error
        return sum(map(len, self.files.values())) + len(text)


def _pack(
    graph: ChannelGraph,
    state: Mapping[str, Tensor],
    decomposition: Decomposition,
    manifest: Mapping[str, Any],
    documents: Mapping[str, bytes],
) -> _Packed:
    if wrong := [name for name in documents if not FILE_NAME.fullmatch(name) or name in (MANIFEST, WEIGHTS)]:
        raise ValueError(f"documents: {wrong[0]!r:.100} is not a name for a file beside {WEIGHTS}; like model_card.md")
    tensors = {f"state.{key}": value.cpu() for key, value in state.items()}
    tensors |= decomposition_tensors(decomposition)
    files = {**documents, WEIGHTS: safetensors.torch.save(tensors)}
    return _Packed(
        {
            **manifest,
            **version_keys(graph, decomposition),
            "parameters": sum(tensor.numel() for key, tensor in state.items() if key.rpartition(".")[2] in TRAINABLE),
            "graph": {"widths": list(graph.widths), "nodes": [node_to_json(node) for node in graph.nodes]},
            "files": {
                name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
            },
        },
        files,
    )


def _free(path: str | os.PathLike[str]) -> Path:
    folder = Path(path)
    if (folder / MANIFEST).exists():
        raise ModuleSetError(f"{folder} already holds a module set; choose another folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModuleSetError(f"{folder} is not empty; choose another folder")
    return folder


def _neighbours(classes: int) -> list[list[int]]:
    """All classes together, and each pair of neighbours."""
    pairs = [[class_id, (class_id + 1) % classes] for class_id in range(classes)] if classes > 2 else []
    return [list(range(classes)), *pairs]


def _prove(
    packed: _Packed,
    network: nn.Module,
    layers: UnitLayers,
    decomposition: Decomposition,
    images: Tensor,
    subsets: Sequence[Sequence[int]],
) -> float:
    """The largest difference over the modules of ``subsets``, from the very bytes to be written."""
    names = packed.manifest["class_names"]
    written = packed.read()
    differences = []
    for class_ids in subsets:
        loaded = written.compose([names[class_id] for class_id in class_ids]).to(images.device)
        masked = mask_network(network, layers, decomposition, class_ids)
        difference = largest_difference(masked, loaded, images)
        if not math.isfinite(difference):
            raise NetworkError(
                f"{type(network).__name__} gives logits that are not finite numbers for the classes"
                f" {listed(class_ids)}: its training went wrong; nothing is published"
            )
        if difference > LARGEST_DIFFERENCE:
            raise ValueError(
                f"cut and masked logits of classes {listed(class_ids)} differ by {difference:.2e} of the largest; at"
                f" most {LARGEST_DIFFERENCE} is published"
            )
        differences.append(difference)
    return max(differences)
