"""Standard training: cross-entropy alone, the baseline of every front."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Standard:
    """Cross-entropy alone: no coefficients, no units watched."""

    watches_units: ClassVar[bool] = False
