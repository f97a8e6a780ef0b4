"""Where a sweep comes from: when it was started first, and with which packages."""

import json
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.storage import ResultStore


@dataclass(frozen=True)
class Origin:
    """What a sweep recorded when it was started first.

    Attributes:
        created: the time.
        versions: of the packages that results depend on, by name.
    """

    created: datetime | None = None
    versions: dict[str, str] = field(default_factory=dict)


def read_origin(store: ResultStore, sweep_id: str) -> Origin:
    """Read where a sweep comes from; empty for one that is not in the storage."""
    for row in store.read("sweeps", sweep_id).to_pylist():
        return Origin(row["created"], json.loads(row["versions"]))
    return Origin()
