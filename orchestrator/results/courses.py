"""The course of trainings: the loss and its terms epoch by epoch, whatever the method calls them."""

from collections.abc import Mapping
from typing import Any

from orchestrator.storage import TERM_COLUMNS, ResultStore

Course = list[dict[str, float]]  # an epoch each: its number, the loss, the cross-entropy and the terms


def read_courses(store: ResultStore, sweep_id: str) -> dict[str, Course]:
    """Read the losses over the epochs of a sweep's finished trainings, by trial id."""
    courses: dict[str, Course] = {}
    for row in sorted(store.read("epochs", sweep_id).to_pylist(), key=lambda row: int(row["epoch"])):
        courses.setdefault(row["trial_id"], []).append(_losses(row))
    return courses


def _losses(row: Mapping[str, Any]) -> dict[str, float]:
    terms = {name: row[name] for name in TERM_COLUMNS} | dict(row["terms"] or ())
    shown = {"epoch": row["epoch"], "loss": row["loss"], "cross_entropy": row["cross_entropy"], **terms}
    return {name: value for name, value in shown.items() if value is not None}
