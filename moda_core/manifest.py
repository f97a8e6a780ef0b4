"""A module set's manifest: its form, and that the files beside it are the ones it names.

Everything in it may come from a stranger. What is not of the exact form is a ``ValueError``.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from moda_core.graph import ChannelGraph
from moda_core.operations import Node

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
LARGEST_MANIFEST = 16 * 2**20
LARGEST_WEIGHTS = 64 * 2**30
LARGEST_NODES = 20_000
LARGEST_SIDE = 65_536
FILE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
SHA256 = re.compile(r"[0-9a-f]{64}")


def parse_manifest(text: bytes) -> dict[str, Any]:
    """Read a manifest's bytes and check its form."""
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{MANIFEST} is no JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        version = manifest.get("schema_version") if isinstance(manifest, dict) else None
        raise ValueError(f"{MANIFEST} has schema_version {version!r}; this package reads {SCHEMA_VERSION}")
    names, files = manifest.get("class_names"), manifest.get("files")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{MANIFEST}: class_names is no list of names")
    if len(set(names)) != len(names):
        raise ValueError(f"{MANIFEST}: class_names holds a name twice")
    if not isinstance(files, dict) or WEIGHTS not in files:
        raise ValueError(f"{MANIFEST}: files does not name {WEIGHTS}")
    for name, entry in files.items():
        if not FILE_NAME.fullmatch(name) or name == MANIFEST:
            raise ValueError(f"{MANIFEST}: {name!r} is no file name that a module set may have")
        if not isinstance(entry, dict) or not isinstance(entry.get("bytes"), int):
            raise ValueError(f"{MANIFEST}: files[{name!r}] has no size")
        sha256 = entry.get("sha256")
        if not 0 <= entry["bytes"] <= LARGEST_WEIGHTS or not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
            raise ValueError(f"{MANIFEST}: files[{name!r}] has a wrong size or no sha256")
    if not isinstance(manifest.get("about", {}), dict):
        raise ValueError(f"{MANIFEST}: about is no object")
    difference = manifest.get("cut_masked_difference")
    if not isinstance(difference, float) or not 0 <= difference <= 1:
        raise ValueError(f"{MANIFEST}: cut_masked_difference={difference!r:.200} is no measured difference")
    check_preprocessing(manifest.get("preprocessing"))
    return manifest


def check_preprocessing(recipe: Any) -> None:
    """Refuse a preprocessing that is not "shape" [ch, H, W], "mean" and "std" with a number a channel, std above 0."""
    try:
        shape, mean, std = (list(recipe[key]) for key in ("shape", "mean", "std"))
        right = len(shape) == 3 and all(isinstance(side, int) and 0 < side <= LARGEST_SIDE for side in shape)
        right = right and len(mean) == len(std) == shape[0] and all(math.isfinite(one) for one in (*mean, *std))
        right = right and min(std) > 0
    except (TypeError, KeyError, ValueError, OverflowError):
        right = False
    if not right:
        raise ValueError(
            f"preprocessing={recipe!r:.200} must have shape [ch, H, W], and mean and std of ch numbers each"
        )


def check_manifest_size(where: object, size: int | None) -> None:
    """Refuse a place without a manifest (its size is None), and one too large to be read."""
    if size is None:
        raise ValueError(f"{where} holds no module set: there is no {MANIFEST} in it")
    if size > LARGEST_MANIFEST:
        raise ValueError(f"{where}: {MANIFEST} has {size} bytes; a manifest has at most {LARGEST_MANIFEST}")


def check_size(where: object, name: str, size: int | None, manifest: Mapping[str, Any]) -> None:
    """Refuse, before it is read, a file that is not there (its size is None) or has not the manifest's size."""
    if size is None:
        raise ValueError(f"{where} lacks the file {name}")
    if size != manifest["files"][name]["bytes"]:
        raise ValueError(f"{where}: {name} has {size} bytes, the manifest says {manifest['files'][name]['bytes']}")


def check_file(name: str, data: bytes, manifest: Mapping[str, Any]) -> None:
    """Refuse bytes that are not the file ``name`` of the manifest."""
    entry = manifest["files"][name]
    if len(data) != entry["bytes"]:
        raise ValueError(f"{name} has {len(data)} bytes, the manifest says {entry['bytes']}: truncated or replaced")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ValueError(f"{name} has another sha256 than the manifest says: it was changed after publishing")


def node_to_json(node: Node) -> dict[str, Any]:
    """A node as JSON can hold it."""
    return asdict(node) | {"inputs": list(node.inputs), "size": list(node.size)}


def graph_from_json(value: Any) -> ChannelGraph:
    """The graph of a manifest; a ``ValueError`` if it is malformed or holds an operation that is not allow-listed."""
    if not isinstance(value, dict) or not isinstance(value.get("nodes"), list):
        raise ValueError(f"{MANIFEST}: graph is no list of nodes")
    if not 0 < len(value["nodes"]) <= LARGEST_NODES:
        raise ValueError(f"{MANIFEST}: the graph has {len(value['nodes'])} nodes; 1 to {LARGEST_NODES} are allowed")
    try:
        nodes = [
            Node(**{**node, "inputs": tuple(node["inputs"]), "size": tuple(node["size"])}) for node in value["nodes"]
        ]
        return ChannelGraph(tuple(nodes), tuple(value["widths"]))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{MANIFEST}: the graph is malformed: {error}") from error
