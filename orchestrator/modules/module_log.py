"""The table `modules`: which module sets were published and removed."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from moda_core.errors import ModuleSetError
from moda_core.sets import parse_manifest
from orchestrator.config import Choice

Row = dict[str, Any]
PUBLISHED, REMOVED = "published", "removed"


def published_row(sweep_id: str, trial_id: str, choice: Choice, name: str, manifest: bytes, now: datetime) -> Row:
    """Build the row that records that a set was published.

    Args:
        sweep_id: its sweep.
        trial_id: its trial.
        choice: what was chosen after the training.
        name: of its folder in the storage.
        manifest: the text of its manifest.
        now: when.
    """
    whose = {"sweep_id": sweep_id, "trial_id": trial_id, **choice.columns, "name": name}
    return {**whose, "event": PUBLISHED, "time": now, **_facts(manifest)}


def removed_row(published: Mapping[str, Any], now: datetime) -> Row:
    """Build the row that records that a set was removed, from the row that records its publication."""
    return {**published, "event": REMOVED, "time": now}


def last_events(rows: pa.Table) -> dict[str, Row]:
    """Return the last row of each set, by the set's name."""
    return {row["name"]: row for row in sorted(rows.to_pylist(), key=lambda row: row["time"])}


def is_recorded(rows: pa.Table, name: str, manifest: bytes) -> bool:
    """Whether the log's last word of a set is that it was published with this manifest."""
    last = last_events(rows).get(name)
    return last is not None and (last["event"], last["manifest_sha256"]) == (PUBLISHED, _sha256(manifest))


def _facts(manifest: bytes) -> Row:
    """What a manifest says of its set; of one that cannot be read no more than its hash."""
    facts: Row = {"manifest_sha256": _sha256(manifest)}
    try:
        found = parse_manifest(manifest)
    except ModuleSetError:
        return facts
    facts["bytes"] = len(manifest) + sum(file["bytes"] for file in found["files"].values())
    facts["parameters"] = _count(found.get("parameters"))
    facts["full_parameters"] = _count(found.get("about", {}).get("full_parameters"))
    return facts


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**63 else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
