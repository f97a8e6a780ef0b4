"""One driver per sweep: a lease in the storage, which its driver renews by heartbeats.

A driver's term is a row of the table ``drivers``. Terms are numbered, and of several drivers that write the row of one
term the first one has it. While a driver works, it writes a file again every few seconds. The storage's own clock says
how old this file is, so the clocks of machines need not agree.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import RunError, StorageFault, StorageGone
from orchestrator.results import utc_now
from orchestrator.runs.processes import machine_id, process_id
from orchestrator.storage import DeltaStore, Files, heartbeat_file

LOG = logging.getLogger("moda")
BEAT = 10.0  # seconds between heartbeats
SILENCE = 120.0  # seconds without one after which a driver counts as dead; a network file system shows it a minute late
LOOK = 2.0  # seconds between looks at a driver that is waited for
BEGAN, ENDED = "began", "ended"


@dataclass(frozen=True)
class Term:
    """The last term of a sweep: whose it is, as the table records it, and whether it has ended."""

    number: int
    driver: dict[str, Any]
    is_over: bool

    @property
    def has_died(self) -> bool:
        """Whether this process sees that the driver's process is gone; only on its machine can that be seen."""
        driver = self.driver
        return bool(driver["machine"] == machine_id() and process_id(driver["pid"]) != driver["process"])

    def __str__(self) -> str:
        driver = self.driver
        return f"process {driver['pid']} on host {driver['host']}, since {driver['time']:%Y-%m-%d %H:%M} UTC"


class Lease:
    """The right of this process to drive a sweep.

    Args:
        root: the storage.
        sweep_id: the sweep.
        say: prints a line.
    """

    def __init__(self, root: str, sweep_id: str, say: Callable[[str], None]) -> None:
        self._store, self._files = DeltaStore(root), Files(root)
        self._sweep_id, self._say = sweep_id, say
        host, pid = socket.gethostname(), os.getpid()
        name = f"{host}-{uuid.uuid4().hex}"
        place = {"host": host, "machine": machine_id(), "pid": pid, "process": process_id(pid)}
        self._own: dict[str, Any] = {"driver_id": name, **place}
        self._number, self._version = 0, -1
        self._taken_by: Term | None = None
        self._gone: StorageGone | None = None
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._keep, name="moda-heartbeat", daemon=True)

    def acquire(self) -> None:
        """Begin a term, when no other driver works on the sweep any more."""
        while True:
            last = self._last_term()
            if last is not None and not last.is_over:
                self._wait_for(last)
                self._files.delete(self._heartbeat(last))
            self._beat()  # first, so that whoever sees the term sees a heartbeat
            self._number = 1 if last is None else last.number + 1
            self._record(BEGAN)
            term = self._last_term()
            if term is not None and term.driver["driver_id"] == self._own["driver_id"]:
                break  # else another driver was faster
        self._version = self._store.version("drivers")
        self._heart.start()

    def release(self) -> None:
        """End the term, so that the next driver need not wait."""
        self._released.set()
        if self._heart.is_alive():
            self._heart.join()
            if self._taken_by is None and self._gone is None:
                self._record(ENDED)
        self._files.delete(heartbeat_file(self._sweep_id, self._own["driver_id"]))

    def check(self) -> None:
        """Refuse to go on where another driver has taken the sweep over, or the storage is gone.

        Raises:
            RunError: another driver has; the message names it.
            StorageGone: somebody has deleted the storage, which trials need not notice for hours.
        """
        if self._gone is not None:
            raise self._gone
        if self._taken_by is not None:
            raise RunError(
                f"sweep {self._sweep_id} goes on elsewhere ({self._taken_by}), because this driver was silent for"
                f" {SILENCE:g} s, as where its machine sleeps; look at it with: moda front {self._sweep_id}"
            )

    def _wait_for(self, term: Term) -> None:
        """Return when a driver has ended or counts as dead."""
        if term.has_died:
            return
        heartbeat, since = self._heartbeat(term), time.monotonic()
        said = False
        while not term.has_died and self._silence(heartbeat, since) < SILENCE:
            if not said:
                said = True
                self._say(
                    f"another driver works on sweep {self._sweep_id}: {term}; waiting until it ends, or has been silent"
                    f" for {SILENCE:g} s"
                )
            time.sleep(LOOK)
            last = self._last_term()
            if last is None or last.number != term.number or last.is_over:
                return

    def _silence(self, heartbeat: str, since: float) -> float:
        """Seconds since a heartbeat, by the storage's clock; where there is none, since this process waits for it."""
        self._beat()
        last, now = (self._files.modified(name) for name in (heartbeat, self._heartbeat()))
        return time.monotonic() - since if last is None or now is None else (now - last).total_seconds()

    def _keep(self) -> None:
        while not self._released.wait(BEAT):
            try:
                self._beat()
                if (version := self._store.version("drivers")) == self._version:
                    continue
                last, self._version = self._last_term(), version
            except StorageGone as error:
                self._gone = error
                return
            except StorageFault as error:  # trials say so, too
                LOG.warning("no heartbeat of sweep %s: %s", self._sweep_id, error)
                continue
            if last is not None and last.number > self._number:
                self._taken_by = last
                return

    def _beat(self) -> None:
        self._files.write(self._heartbeat(), b"")

    def _heartbeat(self, term: Term | None = None) -> str:
        driver = self._own if term is None else term.driver
        return heartbeat_file(self._sweep_id, driver["driver_id"])

    def _record(self, event: str) -> None:
        row = {"sweep_id": self._sweep_id, "term": self._number, "event": event, "time": utc_now(), **self._own}
        self._store.append("drivers", [row])

    def _last_term(self) -> Term | None:
        rows = self._store.read("drivers", self._sweep_id).to_pylist()
        number = max((row["term"] for row in rows), default=0)
        events = {row["event"]: row for row in rows if row["term"] == number}
        return Term(number, events[BEGAN], ENDED in events) if events else None


@contextmanager
def only_driver(root: str, sweep_id: str, say: Callable[[str], None]) -> Iterator[Lease]:
    """Be the only driver of a sweep within the context; entering it waits for another one.

    Yields:
        The lease, which may be lost.
    """
    lease = Lease(root, sweep_id, say)
    try:
        lease.acquire()
        yield lease
    finally:
        lease.release()
