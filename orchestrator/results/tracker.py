"""What a run can show of itself while it runs: a protocol, and the tracker that shows nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import wandb

Rows = Sequence[Mapping[str, Any]]
Link = Callable[[str], str | None]  # where people see another run of the project; None where the run is offline


class Artifact(Protocol):
    """What knows how to log itself as an output of a run."""

    def log(self, run: "wandb.Run") -> None:
        """Log it."""
        ...


class Tracker(Protocol):
    """What a run can show."""

    def log(self, values: Mapping[str, Any], *, step: int) -> None:
        """Numbers of an epoch or of a moment of the sweep."""
        ...

    def table(self, name: str, columns: Sequence[str], rows: Callable[[Link], Rows]) -> None:
        """A table by name."""
        ...

    def figure(self, name: str, figure: Callable[[Link], Any]) -> None:
        """A plotly figure by name."""
        ...

    def artifact(self, artifact: Artifact) -> None:
        """An output of the run."""
        ...

    def finish(self, summary: Mapping[str, Any], *, failed: bool = False) -> None:
        """Close the run with its summary."""
        ...


class NoTracker:
    """Tracks nothing."""

    def log(self, values: Mapping[str, Any], *, step: int) -> None:
        """Nothing."""

    def table(self, name: str, columns: Sequence[str], rows: Callable[[Link], Rows]) -> None:
        """Nothing."""

    def figure(self, name: str, figure: Callable[[Link], Any]) -> None:
        """Nothing."""

    def artifact(self, artifact: Artifact) -> None:
        """Nothing."""

    def finish(self, summary: Mapping[str, Any], *, failed: bool = False) -> None:
        """Nothing."""
