"""Temporary folders that are removed with their context, or, where their process was killed, by the next that runs."""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orchestrator.runs.processes import machine_id, process_id


@contextlib.contextmanager
def scratch_folder(kind: str, parent: str | None = None) -> Iterator[str]:
    """Make a temporary folder named after this process. Those of a kind whose processes are dead are removed first.

    Args:
        kind: what it is for, a part of its name.
        parent: where it is; None for the system's temporary folder.

    Yields:
        Its path.
    """
    place = Path(parent or tempfile.gettempdir())
    machine = hashlib.sha256(machine_id().encode()).hexdigest()[:8]  # containers may share the folder
    _remove_those_of_the_dead(place, re.compile(rf"moda-{kind}-{machine}-(\d+)-([0-9.]+)-.*"))
    own = str(process_id(os.getpid())).replace(" ", "-")
    folder = tempfile.mkdtemp(prefix=f"moda-{kind}-{machine}-{own}-", dir=place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_those_of_the_dead(place: Path, names: re.Pattern[str]) -> None:
    for folder in place.iterdir():
        match = names.fullmatch(folder.name)
        if match is not None and process_id(int(match[1])) != f"{match[1]} {match[2]}":
            shutil.rmtree(folder, ignore_errors=True)
