"""What goes wrong with a storage, on one line with its place and the remedy."""

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from orchestrator.errors import StorageFault, reason_of

FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
NO_RIGHT = re.compile(r"permission denied|read-only file system|access ?denied|forbidden", re.IGNORECASE)
NUMBERS = (
    (FULL, (errno.ENOSPC, errno.EDQUOT)),
    (NO_RIGHT, (errno.EROFS, errno.EACCES, errno.EPERM)),
)
REMEDIES = {
    FULL: "make room and run the same command again, nothing that was recorded is lost",
    NO_RIGHT: "give this user the right to write there, or name another storage=",
}


@contextmanager
def file_fault(root: str, name: str, doing: str) -> Iterator[None]:
    """Turn what a file system says of a file into a :class:`StorageFault`.

    Args:
        root: the storage.
        name: of the file in it.
        doing: ``read`` or ``written``.

    Raises:
        FileNotFoundError: as it was raised, where a file is read.
        StorageFault: anything else that is the file system's.
    """
    try:
        yield
    except StorageFault:
        raise
    except OSError as error:
        if doing == "read" and isinstance(error, FileNotFoundError):
            raise
        remedy = _remedy(error) or "see that the storage is there, and run the same command again"
        raise StorageFault(f"storage={root!r}: {name} cannot be {doing} ({_reason(error)}); {remedy}") from error


@contextmanager
def table_fault(table: str, uri: str, doing: str, open_table: Callable[[int | None], DeltaTable]) -> Iterator[None]:
    """Turn what the libraries say of a table into a :class:`StorageFault`.

    Args:
        table: its name.
        uri: where it is.
        doing: ``read`` or ``written``.
        open_table: opens a version of it, for the last one that can be read.

    Raises:
        TableNotFoundError: no such table, as it was raised.
        CommitFailedError: somebody else was faster, as it was raised.
        StorageFault: anything else that is wrong with it.
    """
    try:
        yield
    except (TableNotFoundError, CommitFailedError, StorageFault):
        raise
    except (DeltaError, OSError, pa.ArrowException) as error:
        remedy = _remedy(error) or _damage(error, open_table)
        raise StorageFault(f"{uri}: the table {table} cannot be {doing} ({_reason(error)}); {remedy}") from error


def busy_fault(table: str, uri: str, error: CommitFailedError, seconds: float) -> StorageFault:
    """The error where others were faster for a long time, or where the storage refuses commits as if they were."""
    remedy = _remedy(error) or "see that no program holds the table, and run the same command again"
    return StorageFault(
        f"{uri}: the table {table} could not be written in {seconds:.0f} s ({_reason(error)}); {remedy}"
    )


def _remedy(error: Exception) -> str | None:
    text, number = str(error), getattr(error, "errno", None)
    return next((REMEDIES[kind] for kind, codes in NUMBERS if kind.search(text) or number in codes), None)


def _reason(error: Exception) -> str:
    """What is wrong in the words of the system, or else what was said before the frames that libraries add."""
    for kind in (FULL, NO_RIGHT):
        if match := kind.search(str(error)):
            return match[0]
    said = re.split(r"\s+0: ", str(error).strip())[0]
    return reason_of(OSError(said)) if said else type(error).__name__


def _damage(error: Exception, open_table: Callable[[int | None], DeltaTable]) -> str:
    """Which rows cannot be read, or up to which version the table still can."""
    try:
        table = open_table(None)
    except (DeltaError, OSError):
        whole = _last_whole_version(open_table)
        before = "no version of it can be read" if whole is None else f"version {whole} is the last that can be read"
        return f"its log _delta_log is damaged, {before}; restore its newer files from a backup"
    lost = _lost_files(table)
    if not lost:
        return "see that the storage is there, and run the same command again"
    files, first = f"{len(lost)} of its files with {sum(lost.values())} rows", next(iter(lost))
    return f"{files} cannot be read, first {first}; restore them from a backup"


def _last_whole_version(open_table: Callable[[int | None], DeltaTable]) -> int | None:
    """The last version before the first that cannot be opened."""
    whole = None
    for version in range(1_000_000):
        try:
            open_table(version)
        except (DeltaError, OSError):
            return whole
        whole = version
    return whole


def _lost_files(table: DeltaTable) -> dict[str, int]:
    """The files of a table that cannot be read, with the number of rows that the log says they have."""
    dataset = table.to_pyarrow_dataset()
    counts = table.get_add_actions(flatten=True)
    rows = dict(zip(counts["path"].to_pylist(), counts["num_records"].to_pylist(), strict=True))
    lost = {}
    for fragment in dataset.get_fragments():
        try:
            fragment.to_table()
        except (OSError, pa.ArrowException):
            lost[fragment.path] = int(rows.get(fragment.path) or 0)
    return lost
