"""What a sweep has found and what happened to its trials, to be compared with a sweep that nothing happened to."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.results import read_sweep
from orchestrator.storage import DeltaStore

CHANGING = {"time", "seconds", "evaluation_seconds", "after_seconds", "attempt"}
TABLES = ("epochs", "points", "reference_points")
Rows = dict[str, list[dict[str, Any]]]


def rows_of(storage: Path, name: str) -> Rows:
    """The rows of a sweep by table and the states of its trials, without what differs from run to run."""
    store = DeltaStore(str(storage))
    found = {table: store.read(table, name).to_pylist() for table in TABLES}
    found["trials"] = [{"status": trial.status, **trial.coefficients} for trial in read_sweep(store, name).trials]
    return {
        table: sorted(({key: value for key, value in row.items() if key not in CHANGING} for row in rows), key=str)
        for table, rows in found.items()
    }


def begun_after_the_end(storage: Path, name: str) -> Iterator[str]:
    """Trials that have finished more than once, or were begun again after they had."""
    events = [
        (row["number"], row["attempt"], row["event"])
        for row in DeltaStore(str(storage)).read("trials", name).to_pylist()
    ]
    finished = Counter(number for number, _, event in events if event == "finished")
    yield from (f"trial {number} has finished {count} times" for number, count in finished.items() if count > 1)
    ends = {number: attempt for number, attempt, event in events if event == "finished"}
    for number, attempt, event in events:
        if attempt > ends.get(number, attempt):
            yield f"trial {number}, attempt {attempt} {event} after its end in attempt {ends[number]}"


def differences(found: Rows, whole: Rows) -> Iterator[str]:
    """Rows that are missing or too many, by table."""
    for table, rows in whole.items():
        missing, more = (
            [row for row in some if row not in others] for some, others in ((rows, found[table]), (found[table], rows))
        )
        if missing or more or len(found[table]) != len(rows):
            yield f"{table}: {len(found[table])} rows and not {len(rows)}, without {missing[:2]}, with {more[:2]}"


def files_of(storage: Path) -> set[str]:
    """The files of a storage beside its tables, without what a killed process leaves half written, as ``moda gc``
    removes it."""
    found = {str(file.relative_to(storage)) for file in storage.rglob("*") if file.is_file()}
    return {name for name in found if not name.startswith("tables/") and not name.endswith(".part")}
