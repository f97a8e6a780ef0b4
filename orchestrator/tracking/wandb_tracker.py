"""Weights & Biases, or nothing. Only shows what the tables hold; no failure here ever stops a training.

One run a trial (grouped by sweep), and one run of ``job_type=sweep`` that owns the front's table and plot. Runs are
online where an API key is found, else offline under the storage, from where ``wandb sync`` can take them.
"""

import contextlib
import glob
import logging
import os
import queue
import shlex
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config import Config, TrackingConfig
from orchestrator.results import Artifact, Link, NoTracker, Rows, Tracker
from orchestrator.storage import Files
from orchestrator.tracking.login import client_settings, has_key, quieten

if TYPE_CHECKING:  # a run without tracking loads no client
    import wandb

LOG = logging.getLogger("moda")
START_SECONDS = 20.0  # how long a run may take to start before it is offline, where WANDB_INIT_TIMEOUT is not set
FINISH_SECONDS = 20.0  # how long to upload what is left when its training is over, without WANDB_FINISH_TIMEOUT
MARKER = "moda-storage"  # in a run's folder: whose run it is
HEADER_BYTES = 7  # of the file of an offline run that holds no record yet
ADDRESS = "moda-address"  # in the folder of a run that is online: where people see it


class WandbTracker:
    """One W&B run, served by a thread of its own: a training hands over what is to be shown and does not wait.

    Only :meth:`finish` waits, for as long as a run may take to start and to finish. The first call that fails is said,
    and nothing more is logged.

    Args:
        start: starts the run.
        run_id: its id.
        seconds: how long it may take to start and to finish.
    """

    def __init__(self, start: Callable[[], "wandb.Run"], run_id: str, seconds: float) -> None:
        self._start, self._run_id = start, run_id
        self._seconds = seconds + 1
        self._calls: queue.SimpleQueue[Callable[[wandb.Run], Any] | None] = queue.SimpleQueue()
        self._exit_code = 0
        self._run: wandb.Run | None = None
        self._thread = threading.Thread(target=self._serve, name=f"wandb-{run_id}", daemon=True)
        self._thread.start()

    def log(self, values: Mapping[str, Any], *, step: int) -> None:
        """Log numbers, without those that are None. A step that the run has from an earlier attempt stays as it is."""
        known = {key: value for key, value in values.items() if value is not None}
        self._calls.put(lambda run: _log_step(run, known, step))

    def table(
        self, name: str, columns: Sequence[str], rows: Callable[[Link], Rows], *, step: int | None = None
    ) -> None:
        """Log a ``wandb.Table``; at a step that the run is beyond, at the step where it is."""
        self._calls.put(lambda run: _log_at(run, {name: _table(run, columns, rows)}, step))

    def chart(
        self, name: str, columns: Sequence[str], rows: Callable[[Link], Rows], *, x: str, y: str, title: str, step: int
    ) -> None:
        """Log a scatter chart of W&B's own, which people can edit and save there, of a table's columns."""
        import wandb

        def call(run: "wandb.Run") -> None:
            _log_at(run, {name: wandb.plot.scatter(_table(run, columns, rows), x, y, title)}, step)

        self._calls.put(call)

    def figure(self, name: str, figure: Callable[[Link], Any], *, step: int | None = None) -> None:
        """Log a plotly figure; at a step that the run is beyond, at the step where it is."""
        import wandb

        self._calls.put(lambda run: _log_at(run, {name: wandb.Plotly(figure(_link(run)))}, step))

    def artifact(self, artifact: Artifact) -> None:
        """Log an artifact."""
        self._calls.put(artifact.log)

    def finish(self, summary: Mapping[str, Any], *, failed: bool = False) -> None:
        """Write the summary and close; returns when all is uploaded, or when the time for it is over."""
        self._calls.put(lambda run: run.summary.update(dict(summary)))
        self._exit_code = 1 if failed else 0
        self._calls.put(None)
        self._thread.join(self._seconds)
        if self._thread.is_alive():
            LOG.warning("W&B did not accept run %s within %.0f s; continuing without W&B", self._run_id, self._seconds)

    @property
    def where(self) -> str:
        """The address of the run, or the command that uploads it where it is offline; empty where it did not start."""
        run = self._run
        if run is None:
            return ""
        if run.url:
            return run.url
        folder = shlex.quote(str(Path(run.dir).parent.parent))
        return f"offline; to upload it: wandb sync {folder}/offline-run-*-{self._run_id}*"

    def _serve(self) -> None:
        try:
            run = self._run = self._start()
        except Exception as error:  # a service of somebody else's: whatever it raises, the training goes on
            LOG.warning("W&B could not be started (%s: %s); continuing without W&B", type(error).__name__, error)
            return
        try:
            while (call := self._calls.get()) is not None:
                call(run)
        except Exception as error:  # as above
            self._say(error)
            while self._calls.get() is not None:
                pass
            with contextlib.suppress(Exception):  # said already
                run.finish(exit_code=self._exit_code)
            return
        try:
            run.finish(exit_code=self._exit_code)
        except Exception as error:  # as above
            self._say(error)

    def _say(self, error: Exception) -> None:
        text = "W&B failed (%s: %s); run %s is not tracked any further"
        LOG.warning(text, type(error).__name__, error, self._run_id)


def make_tracker(
    tracking: TrackingConfig,
    root: str,
    *,
    run_id: str,
    sweep_id: str,
    job_type: str,
    config: Mapping[str, Any],
    finish_seconds: float = FINISH_SECONDS,
    axis: str = "epoch",
) -> Tracker:
    """Make a tracker for a trial or a sweep; it starts in the background. If W&B cannot be reached, the run is offline;
    if it cannot be started at all, that is reported and there is no tracking. Charts are over the number ``axis``.
    """
    if tracking.name == "none":
        return NoTracker()
    import wandb
    import wandb.errors

    folder = Files(root).local or Path.home() / "moda-results"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb" / "data"))  # artifacts are staged there, not in ~
    quieten()
    start_seconds = _seconds("WANDB_INIT_TIMEOUT", START_SECONDS)
    finish_seconds = _seconds("WANDB_FINISH_TIMEOUT", finish_seconds)

    def init(mode: str) -> "wandb.Run":
        run = wandb.init(
            project=tracking.project,
            entity=tracking.entity,
            id=run_id,
            name=run_id,
            group=sweep_id,
            job_type=job_type,
            dir=str(folder),
            mode=mode,  # type: ignore[arg-type]
            resume="allow",
            config=dict(config),
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                x_disable_stats=True,
                init_timeout=start_seconds,
                finish_timeout=finish_seconds,
                finish_timeout_raises=True,
            ),
        )
        run.define_metric("*", step_metric=axis)  # attempts of a trial are one curve, whatever W&B's own steps are
        _remove_superseded(run, root)
        if run.url:
            (Path(run.dir).parent / ADDRESS).write_text(run.url)
        return run

    def start() -> "wandb.Run":
        try:
            return init(tracking_mode())
        except wandb.errors.CommError as error:
            if wandb.run is not None:
                raise  # somebody's own run in this process would be torn down too
            LOG.warning("W&B cannot be reached (%s); run %s is offline, upload it later with wandb sync", error, run_id)
            wandb.teardown()  # which holds the id
            return init("offline")

    return WandbTracker(start, run_id, start_seconds + finish_seconds)


def recorded_address(root: str, run_id: str) -> str | None:
    """Return where people see a run that was online, from the last of its folders in a storage of this machine; None
    where there is none."""
    folder = Files(root).local
    found = sorted((folder / "wandb").glob(f"run-*-{glob.escape(run_id)}/{ADDRESS}")) if folder is not None else []
    address = found[-1].read_text().strip() if found else ""
    return address if address.startswith(("https://", "http://")) else None


def _seconds(name: str, default: float) -> float:
    """A variable of W&B's own, else ours. What is not a number W&B refuses itself, when the run starts."""
    with contextlib.suppress(ValueError):
        return float(os.environ.get(name, ""))
    return default


def describe_tracking(config: Config) -> str:
    """Describe the tracking on one line, for the start of a sweep."""
    if config.tracking.name == "none":
        return "none"
    return f"W&B project {config.tracking.project!r}, {tracking_mode()}"


def share_mode() -> None:
    """Pass the mode that `wandb offline` set in this folder on to processes that start in other folders."""
    with contextlib.suppress(ValueError):  # which the client will report
        if (mode := client_settings().mode) != "online":
            os.environ.setdefault("WANDB_MODE", mode)


def _link(run: "wandb.Run") -> Link:
    url = run.url
    return lambda run_id: url and f"{url.rpartition('/')[0]}/{run_id}"


def _table(run: "wandb.Run", columns: Sequence[str], rows: Callable[[Link], Rows]) -> "wandb.Table":
    import wandb

    return wandb.Table(
        columns=list(columns), data=[[row.get(column) for column in columns] for row in rows(_link(run))]
    )


def _log_at(run: "wandb.Run", values: dict[str, Any], step: int | None) -> None:
    run.log(values, step=None if step is None else max(step, run.starting_step))


def _log_step(run: "wandb.Run", values: dict[str, Any], step: int) -> None:
    if step >= run.starting_step:
        run.log(values, step=step)


def _remove_superseded(run: "wandb.Run", root: str) -> None:
    """Remove what earlier attempts left offline: the run is told all of it again, and a sync would upload it twice.

    What was synced stays, and so does what is not of this storage: storages in object stores share a folder. A process
    that was killed may leave a folder without a record, whose it was nobody can tell: W&B's sync refuses it, and with
    it all runs that it is given.
    """
    own = Path(run.dir).parent
    if run.offline:
        (own / MARKER).write_text(root)
    for folder in own.parent.glob(f"offline-run-{'?' * 15}-{glob.escape(run.id)}"):
        marker = folder / MARKER
        if marker.is_file():
            is_ours = marker.read_text() == root
        else:
            sizes = [file.stat().st_size for file in folder.glob("*.wandb")]
            is_ours = bool(sizes) and max(sizes) <= HEADER_BYTES
        if is_ours and folder != own and not any(folder.glob("*.synced")):
            shutil.rmtree(folder, ignore_errors=True)


def tracking_mode() -> str:
    """Return the mode of ``WANDB_MODE`` or of the client's settings. Without an API key runs are offline."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode
    try:
        configured = client_settings().mode
    except ValueError:  # which the client will report
        return "online"
    return configured if configured != "online" or has_key() else "offline"
