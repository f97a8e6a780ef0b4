"""The tables behind a small protocol, so that another table format is one class.

Rows have deterministic keys, and appending a row whose key is there adds nothing, so whoever is not sure that a write
went through writes again. Sweeps keep their tables as Delta tables. ``tests/benchmarks/parquet_store.py`` keeps to the
same contract with plain Parquet files, for a benchmark to compare with.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa


class ResultStore(Protocol):
    """Versioned tables, by the names in :data:`orchestrator.storage.schema.TABLES`."""

    @property
    def storage(self) -> str:
        """The storage that they belong to, as it was named."""
        ...

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the rows whose key is new; of several rows with one key, add the first.

        Raises:
            ValueError: a value that the table cannot hold, as :func:`orchestrator.storage.schema.to_arrow`; nothing is
                written.
        """
        ...

    def read(self, table: str, sweep_id: str | None = None) -> pa.Table:
        """Return the rows of a sweep, or all rows, in no particular order."""
        ...

    def version(self, table: str) -> int:
        """Return the table's version, which every append that adds rows raises; -1 before the first."""
        ...
