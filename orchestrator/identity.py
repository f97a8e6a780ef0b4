"""What makes a sweep the sweep it is, and what differs between two."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from orchestrator.config import Config, to_plain
from orchestrator.errors import ConfigError

# Of an identity, at these values: sweeps from before there were such keys record none.
LEFT_OUT: dict[tuple[str, str], Any] = {
    ("data", "background"): "white",
    ("data", "mean"): None,
    ("data", "std"): None,
    ("evaluation", "levels"): [],
    ("training", "optimizer"): "sgd",
}


def identity(config: Config) -> dict[str, Any]:
    """What makes a sweep the sweep it is: neither budget nor objectives, nor where and how it runs.

    Early stopping is budget: which trials are trained to the end, not what a training gives.
    """
    plain = to_plain(config)
    if config.training.init_from is not None:  # by content: the same weights may lie elsewhere tomorrow
        plain["training"]["init_from"] = _file_hash(config.training.init_from)
    for (section, key), value in LEFT_OUT.items():
        if plain[section][key] == value:
            del plain[section][key]
    plain["search"]["space"] = {key: one.stated for key, one in config.search.space.items()}
    repeats = {"repeats": config.search.repeats} if config.search.repeats > 1 else {}  # as before there were repeats
    sweep = config.sweep
    parent = {"confirms": sweep.confirms, "chosen": list(sweep.chosen)} if sweep.confirms else {}
    elsewhere = ("cpus_per_worker", "gpus_per_worker", "max_failures")
    return {
        "model": plain["model"],
        "data": {key: value for key, value in plain["data"].items() if key not in ("root", "download")},
        "method": plain["method"],
        "training": {key: value for key, value in plain["training"].items() if key not in elsewhere},
        "evaluation": plain["evaluation"],
        "space": plain["search"]["space"],
        "baselines": plain["search"]["baselines"],
        "seed": plain["search"]["seed"],
        **repeats,
        **parent,
    }


def identity_hash(identity: Mapping[str, Any]) -> str:
    """Eight hex digits of the canonical JSON."""
    text = json.dumps(identity, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def difference(theirs: Mapping[str, Any], mine: Mapping[str, Any], *, ignoring: Collection[str] = ()) -> str:
    """What differs between two nested mappings, as people read it; nothing where they are equal.

    Args:
        theirs: what is recorded.
        mine: what is asked for.
        ignoring: keys, such as ``data.limit``, that may differ.
    """
    left_out = {".".join(path): value for path, value in LEFT_OUT.items()}
    recorded, asked = ({**left_out, **_flat(one)} for one in (theirs, mine))
    return "; ".join(
        f"{key} is {recorded.get(key)!r}, not {asked.get(key)!r}"
        for key in sorted({*recorded, *asked} - set(ignoring))
        if recorded.get(key) != asked.get(key)
    )


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {path: value}
    return {key: one for name, part in value.items() for key, one in _flat(part, f"{path}.{name}".strip(".")).items()}


def _file_hash(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"training.init_from={path}: cannot be read: {error.strerror}") from error
