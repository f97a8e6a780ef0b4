"""Weights & Biases, or nothing. Only shows what the tables hold; no failure here ever stops a training.

One run a trial (grouped by sweep), and one run of ``job_type=sweep`` that owns the front's table and plot. Runs are
online where an API key is found, else offline under the storage, from where ``wandb sync`` can take them.
"""

import logging
import netrc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import wandb

from orchestrator.choice import Choice
from orchestrator.config import Config
from orchestrator.sections import TrackingConfig
from orchestrator.storage import Files

LOG = logging.getLogger("moda")
START_SECONDS = 20.0  # how long a run may take to start before the training goes on without it
POINT_COLUMNS = (
    *Choice.names(),
    "reuse_accuracy",
    "reuse_accuracy_error",
    "module_size",
    "module_overlap",
    "accuracy",
)


class Tracker(Protocol):
    """What a run can show."""

    def log(self, values: Mapping[str, Any], *, step: int) -> None:
        """Numbers of an epoch or of a moment of the sweep."""
        ...

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """A table by name."""
        ...

    def figure(self, name: str, figure: Any) -> None:
        """A plotly figure by name."""
        ...

    def finish(self, summary: Mapping[str, Any], *, failed: bool = False) -> None:
        """Close the run with its summary."""
        ...


class NoTracker:
    """Tracks nothing."""

    def log(self, values: Mapping[str, Any], *, step: int) -> None:
        """Nothing."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """Nothing."""

    def figure(self, name: str, figure: Any) -> None:
        """Nothing."""

    def finish(self, summary: Mapping[str, Any], *, failed: bool = False) -> None:
        """Nothing."""


class WandbTracker:
    """One W&B run. The first call that fails is said, and the run is left alone from then on."""

    def __init__(self, run: "wandb.Run") -> None:
        self._run = run
        self._broken = False

    def log(self, values: Mapping[str, Any], *, step: int) -> None:
        """Log numbers; None is left out."""
        self._try(lambda: self._run.log({key: one for key, one in values.items() if one is not None}, step=step))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """Log a ``wandb.Table``."""
        data = [[row.get(column) for column in columns] for row in rows]
        self._try(lambda: self._run.log({name: wandb.Table(columns=list(columns), data=data)}))

    def figure(self, name: str, figure: Any) -> None:
        """Log a plotly figure."""
        self._try(lambda: self._run.log({name: wandb.Plotly(figure)}))

    def finish(self, summary: Mapping[str, Any], *, failed: bool = False) -> None:
        """Write the summary and close."""
        self._try(lambda: self._run.summary.update(dict(summary)))
        self._try(lambda: self._run.finish(exit_code=1 if failed else 0))

    def _try(self, call: Callable[[], Any]) -> None:
        if self._broken:
            return
        try:
            call()
        except Exception as error:  # a service of somebody else's: whatever it raises, the training goes on
            self._broken = True
            LOG.warning(
                "W&B failed (%s: %s); run %s is not tracked any further", type(error).__name__, error, self._run.id
            )


def make_tracker(
    tracking: TrackingConfig,
    root: str,
    *,
    run_id: str,
    sweep_id: str,
    job_type: str,
    config: Mapping[str, Any],
) -> Tracker:
    """A tracker for a trial or a sweep. A W&B that cannot be started is said once and replaced by nothing."""
    if tracking.name == "none":
        return NoTracker()
    folder = Files(root).local or Path.home() / "moda-results"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb" / "data"))  # artifacts are staged inside, not in ~
    try:
        run = wandb.init(
            project=tracking.project,
            entity=tracking.entity,
            id=run_id,
            name=run_id,
            group=sweep_id,
            job_type=job_type,
            dir=str(folder),
            mode=_mode(),
            resume="allow" if _mode() == "online" else None,
            config=dict(config),
            reinit="create_new",
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, x_disable_stats=True, init_timeout=START_SECONDS
            ),
        )
    except Exception as error:  # as above
        LOG.warning("W&B could not be started (%s: %s); going on without it", type(error).__name__, error)
        return NoTracker()
    return WandbTracker(run)


def describe_tracking(config: Config) -> str:
    """One line for the start of a sweep."""
    if config.tracking.name == "none":
        return "none"
    return f"W&B project {config.tracking.project!r}, {_mode()}"


def _mode() -> Any:
    return os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")


def _has_key() -> bool:
    """Whether W&B would find a key without asking: in the environment, or in ~/.netrc after `wandb login`."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return host is not None and netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
