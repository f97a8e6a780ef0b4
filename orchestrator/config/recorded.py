"""Configurations as the tables record them, also those of older versions."""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.config.config import Config, parse_config
from orchestrator.declarations import CUT_NAMES
from orchestrator.search import LINEAR


def read_recorded(row: Mapping[str, Any]) -> Config:
    """Return the configuration that a row of the table ``sweeps`` records.

    Before schema version 6 the metrics of networks as they are cut were called ``module_size`` and ``module_overlap``:
    objectives, constraints and the reference name them as they are called today. Objectives had no scale then, and all
    were compared linearly.
    """
    plain = json.loads(row["config"])
    search = plain["search"]
    search["objectives"] = {
        name: {"direction": objective, "scale": LINEAR} if isinstance(objective, str) else objective
        for name, objective in search["objectives"].items()
    }
    if row["schema_version"] < 6:
        for section in ("objectives", "reference"):
            search[section] = {CUT_NAMES.get(name, name): value for name, value in search[section].items()}
        search["constraints"] = [_renamed(text) for text in search.get("constraints") or ()]
    return parse_config(plain)


def _renamed(constraint: str) -> str:
    for before, today in CUT_NAMES.items():
        if constraint.strip().startswith(before):
            return constraint.replace(before, today, 1)
    return constraint
