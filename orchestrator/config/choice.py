"""What is chosen after training, at no cost: which units a class keeps of a trained network."""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """Tau and threshold (how often a unit is active), or a level (what it contributes to the class's logit).

    Raises:
        ValueError: neither, or both.
    """

    tau: float | None = None
    threshold: float | None = None
    level: float | None = None

    def __post_init__(self) -> None:
        given = [value is not None for value in (self.tau, self.threshold, self.level)]
        if given not in ([True, True, False], [False, False, True]):
            raise ValueError(f"{self.columns}: give tau and threshold, or level")

    @classmethod
    def names(cls) -> list[str]:
        """Of its columns in the points table."""
        return [one.name for one in dataclasses.fields(cls)]

    @property
    def columns(self) -> dict[str, float | None]:
        """As columns of the points table: None for what the other way of choosing has."""
        return dataclasses.asdict(self)

    @property
    def values(self) -> dict[str, float]:
        """What was given, by name."""
        return {name: value for name, value in self.columns.items() if value is not None}

    @property
    def place(self) -> tuple[bool, float, float, float]:
        """Its place in lists: by threshold and tau, then the levels."""
        return self.level is not None, self.threshold or 0.0, self.tau or 0.0, self.level or 0.0

    def __str__(self) -> str:
        """As people read it: ``tau 0.9, threshold 0.1`` or ``level 0.1``."""
        return ", ".join(f"{name} {value:.12g}" for name, value in self.values.items())
