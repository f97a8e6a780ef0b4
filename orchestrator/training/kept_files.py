"""The files that a finished trial keeps beside its rows: hashed when they are written, checked when they are read."""

import hashlib
import json
from collections.abc import Mapping

from orchestrator.errors import StorageFault
from orchestrator.results import canonical
from orchestrator.search import Status
from orchestrator.storage import DeltaStore, Files, trial_file


class KeptFiles:
    """The files of one trial.

    Args:
        files: the storage.
        sweep_id: the trial's sweep.
        trial_id: the trial.
    """

    def __init__(self, files: Files, sweep_id: str, trial_id: str) -> None:
        self._files, self._sweep_id, self._trial_id = files, sweep_id, trial_id
        self._written: dict[str, str] = {}
        self._recorded: dict[str, set[str]] | None = None

    def write(self, name: str, data: bytes) -> None:
        """Write a file, and note its sha256 for :attr:`hashes`."""
        self._written[name] = hashlib.sha256(data).hexdigest()
        self._files.write(trial_file(self._trial_id, name), data)

    @property
    def hashes(self) -> str:
        """The sha256 of each file that was written here, by name, as the event of a finished trial records it."""
        return canonical(self._written)

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return self._files.exists(trial_file(self._trial_id, name))

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            FileNotFoundError: no such file.
            StorageFault: its bytes are not those that were written. A trial from before schema version 8 recorded no
                sha256, and nothing is compared.
        """
        data = self._files.read(trial_file(self._trial_id, name))
        if self._recorded is None:
            self._recorded = self._read_hashes()
        if name in self._recorded and hashlib.sha256(data).hexdigest() not in self._recorded[name]:
            file, number = trial_file(self._trial_id, name), int(self._trial_id.rpartition("-")[2])
            raise StorageFault(
                f"storage={self._files.root!r}: {file} is damaged, its sha256 is not the one that was recorded when the"
                " trial finished; restore it from a backup, or train its coefficients again:"
                f" moda confirm {self._sweep_id} --points {number}/... --seeds 1"
            )
        return data

    def _read_hashes(self) -> dict[str, set[str]]:
        """Of every attempt that finished: of two drivers at once each may have written last."""
        found: dict[str, set[str]] = {}
        events = DeltaStore(self._files.root).read("trials", self._sweep_id, trial_id=self._trial_id)
        for row in events.to_pylist():
            if row["event"] == Status.FINISHED:
                hashes: Mapping[str, str] = json.loads(row["files_sha256"] or "{}")
                for name, digest in hashes.items():
                    found.setdefault(name, set()).add(digest)
        return found
