"""A module set's manifest: its form, and that the files beside it are the ones it names.

Everything in it may come from a stranger. What is not of the exact form is a :class:`ModuleSetError`.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from moda_core.errors import GraphError, ModuleSetError, shortened
from moda_core.graph import LARGEST_NUMBER, ChannelGraph, Node
from moda_core.sets.layout import FILE_NAME, LARGEST_MANIFEST, LARGEST_WEIGHTS, MANIFEST, SHA256, WEIGHTS
from moda_core.sets.preprocessing import BACKGROUNDS, CENTRE, FITS, STRETCH

SCHEMA_VERSION = 2  # of sets with masks at activations alone
DECOMPOSED_VERSION = 3  # of sets with scales, a bias, or sites that are not activations
LARGEST_NODES = 5000  # an EfficientNetV2-L has 1,500
LARGEST_SIDE = 65_536
LARGEST_CLASSES = 65_536  # ImageNet-21k has 21,841
LARGEST_FILES = 100
LONGEST_CLASS = 1000  # characters of a class name
DEEPEST = 50  # lists and objects in one another: what writes or shows a manifest goes through them one by one
SMALLEST_STD = 1 / LARGEST_NUMBER


def parse_manifest(text: bytes) -> dict[str, Any]:
    """Parse a manifest's bytes and check its form."""
    if len(text) > LARGEST_MANIFEST:
        raise ModuleSetError(f"{MANIFEST} has {len(text)} bytes; a manifest has at most {LARGEST_MANIFEST}")
    try:
        manifest = strict_json(text)
    except ValueError as error:
        raise ModuleSetError(f"{MANIFEST} is not JSON: {shortened(str(error), 200)}") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or not _is_whole(version) or version not in (SCHEMA_VERSION, DECOMPOSED_VERSION):
        raise ModuleSetError(
            f"{MANIFEST} has schema_version {version!r:.100}; this package reads {SCHEMA_VERSION} and"
            f" {DECOMPOSED_VERSION}"
        )
    if version == DECOMPOSED_VERSION:
        _check_decomposition(manifest.get("decomposition"))
    _check_class_names(manifest.get("class_names"))
    _check_files(manifest.get("files"))
    _check_rejection(manifest.get("rejection"), len(manifest["class_names"]))
    if not isinstance(manifest.get("about", {}), dict):
        raise ModuleSetError(f"{MANIFEST}: about is not an object")
    difference = manifest.get("cut_masked_difference")
    if not isinstance(difference, float) or not 0 <= difference <= 1:
        raise ModuleSetError(f"{MANIFEST}: cut_masked_difference={difference!r:.200} is not a measured difference")
    try:
        check_preprocessing(manifest.get("preprocessing"))
    except ValueError as error:
        raise ModuleSetError(f"{MANIFEST}: {error}") from error
    return manifest


def strict_json(text: bytes) -> Any:
    """Parse JSON in UTF-8 that every reader reads alike: no duplicate keys, no numbers that are not finite.

    Raises:
        ValueError: anything else, and what is nested deeper than a manifest is.
    """
    try:
        value = json.loads(
            text.decode(), object_pairs_hook=_without_duplicates, parse_constant=_finite, parse_float=_finite
        )
    except RecursionError as error:
        raise ValueError(f"nested deeper than {DEEPEST}") from error
    level = [value]
    for _ in range(DEEPEST):
        children = [
            part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)
        ]
        level = [child for values in children for child in values if isinstance(child, dict | list)]
        if not level:
            return value
    raise ValueError(f"nested deeper than {DEEPEST}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is not a finite number")
    return number


def _check_class_names(names: Any) -> None:
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ModuleSetError(f"{MANIFEST}: class_names is not a list of names")
    if len(names) > LARGEST_CLASSES:
        raise ModuleSetError(f"{MANIFEST}: class_names holds {len(names)} names; at most {LARGEST_CLASSES} are read")
    for name in names:
        if len(name) > LONGEST_CLASS or not _is_text(name):
            raise ModuleSetError(
                f"{MANIFEST}: class_names holds {name!r:.100}, which is not text of at most {LONGEST_CLASS} characters"
            )
    if len(set(names)) != len(names):
        raise ModuleSetError(f"{MANIFEST}: class_names holds a name twice")


def _is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: JSON can hold halves of a character."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _check_files(files: Any) -> None:
    if not isinstance(files, dict) or WEIGHTS not in files:
        raise ModuleSetError(f"{MANIFEST}: files does not name {WEIGHTS}")
    if len(files) > LARGEST_FILES:
        raise ModuleSetError(f"{MANIFEST}: files names {len(files)} files; at most {LARGEST_FILES} are read")
    for name, entry in files.items():
        if not FILE_NAME.fullmatch(name) or name == MANIFEST:
            raise ModuleSetError(f"{MANIFEST}: {name!r:.100} is not a file name that a module set may have")
        if not isinstance(entry, dict) or not _is_whole(entry.get("bytes")):
            raise ModuleSetError(f"{MANIFEST}: files[{name!r}] has no size")
        sha256 = entry.get("sha256")
        if not 0 <= entry["bytes"] <= LARGEST_WEIGHTS or not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
            raise ModuleSetError(f"{MANIFEST}: files[{name!r}] has a wrong size or no sha256")


def _check_decomposition(parts: Any) -> None:
    """Refuse what does not say of scales and of a bias whether the set has them."""
    right = isinstance(parts, dict) and set(parts) == {"scales", "bias"}
    if not right or not all(isinstance(value, bool) for value in parts.values()):
        raise ModuleSetError(f"{MANIFEST}: decomposition={parts!r:.200} must hold scales and bias, each true or false")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    """Whether float32 can compute with a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def check_preprocessing(recipe: Any) -> None:
    """Refuse a preprocessing that is not "shape" [ch, H, W], "mean" and "std" with a number a channel, std above 0, and
    if it says so "fit", "resize" and "background".

    Raises:
        ValueError: such a one.
    """
    lists: list[Any] = [recipe.get(key) for key in ("shape", "mean", "std")] if isinstance(recipe, Mapping) else []
    right = bool(lists) and all(isinstance(values, list | tuple) for values in lists)
    if right:
        shape, mean, std = lists
        right = len(shape) == 3 and all(_is_whole(side) and 0 < side <= LARGEST_SIDE for side in shape)
        right = right and len(mean) == len(std) == shape[0] and all(map(_is_number, (*mean, *std)))
        right = right and min(std) >= SMALLEST_STD
    if not right:
        raise ValueError(
            f"preprocessing={recipe!r:.200} must have shape [ch, H, W], and mean and std of ch numbers each"
        )
    fit, resize = recipe.get("fit", STRETCH), recipe.get("resize")
    right = resize is None if fit == STRETCH else _is_whole(resize) and max(shape[1:]) <= resize <= LARGEST_SIDE
    if fit not in FITS or not right:
        raise ValueError(
            f"preprocessing has fit={fit!r:.100}, resize={resize!r:.100}: must be {STRETCH!r} without resize, or"
            f" {CENTRE!r} with a whole number of at least H and W"
        )
    if (background := recipe.get("background", "white")) not in BACKGROUNDS:
        raise ValueError(f"preprocessing has background={background!r:.100}: must be one of {', '.join(BACKGROUNDS)}")


def _check_rejection(rejection: Any, classes: int) -> None:
    """Refuse what is not absent and not a least logit of each class."""
    if rejection is None:
        return
    least = rejection.get("least_logits") if isinstance(rejection, dict) else None
    if not isinstance(least, list) or len(least) != classes or not all(map(_is_number, least)):
        raise ModuleSetError(f"{MANIFEST}: rejection={rejection!r:.200} must have least_logits, a number a class")


def check_manifest_size(where: object, size: int | None) -> None:
    """Refuse a place without a manifest (its size is None), and a manifest that is too large to be read."""
    if size is None:
        raise ModuleSetError(f"{where} holds no module set: there is no {MANIFEST} in it")
    if size > LARGEST_MANIFEST:
        raise ModuleSetError(f"{where}: {MANIFEST} has {size} bytes; a manifest has at most {LARGEST_MANIFEST}")


def check_size(where: object, name: str, size: int | None, manifest: Mapping[str, Any]) -> None:
    """Refuse a file unread: one that does not exist (its size is None), or whose size is not the manifest's."""
    if size is None:
        raise ModuleSetError(f"{where} lacks the file {name}")
    if size != manifest["files"][name]["bytes"]:
        raise ModuleSetError(f"{where}: {name} has {size} bytes, the manifest says {manifest['files'][name]['bytes']}")


def check_file(name: str, data: bytes, manifest: Mapping[str, Any]) -> None:
    """Refuse bytes that are not the file ``name`` of the manifest."""
    entry = manifest["files"][name]
    if len(data) != entry["bytes"]:
        raise ModuleSetError(f"{name} has {len(data)} bytes, the manifest says {entry['bytes']}: truncated or replaced")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ModuleSetError(f"{name} has another sha256 than the manifest says: it was changed after publishing")


def node_to_json(node: Node) -> dict[str, Any]:
    """Return a node as JSON can hold it."""
    return asdict(node) | {"inputs": list(node.inputs), "size": list(node.size)}


def graph_from_json(value: Any) -> ChannelGraph:
    """Return the graph of a manifest; refuse it if it is malformed or has an operation that is not allow-listed."""
    if not isinstance(value, dict) or not isinstance(value.get("nodes"), list):
        raise ModuleSetError(f"{MANIFEST}: graph is not a list of nodes")
    if not 0 < len(value["nodes"]) <= LARGEST_NODES:
        raise ModuleSetError(f"{MANIFEST}: the graph has {len(value['nodes'])} nodes; 1 to {LARGEST_NODES} are allowed")
    widths = value.get("widths")
    if not isinstance(widths, list) or not all(map(_is_whole, widths)):
        raise ModuleSetError(f"{MANIFEST}: the graph's widths are no list of whole numbers")
    try:
        return ChannelGraph(tuple(_node_from_json(node) for node in value["nodes"]), tuple(widths))
    except GraphError as error:
        raise ModuleSetError(shortened(f"{MANIFEST}: {error}")) from error


def _node_from_json(value: Any) -> Node:
    required = {"name", "op", "inputs", "channels", "size"}
    known = required | {"attributes", "unit_layer", "shares"}
    if not isinstance(value, dict) or not required <= set(value) <= known:
        raise GraphError(f"the graph is malformed: {value!r:.200} is not a node")
    inputs, size = value["inputs"], value["size"]
    if not isinstance(inputs, list) or not all(isinstance(name, str) for name in inputs) or not isinstance(size, list):
        raise GraphError(f"the graph is malformed: node {value['name']!r:.100} has no lists of inputs and sizes")
    return Node(**{**value, "inputs": tuple(inputs), "size": tuple(size)})
