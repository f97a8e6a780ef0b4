"""What a set keeps of a decomposition: masks, and where there are such, scales and a bias.

In the weights file ``mask.<i>`` is bool (C, N_i). Version 3 of the manifest says under ``decomposition`` whether there
are also ``scale_sums.<i>`` of (C, N_i) with ``scale_counts`` of (C,), and ``bias`` of (C,), all in float64. A set
without them, whose sites are all activations, is written as version 2, byte for byte as before there was a version 3.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from moda_core.choosing import Decomposition, Scales
from moda_core.errors import ModuleSetError
from moda_core.graph import ChannelGraph
from moda_core.sets.layout import MANIFEST, WEIGHTS
from moda_core.sets.manifest import DECOMPOSED_VERSION, SCHEMA_VERSION

TypeAndShape = tuple[torch.dtype, tuple[int, ...]]


def version_keys(graph: ChannelGraph, decomposition: Decomposition) -> dict[str, Any]:
    """The manifest's keys that say which version a set is of, and what it has beside masks."""
    if decomposition.is_plain and not _other_sites(graph):
        return {"schema_version": SCHEMA_VERSION}
    parts = {"scales": decomposition.scales is not None, "bias": decomposition.bias_C is not None}
    return {"schema_version": DECOMPOSED_VERSION, "decomposition": parts}


def decomposition_tensors(decomposition: Decomposition) -> dict[str, Tensor]:
    """The tensors to write. Copies, because sites may share a mask and safetensors refuses that."""
    tensors = {f"mask.{index}": mask_CN for index, mask_CN in enumerate(decomposition.keep)}
    if decomposition.scales is not None:
        tensors |= {f"scale_sums.{i}": sums_CN.double() for i, sums_CN in enumerate(decomposition.scales.sums)}
        tensors["scale_counts"] = decomposition.scales.counts_C.double()
    if decomposition.bias_C is not None:
        tensors["bias"] = decomposition.bias_C.double()
    return {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}


def expected_tensors(manifest: Mapping[str, Any], graph: ChannelGraph) -> dict[str, TypeAndShape]:
    """Type and shape of each tensor that a manifest says its set has of a decomposition."""
    classes = graph.output.channels
    parts = manifest["decomposition"] if manifest["schema_version"] == DECOMPOSED_VERSION else {}
    expected: dict[str, TypeAndShape] = {}
    for index, width in enumerate(graph.widths):
        expected[f"mask.{index}"] = torch.bool, (classes, width)
        if parts.get("scales"):
            expected[f"scale_sums.{index}"] = torch.float64, (classes, width)
    if parts.get("scales"):
        expected["scale_counts"] = torch.float64, (classes,)
    if parts.get("bias"):
        expected["bias"] = torch.float64, (classes,)
    return expected


def read_decomposition(
    tensors: Mapping[str, Tensor], manifest: Mapping[str, Any], graph: ChannelGraph
) -> Decomposition:
    """The decomposition in a set's tensors, checked.

    Raises:
        ModuleSetError: tensors of other types or shapes, or numbers that are neither scales nor a bias.
    """
    if manifest["schema_version"] == SCHEMA_VERSION and (others := _other_sites(graph)):
        raise ModuleSetError(
            f"{MANIFEST}: node {others[0]!r} is not an activation, so it is not a unit layer in"
            f" schema_version {SCHEMA_VERSION}"
        )
    for name, (dtype, shape) in expected_tensors(manifest, graph).items():
        if tensors[name].dtype != dtype or tuple(tensors[name].shape) != shape:
            raise ModuleSetError(f"{WEIGHTS}: {name} is not {str(dtype).removeprefix('torch.')} {shape}")
    every = range(len(graph.widths))
    try:
        scales = None
        if "scale_counts" in tensors:
            scales = Scales(tuple(tensors[f"scale_sums.{index}"] for index in every), tensors["scale_counts"])
        return Decomposition([tensors[f"mask.{index}"] for index in every], scales, tensors.get("bias"))
    except ValueError as error:
        raise ModuleSetError(f"{WEIGHTS}: {error}") from error


def _other_sites(graph: ChannelGraph) -> list[str]:
    """The unit layers of a graph that are not activations."""
    return [node.name for node in graph.nodes if node.unit_layer is not None and node.op == "identity"]
