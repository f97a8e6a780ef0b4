"""A recorded sweep as commands open it, and what they give of it for `--json`."""

import argparse
from typing import TYPE_CHECKING, Any

from orchestrator.api import (
    PLACES,
    OpenSweep,
    check_looking,
    is_judging,
    open_recorded,
    sweep_summary,
)
from orchestrator.cli.asked import Asked
from orchestrator.cli.output import rows_of

if TYPE_CHECKING:
    from orchestrator.results import Sweep

LOOKING = ("compare", "front", "pull", "report")


def opened_sweep(asked: Asked, options: argparse.Namespace, sweep_id: str) -> OpenSweep:
    """The sweep of a command that only reads, with its recorded configuration."""
    places = ("data.root=", *PLACES) if options.command == "pull" else ()
    check_looking(options.overrides, ("storage=", *places))
    return open_recorded(asked.storage, sweep_id, options.overrides)


def result_of(sweep: "Sweep", *, storage: str) -> dict[str, Any]:
    """What a training or a sweep has found, for ``--json``."""
    opened = OpenSweep(sweep, storage)
    return {
        **sweep_summary(opened),
        "front" if sweep.front else "points": rows_of(opened.front() if sweep.front else opened.points()),
    }


def is_view(override: str, command: str) -> bool:
    """Whether an override of a command that only reads changes how the points of a recorded sweep are judged."""
    return command in LOOKING and is_judging(override)
