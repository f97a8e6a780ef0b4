"""A row of a table of the report."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: its texts.
        classes: how it is set apart: ``marked``, ``below`` the reference.
        point: the name of the point that a click on it selects.
        trial: the number of the trial that it is of.
    """

    cells: Sequence[str]
    classes: str = ""
    point: str | None = None
    trial: int | None = None
