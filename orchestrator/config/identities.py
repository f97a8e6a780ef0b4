"""What makes a sweep the sweep it is, and what differs between two."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from moda_core.models import MODEL_OPTIONS, OPTION_DEFAULTS
from moda_core.rules import BY_CONTRIBUTION
from moda_core.sets import SHA256
from orchestrator.config.config import Config, to_plain
from orchestrator.config.sections import BEFORE_OPTIONS
from orchestrator.errors import ConfigError

# Of an identity, at these values: sweeps from before there were such keys record none.
LEFT_OUT: dict[tuple[str, str], Any] = {
    ("data", "augmentations"): [],
    ("data", "background"): "white",
    ("data", "class_list"): None,
    ("data", "fit"): "stretch",
    ("data", "image_size"): None,
    ("data", "mean"): None,
    ("data", "normalisation"): "statistics",
    ("data", "std"): None,
    ("evaluation", "augmented"): False,
    ("evaluation", "gate_shares"): [],
    ("evaluation", "levels"): [],
    ("evaluation", "images_per_size"): None,
    ("evaluation", "magnitude_targets"): [],
    ("evaluation", "metrics"): [],
    ("evaluation", "pairs"): None,
    ("evaluation", "ranking"): BY_CONTRIBUTION,
    ("evaluation", "refit_images"): 1000,
    ("evaluation", "rules"): {},
    ("evaluation", "scores"): [],
    ("evaluation", "staged"): ["best", "knee"],
    ("evaluation", "stages"): [],
    ("evaluation", "subsets_per_size"): None,
    ("evaluation", "test_images_per_size"): None,
    ("evaluation", "test_pairs"): None,
    ("evaluation", "test_subsets_per_size"): None,
    ("evaluation", "targets"): [],
    ("evaluation", "tuned_epochs"): 10,
    **{("method", name): value for name, value in BEFORE_OPTIONS.items()},
    ("training", "decay_steps"): None,
    ("training", "optimizer"): "sgd",
    ("training", "schedule"): "step",
    ("training", "warmup_epochs"): 0.0,
}
HOW_IT_RUNS = (  # keys of section `training` that are no part of an identity
    "compile",
    "cpus_per_worker",
    "gpus_per_worker",
    "max_failures",
    "memory_format",
    "optimizer_step",
)

# What a sweep is made of that counts by content, by section of the identity: {"data": {"content": sha256}, ...}.
Fingerprints = Mapping[str, Mapping[str, str]]
FINGERPRINTS = {
    "data": ("content", "test_content", "skipped"),
    "method": ("source",),
    "metrics": ("source",),
    "network": ("graph",),
    "rules": ("source",),
    "training": ("init_from",),
}
PLACES = ("path", "test_path")  # where a table lies: no part of what it is where its content is known
# Nor where and how it is found, since the contents tell, nor where the decoded images are kept. How many of them could
# not be read is recorded beside the contents.
NOT_OF_DATA = ("root", "download", "test_files", "kept_in", "unreadable")
CHANGED = {
    "data.content": "the images or labels at {path} have changed since the sweep began",
    "data.test_content": "the test images or labels at {test_path} have changed since the sweep began",
    "data.skipped": "another number of images at {path} cannot be read than when the sweep began",
    "method.source": "the file of {method} has changed since the sweep began",
    "metrics.source": "a file of evaluation.metrics has changed since the sweep began",
    "rules.source": "a file of evaluation.rules has changed since the sweep began",
    "network.graph": "{name} no longer computes what it did when the sweep began",
}


def identity(config: Config, fingerprints: Fingerprints | None = None) -> dict[str, Any]:
    """Return what makes a sweep the sweep it is: neither its budget and objectives, nor where and how it runs.

    Early stopping is budget: which trials are trained to the end, not what a training gives.

    Args:
        config: of the sweep.
        fingerprints: of what it is made of, as :func:`orchestrator.training.fingerprints` gives them. Without those of
            its data, a table is identified by its path.

    Raises:
        ConfigError: ``training.init_from`` cannot be read, and its fingerprint was not given.
    """
    plain = to_plain(config)
    prints = fingerprints or {}
    if "data" in prints:
        plain["data"] = {key: value for key, value in plain["data"].items() if key not in PLACES} | dict(prints["data"])
    plain["method"].update(prints.get("method") or {})
    plain["training"].update(prints.get("training") or weights_fingerprint(config))
    plain["evaluation"]["metrics"] = sorted(plain["evaluation"]["metrics"])  # how they are shown may change
    if not config.evaluation.targets:  # which alone it is about
        del plain["evaluation"]["ranking"]
    methods = plain["search"].get("methods") or {}
    for (section, key), value in LEFT_OUT.items():
        for sections in (plain, *methods.values()):
            if section in sections and sections[section].get(key, value) == value:
                sections[section].pop(key, None)
    if config.model.name in MODEL_OPTIONS:  # an option that is stated as it is anyway changes nothing
        for key, value in OPTION_DEFAULTS.items():
            if plain["model"].get(key) == value:
                del plain["model"][key]
    plain["search"]["space"] = {key: dimension.stated for key, dimension in config.search.space.items()}
    several = {"methods": methods} if methods else {}
    repeats = {"repeats": config.search.repeats} if config.search.repeats > 1 else {}  # as before there were repeats
    sweep = config.sweep
    parent = {"confirms": sweep.confirms, "chosen": list(sweep.chosen)} if sweep.confirms else {}
    return {
        "model": plain["model"],
        "data": {key: value for key, value in plain["data"].items() if key not in NOT_OF_DATA},
        "method": plain["method"],
        "training": {key: value for key, value in plain["training"].items() if key not in HOW_IT_RUNS},
        "evaluation": plain["evaluation"],
        "space": plain["search"]["space"],
        "baselines": plain["search"]["baselines"],
        "seed": plain["search"]["seed"],
        **{section: dict(prints[section]) for section in ("metrics", "network", "rules") if prints.get(section)},
        **several,
        **repeats,
        **parent,
    }


def weights_fingerprint(config: Config) -> dict[str, str]:
    """Return the hash of the file ``training.init_from``, which may be elsewhere tomorrow; empty if none is set.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = config.training.init_from
    if path is None:
        return {}
    try:
        with Path(path).expanduser().open("rb") as file:
            return {"init_from": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise ConfigError(f"training.init_from={path}: cannot be read: {error.strerror}") from error


def recorded_fingerprints(identity: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the fingerprints in a recorded identity. Older sweeps record those of their weights only."""
    found = {
        section: {key: part[key] for key in keys if part.get(key) is not None}
        for section, keys in FINGERPRINTS.items()
        if (part := identity.get(section))
    }
    return {section: prints for section, prints in found.items() if prints}


def comparable(prints: Fingerprints, others: Fingerprints) -> Fingerprints:
    """Return the fingerprints of the sections that both sides have. The other sections are compared without
    fingerprints, as older versions did.
    """
    return {section: prints[section] for section in prints if section in others or section == "training"}


def identity_hash(identity: Mapping[str, Any]) -> str:
    """Return eight hex digits of the hash of the canonical JSON."""
    text = json.dumps(identity, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def difference(
    theirs: Mapping[str, Any],
    mine: Mapping[str, Any],
    *,
    ignoring: Collection[str] = (),
    config: Config | None = None,
) -> str:
    """Describe how two nested mappings differ; empty if they are equal.

    Args:
        theirs: what is recorded.
        mine: what is asked for.
        ignoring: keys, such as ``data.limit``, that may differ.
        config: what is asked for, to say of which files a fingerprint is.
    """
    left_out = {".".join(path): value for path, value in LEFT_OUT.items()}
    recorded, asked = ({**left_out, **_flat(side)} for side in (theirs, mine))
    return "; ".join(
        f"{key} is {_shown(recorded.get(key))}, not {_shown(asked.get(key))}{_why(key, config)}"
        for key in sorted({*recorded, *asked} - set(ignoring))
        if recorded.get(key) != asked.get(key)
    )


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {path: value}
    return {key: leaf for name, part in value.items() for key, leaf in _flat(part, f"{path}.{name}".strip(".")).items()}


def _shown(value: Any) -> str:
    """A value as people read it: the first digits of a hash do."""
    return repr(value[:12] if isinstance(value, str) and SHA256.fullmatch(value) else value)


def _why(key: str, config: Config | None) -> str:
    if config is None or key not in CHANGED:
        return ""
    data = config.data
    path = data.path or f"data.root={data.root}"
    names = {"name": config.model.name, "method": config.method.name}
    return ": " + CHANGED[key].format(path=path, test_path=data.test_path or path, **names)
