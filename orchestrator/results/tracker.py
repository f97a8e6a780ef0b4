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

    def table(
        self, name: str, columns: Sequence[str], rows: Callable[[Link], Rows], *, step: int | None = None
    ) -> None:
        """A table by name, at a step if there is one."""
        ...

    def chart(
        self, name: str, columns: Sequence[str], rows: Callable[[Link], Rows], *, x: str, y: str, title: str, step: int
    ) -> None:
        """A chart of a table's column over another one."""
        ...

    def figure(self, name: str, figure: Callable[[Link], Any], *, step: int | None = None) -> None:
        """A plotly figure by name, at a step if there is one."""
        ...

    def artifact(self, artifact: Artifact) -> None:
        """An output of the run."""
        ...

    def finish(self, summary: Mapping[str, Any], *, failed: bool = False) -> None:
        """Close the run with its summary."""
        ...

    @property
    def where(self) -> str:
        """Where people find the run, once it is closed; empty where there is none."""
        ...


class NoTracker:
    """Tracks nothing."""

    where = ""

    def log(self, values: Mapping[str, Any], *, step: int) -> None:
        """Nothing."""

    def table(
        self, name: str, columns: Sequence[str], rows: Callable[[Link], Rows], *, step: int | None = None
    ) -> None:
        """Nothing."""

    def chart(
        self, name: str, columns: Sequence[str], rows: Callable[[Link], Rows], *, x: str, y: str, title: str, step: int
    ) -> None:
        """Nothing."""

    def figure(self, name: str, figure: Callable[[Link], Any], *, step: int | None = None) -> None:
        """Nothing."""

    def artifact(self, artifact: Artifact) -> None:
        """Nothing."""

    def finish(self, summary: Mapping[str, Any], *, failed: bool = False) -> None:
        """Nothing."""
