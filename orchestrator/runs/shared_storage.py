"""Whether all that run a sweep see the same storage: checked where each trial runs, before it trains."""

import socket
import time
from dataclasses import dataclass

from orchestrator.errors import RunError
from orchestrator.storage import DeltaStore
from orchestrator.training import Trial

PATIENCE = 90.0  # seconds after which a network file system shows what another machine has written


@dataclass(frozen=True)
class SharedStorage:
    """The storage as the process sees it that runs a sweep, the driver.

    Attributes:
        root: a folder or a URI.
        storage_id: what distinguishes it from others.
        host: the driver's machine.
    """

    root: str
    storage_id: str | None
    host: str

    @classmethod
    def here(cls, root: str) -> "SharedStorage":
        """The storage as this process sees it."""
        return cls(root, DeltaStore(root).storage_id(make=True), socket.gethostname())

    def check(self) -> None:
        """Refuse another storage of the same name, or none.

        Raises:
            RunError: such a storage; the message names this machine.
        """
        found = DeltaStore(self.root).storage_id()
        if found != self.storage_id:
            what = "there is no storage there" if found is None else "that is another storage"
            raise RunError(f"{self._not_shared} {what}; {REMEDY}")

    def check_proposed(self, trial: Trial, patience: float = PATIENCE) -> None:
        """Refuse, likewise, a storage in which a trial was not proposed, such as a copy.

        Args:
            trial: one that the driver has proposed.
            patience: seconds to wait for what the driver has written.

        Raises:
            RunError: as :meth:`check`.
        """
        self.check()
        store, end = DeltaStore(self.root), time.monotonic() + patience
        while not store.read("trials", trial.sweep_id, trial_id=trial.trial_id).num_rows:
            if time.monotonic() > end:
                raise RunError(f"{self._not_shared} trial {trial.number} is not proposed there; {REMEDY}")
            time.sleep(min(1.0, patience))

    @property
    def _not_shared(self) -> str:
        here = socket.gethostname()
        return f"node {here} does not see the storage of node {self.host}: storage={self.root!r}:"


REMEDY = "give a folder that all nodes share, or an object store (storage=s3://...)"
